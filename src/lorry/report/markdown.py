"""The report as Markdown that shows the same everywhere: users' text stands in fences longer than any in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from lorry import units
from lorry.report import gates
from lorry.report.facts import facts, headline
from lorry.report.samples import rolled, sample, split_name
from lorry.report.scores import Comparison
from lorry.report.sources import Sources, mapping
from lorry.report.summary import split_comparisons
from lorry.visible import clean

_BACKTICKS = re.compile("`+")
# An underscore within a word is no emphasis (CommonMark 0.31, 6.2), and names of metrics read better without escapes.
_SPECIAL = re.compile(r"([\\`*\[\]<>|#&~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
_WORST_ROWS = 5


def markdown(sources: Sources, summary: dict[str, Any]) -> str:
    """The whole report."""
    parts = [
        f"# {escaped(sources.run)}",
        escaped(headline(summary)),
        table(["", ""], [[label, text] for label, text in facts(summary)]),
        *_failure(summary),
        *_smoke(summary),
        *_gates(summary),
        *_scores(sources),
        *_receipt(summary),
        *_dangers(summary),
        *_incidents(summary),
        *_rolled(sources),
        *_samples(sources),
        *_worst(sources),
        *_made_with(sources),
    ]
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Text that shows as it is inside a paragraph or a cell, on one line."""
    return _SPECIAL.sub(r"\\\1", clean(text)).replace("\n", " ").replace("\t", " ")


