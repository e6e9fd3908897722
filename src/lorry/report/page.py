"""The report as one HTML page that needs nothing else: no scripts, no network; it prints, and suits dark and light."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lorry.report import gates
from lorry.report.chart import Point, Series, line_chart
from lorry.report.facts import facts, headline
from lorry.report.samples import rolled, sample, split_name
from lorry.report.sources import Sources, mapping
from lorry.report.summary import split_comparisons
from lorry.report.template import render
from lorry.track.events import Event
from lorry.trainer.watched import LOSS
from lorry.visible import clean

_TOLD = {
    "reward_accuracy": "Share of pairs with the higher reward for the chosen answer",
    "reward_margin": "Reward of the chosen answer above the other",
    "reward": "Mean reward of the model's answers",
    "kl": "Distance from the reference",
    "answer_tokens": "Tokens of an answer",
    "ended": "Share of answers that came to their end",
}
"""What methods tell of their steps that is worth a curve, and what it is called."""
_PART = "reward_"
"""How each of several rewards is told, by name."""
_NO_PARTS = frozenset({"reward_accuracy", "reward_margin", "deviation"})


def page(sources: Sources, summary: dict[str, Any]) -> str:
    """The whole page. The template engine cleans and escapes every text; only the charts, drawn here, are markup."""
    return render(
        "page.html",
        run=sources.run,
        headline=headline(summary),
        summary=summary,
        facts=facts(summary),
        charts=[
            chart
            for chart in (_loss(sources), *_told(sources), *_answered(sources), _learning_rate(sources))
            if chart[1]
        ],
        gates=[gates.row(one) for one in summary["gates"]],
        gates_counted=gates.counted(summary["gates"]),
        splits=_splits(sources),
        incidents=summary["incidents"],
        notes=summary["notes"],
        dangers=[_danger(mapping(one)) for one in summary["dangerous"]],
        rolled=rolled(sources.now),
        samples=[sample(row) for row in sources.samples],
        versions=mapping(sources.provenance.get("versions")),
        provenance=_provenance(sources),
    )


def _loss(sources: Sources) -> tuple[str, str]:
    now = sources.now
    series = [Series("training", _points(now.records, "loss"))]
    if now.evaluations:
        series.append(Series("evaluation", _points(now.evaluations, "loss"), dots=True))
    label = "loss (nats per token)" if sources.method in ("", "sft", "cpt") else f"loss of {sources.method}"
    return "Loss", line_chart(series, title="Loss by step", x_label="step", y_label=label)


def _told(sources: Sources) -> Iterator[tuple[str, str]]:
    """Curves of what the method tells beside its loss."""
    records, evaluations = sources.now.records, sources.now.evaluations
    for name, title in {**_TOLD, **_parts(records)}.items():
        if any(name in record.data for record in records.values()):
            series = [
                Series("training", _points(records, name)),
                Series("evaluation", _points(evaluations, name), dots=True),
            ]
            yield title, line_chart(series, title=f"{title} by step", x_label="step", y_label=title.lower())


def _answered(sources: Sources) -> Iterator[tuple[str, str]]:
    """Curves of the metrics that evaluations during training gave, and of what made a step the best."""
    evaluations = sources.now.evaluations
    metrics: Any = mapping(sources.recipe.get("evaluate")).get("metrics")
    listed: list[Any] = metrics if isinstance(metrics, list) else []
    names = dict.fromkeys([sources.best_by.name, *(str(mapping(one).get("name")) for one in listed)])
    drawn = {LOSS, *_TOLD, *_parts(sources.now.records)}
    for name in (name for name in names if name not in drawn):
        if any(name in event.data for event in evaluations.values()):
            series = [Series("evaluation", _points(evaluations, name), dots=True)]
            title = name.replace("_", " ").capitalize()
            yield title, line_chart(series, title=f"{title} by step", x_label="step", y_label=name)


def _parts(records: dict[int, Event]) -> dict[str, str]:
    """The rewards that are added up to one, where that is told."""
    told = dict.fromkeys(name for record in records.values() if "reward" in record.data for name in record.data)
    return {
        name: f"Reward: {clean(name[len(_PART) :])}"
        for name in told
        if name.startswith(_PART) and name not in _NO_PARTS
    }


def _learning_rate(sources: Sources) -> tuple[str, str]:
    series = [Series("learning rate", _points(sources.now.records, "learning_rate"))]
    return "Learning rate", line_chart(series, title="Learning rate by step", x_label="step", y_label="learning rate")


def _points(records: dict[int, Event], field: str) -> list[Point]:
    nothing = float("nan")
    found = ((step, records[step].data.get(field)) for step in sorted(records))
    return [(float(step), float(value) if isinstance(value, (int, float)) else nothing) for step, value in found]


def _splits(sources: Sources) -> list[dict[str, Any]]:
    known = mapping(sources.scores.get("splits"))
    return [
        {"name": split_name(name), "rows": mapping(known[name]).get("rows"), "comparisons": comparisons}
        for name, comparisons in split_comparisons(sources).items()
    ]


def _danger(one: dict[str, Any]) -> list[str]:
    return [str(one.get(key) or "") for key in ("command", "reason", "mark", "seen_at")]


def _provenance(sources: Sources) -> list[tuple[str, str]]:
    made = sources.provenance
    git = mapping(made.get("git"))
    model = mapping(made.get("model"))
    pairs = [
        ("Model", ", ".join(str(model[key]) for key in ("id", "kind", "revision") if model.get(key))),
        ("Command", " ".join(str(word) for word in made.get("command") or [])),
        ("Seed", "" if made.get("seed") is None else str(made["seed"])),
        ("Git", f"{git.get('commit')}{', with uncommitted changes' if git.get('dirty') else ''}" if git else ""),
        ("Hardware", ", ".join(f"{key}: {value}" for key, value in mapping(made.get("hardware")).items())),
        ("System", ", ".join(str(value) for value in mapping(made.get("system")).values())),
        ("Time", str(made.get("time") or "")),
    ]
    return [(label, text) for label, text in pairs if text]
