"""Tasks of lm-evaluation-harness, where it is installed: public benchmarks, for base model and adapter side by side.

    {"harness": {"rows": 1319, "generated": None, "scores": {"gsm8k.exact_match": {"base": ..., "adapter": ..., "rows": 1319}}}}

The form is that of a split in scores.json. Bounds are 1.96 of the harness's own standard errors to both sides. Read against
lm_eval 0.4.13.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lorry.evaluate.bootstrap import Z95, Interval
from lorry.evaluate.metrics._base import About
from lorry.evaluate.sides import SIDES, Side

if TYPE_CHECKING:
    from lorry.data.tokenizer import Tokenizer
    from lorry.recipe.evaluation import HarnessTask
    from lorry.trainer.model import LoadedModel

Json = dict[str, Any]

SPLIT = "harness"
"""Where its scores stand among those of the splits."""
_NO_SCORES = frozenset({"name", "alias", "sample_len", "samples"})


def unavailable() -> str | None:
    """Why no task can be run here, with what to install; None when they can."""
    return None if find_spec("lm_eval") else "lm-evaluation-harness is not installed: `pip install 'lorry[harness]'`"


def run(
    loaded: LoadedModel, tokenizer: Any, tasks: Sequence[HarnessTask], batch_size: int, beat: Callable[[], None]
) -> tuple[dict[str, Json], list[str]]:
    """What the harness gives of each task, by the task's name, for the model as it is now; and what failed, in words.

    `tokenizer` is Transformers'. A task that fails costs its own scores alone; out of memory is raised.
    """
    from lorry.trainer.memory import is_out_of_memory

    found, failed = dict[str, Json](), list[str]()
    for task in tasks:
        try:
            with loaded.answering(), contextlib.redirect_stderr(io.StringIO()):
                found[task.name] = _evaluated(_model(loaded, tokenizer, batch_size, beat), task)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            failed.append(f"the harness's task {task.name} was not scored: {type(error).__name__}: {str(error)[:300]}")
    return found, failed


def tokenizer_of(folder: Path, own: Tokenizer, *, trusted: bool) -> Any:
    """Transformers' tokenizer of a model's folder, with the chat template that rows were rendered with."""
    from transformers import AutoTokenizer

    made: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=trusted)
    if own.has_template:
        made.chat_template = own.template().text
    return made


def as_split(results: Mapping[Side, Mapping[str, Json]]) -> tuple[Json, dict[str, About]]:
    """The results of both sides as a split of scores.json, and what each score is."""
    scores: dict[str, Json] = {}
    about: dict[str, About] = {}
    rows = 0
    for task in results["adapter"]:
        both = {side: _scores(results[side].get(task, {}), task) for side in SIDES}
        documents = _documents(results["adapter"][task])
        rows += documents
        for name, interval in both["adapter"].items():
            base = both["base"].get(name)
            scores[name] = {"base": base and base.as_dict(), "adapter": interval.as_dict(), "rows": documents}
            about[name] = About(_direction(results["adapter"][task], name), "as the task says", None)
    return {"rows": rows, "generated": None, "scores": scores}, about


def _model(loaded: LoadedModel, tokenizer: Any, batch_size: int, beat: Callable[[], None]) -> Any:
    from lm_eval.models.huggingface import HFLM  # type: ignore[import-not-found]

    class Beating(HFLM):  # type: ignore[misc]
        """Gives a sign of life before each batch: benchmarks take long, and are no standstill."""

        def _model_call(self, *given: Any, **named: Any) -> Any:
            beat()
            return super()._model_call(*given, **named)

        def _model_generate(self, *given: Any, **named: Any) -> Any:
            beat()
            return super()._model_generate(*given, **named)

    return Beating(pretrained=loaded.model, tokenizer=tokenizer, batch_size=batch_size)


def _evaluated(model: Any, task: HarnessTask) -> Json:
    from lm_eval import simple_evaluate  # type: ignore[import-not-found]

    found: Any = simple_evaluate(
        model=model,
        tasks=[task.name],
        num_fewshot=task.fewshot,
        limit=task.limit,
        apply_chat_template=task.chat,
        log_samples=False,
        bootstrap_iters=1000,
    )
    return {key: found.get(key) or {} for key in ("results", "higher_is_better", "n-samples")}


def _scores(result: Mapping[str, Any], task: str) -> dict[str, Interval]:
    """Each number with its bounds: those of the task itself, or, of a group without any, those of its parts."""
    results = cast("dict[str, dict[str, Any]]", result.get("results") or {})
    own = {name: one for name, one in results.items() if name == Path(task).stem and _numbers(one)}
    return {
        _name(name, key): _interval(value, one.get(_error_of(key)))
        for name, one in (own or results).items()
        for key, value in _numbers(one).items()
    }


def _numbers(one: Mapping[str, Any]) -> dict[str, float]:
    return {
        key: float(value)
        for key, value in one.items()
        if key not in _NO_SCORES and "_stderr" not in key and isinstance(value, int | float) and math.isfinite(value)
    }


def _name(task: str, key: str) -> str:
    """`exact_match,strict-match` of gsm8k is `gsm8k.exact_match.strict-match`; the filter `none` is left out."""
    metric, _, chosen = key.partition(",")
    return ".".join([task, metric, *([chosen] if chosen not in ("", "none") else [])])


def _error_of(key: str) -> str:
    metric, comma, chosen = key.partition(",")
    return f"{metric}_stderr{comma}{chosen}"


def _interval(value: float, error: Any) -> Interval:
    if not isinstance(error, int | float) or not math.isfinite(error):
        return Interval(value, None, None)  # the harness says `N/A` where it knows none
    low, high = value - Z95 * error, value + Z95 * error
    if 0 <= value <= 1:
        low, high = max(low, 0.0), max(min(high, 1.0), value)
    return Interval(value, low, high)


def _documents(result: Mapping[str, Any]) -> int:
    counts = cast("dict[str, dict[str, Any]]", result.get("n-samples") or {})
    return sum(int(one.get("effective") or 0) for one in counts.values())


def _direction(result: Mapping[str, Any], name: str) -> bool | None:
    told = cast("dict[str, dict[str, Any]]", result.get("higher_is_better") or {})
    for one, directions in told.items():
        for metric, is_higher in directions.items():
            if name == f"{one}.{metric}" or name.startswith(f"{one}.{metric}."):
                return is_higher if isinstance(is_higher, bool) else None
    return None