def fenced(text: str, language: str = "text") -> str:
    """Text in a code block whose fence is longer than any run of backticks in it."""
    longest = max((len(run) for run in _BACKTICKS.findall(text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{clean(text)}\n{fence}"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose cells are escaped."""
    lines = [heads, ["---"] * len(heads), *[[escaped(cell) for cell in row] for row in rows]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def score_table(comparisons: Sequence[Comparison]) -> str:
    """The scores of one split, base model beside adapter."""
    return table(
        ["metric", "base model", "adapter", "verdict"],
        [[one.metric, str(one.base or "-"), str(one.adapter or "-"), one.verdict] for one in comparisons],
    )


def _failure(summary: dict[str, Any]) -> Iterator[str]:
    error = mapping(summary["error"])
    if error:
        yield f"## Why it failed\n\n{fenced(str(error.get('error')))}"
        if error.get("hint"):
            yield f"What to do: {escaped(str(error['hint']))}"


def _smoke(summary: dict[str, Any]) -> Iterator[str]:
    verdict = summary.get("verdict")
    if verdict:
        rows = [[one["check"], "yes" if one["passed"] else "NO", one["message"]] for one in verdict["checks"]]
        yield f"## Smoke run: {'passed' if verdict['passed'] else 'not passed'}"
        yield table(["check", "passed", ""], rows)


def _gates(summary: dict[str, Any]) -> Iterator[str]:
    """What the recipe asks of the scores."""
    if summary["gates"]:
        yield f"## Gates: {gates.counted(summary['gates'])}"
        yield gate_table(summary["gates"])


def gate_table(judged: Sequence[dict[str, Any]]) -> str:
    """What was asked of scores, and what was reached."""
    return table(gates.HEADS, [gates.row(one) for one in judged])


def _scores(sources: Sources) -> Iterator[str]:
    for split, comparisons in split_comparisons(sources).items():
        facts_of_split = mapping(mapping(sources.scores.get("splits")).get(split))
        generated = facts_of_split.get("generated")
        yield f"## Scores on the {escaped(split_name(split))} rows"
        yield score_table(comparisons)
        answers = f", answers to {generated} of them" if generated is not None else ""
        rows = facts_of_split.get("rows", "?")
        how = "bootstrap; Wilson's for shares near 0 or 1, and where all score alike"
        how = "by the harness's standard errors" if split == "harness" else how
        yield f"Over {rows} rows{answers}; in brackets the 95 % interval over rows ({how})."


def _receipt(summary: dict[str, Any]) -> Iterator[str]:
    """What was rented for the run, for how long, and what it cost."""
    machines = summary["machines"]
    if machines:
        yield "## Receipt"
        heads = ["machine", "at its provider", "from (UTC)", "to (UTC)", "cost", "what befell it"]
        yield table(heads, [_bill(one) for one in machines])
        yield f"In all {units.money(summary['cost_usd'] or 0.0)}. `lorry costs` counts volumes besides."


def _bill(one: dict[str, Any]) -> list[str]:
    until = one["until"] or "its end is not confirmed"
    befell = f"went on to {one['handed_to']}" if one["handed_to"] else one["lost"] or ""
    return [one["machine"], one["id"], one["since"], until, units.money(one["usd"]), befell]


def _dangers(summary: dict[str, Any]) -> Iterator[str]:
    """Dangerous commands that the adapter said; each is a JSON object of `eval/scores.json`."""
    found = [mapping(one) for one in summary["dangerous"]]
    if found:
        rows = [[str(one.get(key) or "") for key in ("command", "reason", "mark", "seen_at")] for one in found]
        yield f"## Dangerous commands in the adapter's answers: {len(found)}"
        yield table(["command", "what it would do", "where it comes from", "training row"], rows)


def _incidents(summary: dict[str, Any]) -> Iterator[str]:
    if summary["incidents"]:
        yield "## Incidents\n\n" + "\n".join(f"- {escaped(text)}" for text in summary["incidents"])
    if summary["notes"]:
        yield "## Notes\n\n" + "\n".join(f"- {escaped(text)}" for text in summary["notes"])


def _rolled(sources: Sources) -> Iterator[str]:
    """Answers that the model made while it trained, as it made them last."""
    found = rolled(sources.now)
    if found:
        yield "## Answers of the last rollout"
    for number, one in enumerate(found, start=1):
        yield f"### {number}. {escaped(one.place)}, reward {escaped(one.reward)}\n\n{fenced(one.answer)}"


def _samples(sources: Sources) -> Iterator[str]:
    if sources.samples:
        yield "## Samples"
    for number, row in enumerate(sources.samples, start=1):
        one = sample(row)
        yield f"### {number}. {escaped(one.place)}".rstrip(" .")
        yield fenced(one.prompt)
        said = (("expected", one.truth), ("rejected", one.rejected), ("base model", one.base), ("adapter", one.adapter))
        for name, text in said:
            if text is not None:
                yield f"{name}:\n\n{fenced(text)}"


def _worst(sources: Sources) -> Iterator[str]:
    rows = sources.high_loss[:_WORST_ROWS]
    if rows:
        cells = [[str(row.get("origin", "")), f"{float(row.get('loss') or 0):.3f}"] for row in rows]
        yield "## Rows with the highest loss"
        yield table(["row", "loss"], cells)
        yield "All of them, with prompts and predictions: `eval/high_loss.jsonl`."


def _made_with(sources: Sources) -> Iterator[str]:
    made = sources.provenance
    if not made:
        return
    git = mapping(made.get("git"))
    changed = ", with uncommitted changes" if git.get("dirty") else ""
    hardware = mapping(made.get("hardware"))
    versions = ", ".join(f"{name} {version}" for name, version in mapping(made.get("versions")).items())
    model = mapping(made.get("model"))
    rows = [
        ["model", ", ".join(str(model[key]) for key in ("id", "kind", "revision") if model.get(key))],
        ["command", " ".join(str(word) for word in made.get("command") or [])],
        ["seed", str(made.get("seed"))],
        ["git", f"{git.get('commit')}{changed}" if git else "not in a repository"],
        ["hardware", ", ".join(f"{key} {value}" for key, value in hardware.items())],
        ["system", ", ".join(str(value) for value in mapping(made.get("system")).values())],
        ["versions", versions],
    ]
    yield "## Made with"
    yield table(["", ""], rows)
    yield "Hashes of all data and of the model: `provenance.json`."
