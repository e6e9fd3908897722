"""`lorry evaluate RUN | ADAPTER_FOLDER`: how good an adapter is, beside its base model."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from lorry import units
from lorry.cli import output
from lorry.cli.options import takes

if TYPE_CHECKING:
    from lorry.evaluate.opening import Found
    from lorry.recipe.evaluation import EvaluateSettings
    from lorry.recipe.gates import Gate
    from lorry.recipe.schema import Recipe
    from lorry.trainer.methods._base import Method


@dataclass(frozen=True)
class Options:
    """What is scored, on what, and by what."""

    run: Annotated[str, typer.Argument(help="A run's id, a beginning of it, `last`, or an adapter's folder.")] = "last"
    data: Annotated[Path | None, typer.Option(help="Score on the rows of this file, not on the run's.")] = None
    samples: Annotated[int | None, typer.Option(min=0, help="Answers shown side by side; 5 by default.")] = None
    metrics: Annotated[str, typer.Option(help="Names from `lorry metrics`, with commas; the recipe's by default.")] = ""
    gate: Annotated[
        list[str] | None,
        typer.Option("--gate", help='What a score must be, in place of the recipe\'s gates: "cer < 10 %".'),
    ] = None
    rows: Annotated[int | None, typer.Option(min=0, help="Rows for which answers are made; 100 by default.")] = None
    model: Annotated[str, typer.Option(help="The base model, in place of the one that the adapter names.")] = ""
    as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False


@takes(Options)
def command(options: Options) -> None:
    """Check that an adapter is complete and loads, and score it beside its base model."""
    from lorry import job

    job.require_training_packages()
    from lorry.errors import InputError
    from lorry.evaluate.chosen import metrics_of
    from lorry.evaluate.opening import find

    found = find(options.run, options.model or None)
    if options.gate and options.data is None and found.run is None:
        hint = f'give rows: `lorry evaluate {found.adapter} --data FILE --gate "..."`'
        raise InputError("a gate cannot be judged where nothing is scored", place="--gate", hint=hint)
    found = with_settings(found, options)
    metrics_of(found.recipe.evaluate.metrics)
    if options.data is None and found.run is None:
        _only_loads(found, as_json=options.as_json)
        return
    scores, samples = _scored(found, options)
    if options.as_json:
        output.emit_json({**scores, "samples": samples})
    else:
        _show(scores, samples)
    _raise_if_missed(scores["gates"], found)


def with_settings(found: Found, options: Options) -> Found:
    """What was found, with what the command line says in place of what the recipe says."""
    from dataclasses import replace

    changes: dict[str, Any] = {}
    if options.metrics:
        changes["metrics"] = _named(options.metrics, found)
    elif found.run is None:
        changes["metrics"] = [{"name": "exact_match"}]
    if options.data or options.metrics:
        changes["harness"] = []  # benchmarks are asked for by the recipe, and have rows of their own
    changes |= {name: value for name in ("samples", "rows") if (value := getattr(options, name)) is not None}
    settings = found.recipe.evaluate.model_copy(update=changes)
    settings = settings.model_copy(update={"gates": _gates(found.recipe, settings, options)})
    return replace(found, recipe=found.recipe.model_copy(update={"evaluate": settings}))


def _named(names: str, found: Found) -> list[dict[str, Any]]:
    """Metrics by name, with the recipe's settings of those that it has; `FILE.py:FUNCTION` is one of the person's own."""
    from lorry.evaluate.chosen import metrics_of
    from lorry.recipe.rewards import as_metric

    own = dict(zip(metrics_of(found.recipe.evaluate.metrics), found.recipe.evaluate.metrics, strict=True))
    asked = [name.strip() for name in names.split(",") if name.strip()]
    return [own.get(name) or _from_here(as_metric(name)) for name in asked]


def _from_here(metric: dict[str, Any]) -> dict[str, Any]:
    """A metric whose file stands on the command line, and starts from where that was typed."""
    return {**metric, "file": str(Path(metric["file"]).expanduser().absolute())} if "file" in metric else metric


def _gates(recipe: Recipe, settings: EvaluateSettings, options: Options) -> dict[str, str | list[str]]:
    """The gates that are judged: those of the command line, else the recipe's, without those of what is not scored now.

    Raises InputError for what is none, or cannot be judged.
    """
    from lorry import plugins
    from lorry.evaluate.chosen import about, given
    from lorry.recipe.gates import gates_of

    method = cast("Method", plugins.make("methods", recipe.method))
    scores = set(given(settings.metrics, method, with_rewards=False))
    if not settings.rows:
        scores -= set(about(settings.metrics))

    def is_judged(gate: Gate) -> bool:
        in_benchmark = any(gate.score.startswith(f"{task.name}.") for task in settings.harness)
        return in_benchmark or (gate.score in scores and not (options.data and gate.split == "test"))

    if options.gate is not None:
        return _from_line(options.gate, is_judged, scores)
    left_out = [gate.score for gate in gates_of(recipe.evaluate.gates) if not is_judged(gate)]
    if left_out:
        output.note(f"not judged, for they are not scored: the gates of {', '.join(dict.fromkeys(left_out))}")
    judged: dict[str, str | list[str]] = {}
    for score, text in recipe.evaluate.gates.items():
        texts = [text] if isinstance(text, str) else text
        if kept := [one for one in texts if all(map(is_judged, gates_of({score: one})))]:
            judged[score] = kept
    return judged


def _from_line(texts: Sequence[str], is_judged: Callable[[Gate], bool], scores: Set[str]) -> dict[str, str | list[str]]:
    """The gates of the command line. Raises InputError for what is none, and for one that nothing could judge."""
    from lorry.errors import InputError
    from lorry.recipe.gates import gates_of

    found: dict[str, list[str]] = {}
    for text in texts:
        score, sign, rest = re.match(r"\s*([^\s<>]*)\s*([<>]?)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
        found.setdefault(score, []).append(sign + rest)
    try:
        gates = gates_of(found)
    except ValueError as error:
        raise InputError(str(error), place="--gate", hint='for example `--gate "cer < 10 %"`') from error
    for gate in gates:
        if gate.score not in scores and not is_judged(gate):
            hint = f"name one of {', '.join(sorted(scores))}, or add a metric: `--metrics`"
            raise InputError(f"nothing here gives a score `{gate.score}`", place="--gate", hint=hint)
        if not is_judged(gate):
            hint = "leave out `on test`: the rows of --data are evaluation rows"
            raise InputError("there are no test rows to judge a gate by", place="--gate", hint=hint)
    return dict(found)


def _raise_if_missed(judged: Sequence[Mapping[str, Any]], found: Found) -> None:
    """Raises GateMissedError where the adapter is not as good as is asked."""
    from lorry.errors import GateMissedError
    from lorry.evaluate.gates import missed
    from lorry.report.gates import sentence

    those = missed(judged)
    if those:
        told = "; ".join(sentence(one) for one in those)
        hint = "train longer, on more rows, or with other settings; or ask for less"
        raise GateMissedError(f"{len(those)} of {len(judged)} gates missed: {told}", hint=hint, folder=found.adapter)


def _only_loads(found: Found, *, as_json: bool) -> None:
    from lorry.evaluate.opening import open_found

    opened = open_found(found)
    if as_json:
        output.emit_json({"complete": True, "loads": True, "model": found.recipe.model.id, "splits": {}})
        return
    output.data(f"the adapter is complete and loads on {found.recipe.model.id} ({opened.loaded.precision.weights})")
    output.note(f"to score it, give rows: `lorry evaluate {found.adapter} --data FILE`")


def _scored(found: Found, options: Options) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The scores and the samples. The run's own `eval` folder is written anew only for the run as its recipe says."""
    from lorry.evaluate.any_rows import OtherRows, rows_of
    from lorry.evaluate.folder import read_lines
    from lorry.evaluate.opening import open_found, tokenizer_of
    from lorry.evaluate.score import Evaluation
    from lorry.track.folder import RunFolder

    # Rows are read before the model is loaded: what is wrong with them is told within seconds.
    rows = rows_of(found, tokenizer_of(found), options.data)
    for warning in rows.scored.facts.warnings if isinstance(rows, OtherRows) else ():
        output.warn(warning)
    opened = open_found(found)
    with tempfile.TemporaryDirectory() as scratch:
        place = found.run if found.run and is_as_the_recipe_says(found, options) else RunFolder(Path(scratch))
        evaluation = Evaluation(
            opened.loaded,
            opened.renderer,
            rows,
            found.recipe,
            found.model_folder,
            lowered=_say_fewer,
            base=found.base,
        )
        scores = evaluation.run(place, _progress)
        output.live("")
        return scores, read_lines(place.evaluation / "samples.jsonl")


