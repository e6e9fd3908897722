"""A recipe made small: the same path through every room in ten steps."""

from __future__ import annotations

from lorry.recipe.name import experiment_name
from lorry.recipe.schema import DataSettings, EvaluateSettings, Recipe, TrainSettings

STEPS = 10
TRAIN_ROWS = 10
EVAL_ROWS = 5


def smoke(recipe: Recipe) -> Recipe:
    """Ten steps on 10 training and 5 evaluation rows, each logged, with a checkpoint and an evaluation every 5.

    Model, method, adapter, lengths and precision stay, and the micro-batch as far as ten rows fill it, so that what
    works here works at full length, and memory is like the real run's.
    """
    small = recipe.model_copy(
        update={
            "data": _data(recipe.data),
            "train": _train(recipe.train),
            "evaluate": _evaluate(recipe.evaluate),
        }
    )
    return small.model_copy(update={"name": f"{experiment_name(small)[:70]}-smoke"})


def _data(data: DataSettings) -> DataSettings:
    """Test rows are left out: ten steps have nothing to show there."""
    return data.model_copy(
        update={
            "train_subset": _fewer(data.train_subset, TRAIN_ROWS),
            "eval_subset": _fewer(data.eval_subset, EVAL_ROWS),
            "eval_split": data.eval_split if data.eval else float(EVAL_ROWS),
            "test": None,
        }
    )


def _train(train: TrainSettings) -> TrainSettings:
    micro_batch = min(train.micro_batch, TRAIN_ROWS)
    return train.model_copy(
        update={
            "steps": STEPS,
            "epochs": None,
            "micro_batch": micro_batch,
            "accumulation": min(train.accumulation, max(1, TRAIN_ROWS // micro_batch)),
            "warmup": train.warmup if train.warmup < 1 else 1.0,
            "log_every": 1,
            "eval_every": 5,
            "save_every": 5,
        }
    )


def _evaluate(evaluate: EvaluateSettings) -> EvaluateSettings:
    """Gates and benchmarks are left out: ten steps make no adapter that could be good enough."""
    in_training = evaluate.rows_in_training
    return evaluate.model_copy(
        update={
            "rows": min(evaluate.rows, EVAL_ROWS),
            "rows_in_training": in_training and min(in_training, EVAL_ROWS),
            "samples": min(evaluate.samples, EVAL_ROWS),
            "gates": {},
            "harness": [],
        }
    )


def _fewer(given: int | None, most: int) -> int:
    """A subset of at most `most` rows; null and -1 mean all."""
    return most if given is None or given < 0 else min(given, most)