def is_as_the_recipe_says(found: Found, options: Options) -> bool:
    """Whether everything is scored that the run itself scored, and nothing else: its rewards are not asked here."""
    from lorry.plugins import find

    method = cast("type[Method]", find("methods", found.recipe.method["name"]))
    said = (options.rows, options.samples, options.gate)
    return not (options.data or options.metrics or options.model or method.rolls_out) and all(
        one is None for one in said
    )


def _progress(part: str, done: int, total: int) -> None:
    if output.stderr_is_live():
        output.live(f"{part}: {done:,} of {total:,}")


def _say_fewer(size: int, error: str) -> None:
    output.warn(f"out of memory while generating ({error}): {size} answers at once from now on")


def _show(scores: Mapping[str, Any], samples: Sequence[Mapping[str, Any]]) -> None:
    from lorry.report.gates import sentence

    right = [output.Column(name, right=True) for name in ("base model", "adapter", "rows")]
    for split, found in scores["splits"].items():
        answers = "" if found["generated"] is None else f", answers: {found['generated']:,}"
        output.data(f"{split} rows: {found['rows']:,}{answers}")
        rows = [
            [name, _interval(entry["base"]), _interval(entry["adapter"]), units.count(entry["rows"])]
            for name, entry in found["scores"].items()
        ]
        output.table(["metric", *right], rows)
        output.data("")
    for gate in scores["gates"]:
        output.data(f"gate {sentence(gate)}")
    for one in samples:
        _show_sample(one)
    for one in scores["dangerous"]:
        output.warn(f"dangerous ({one['mark']}): `{one['command']}` {one['reason']}")
    for note in scores["notes"]:
        output.note(note)
    speed = scores["tokens_per_second"]["adapter"]
    if speed:
        output.note(f"the adapter makes {units.rate(speed)} tokens per second; in brackets: 95 % interval")


def _show_sample(row: Mapping[str, Any]) -> None:
    output.pieces([(f"{row['origin']}  ", "dim"), (str(row["prompt"]), "")])
    known = (("expected", "truth"), ("rejected", "rejected"), ("base model", "base"), ("adapter", "adapter"))
    for label, key in (one for one in known if one[1] in row):
        output.pieces([(f"  {label:<11}", "dim"), (str(row[key]), "")])


def _interval(side: Mapping[str, float | None] | None) -> str:
    if side is None:
        return "-"
    value = units.value(side["value"])
    if side["low"] is None or side["high"] is None:
        return value
    return f"{value} ({units.value(side['low'])} to {units.value(side['high'])})"
