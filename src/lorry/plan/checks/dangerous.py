"""Dangerous commands in the rows: what the model would learn to say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation, Finding, warning
from lorry.plan.rows import taught

if TYPE_CHECKING:
    from lorry.plan.subject import Subject

_SHOWN = 5


class DangerousCheck(Check):
    """Commands in what is trained on that destroy data, a system or its protection."""

    of_rows_alone = True
    explains: ClassVar[Mapping[str, Explanation]] = {
        "data.dangerous": Explanation(
            "Training rows teach commands that destroy data, a system or its protection.",
            "The model learns to write them, and somebody may run what it writes.",
            "Remove these rows, or run no answer without a look; `dangerous_command` in `evaluate.metrics` counts them.",
        ),
    }

    def run(self, subject: Subject) -> Iterable[Finding]:
        """Screens the trained tokens of the training rows."""
        from lorry.evaluate.danger.scan import scan

        rules: Counter[str] = Counter()
        shown: list[str] = []
        rows, first = 0, ""
        for text, place in taught(subject.prepared.train, subject.tokenizer):
            found = scan(text)
            rules.update({danger.rule for danger in found})
            rows += bool(found)
            if found and len(shown) < _SHOWN:
                shown.append(f"{place}: {found[0].command[:80]} ({found[0].reason})")
                first = first or place
        if rows:
            kinds = ", ".join(f"{name} {count:,}" for name, count in rules.most_common())
            yield warning(
                "data.dangerous",
                f"{rows:,} training rows teach dangerous commands ({kinds})",
                evidence="\n".join(shown),
                remedy="remove them, or make sure that answers are never run without a look; "
                "`dangerous_command` in evaluate.metrics counts them in the answers",
                place=first,
            )
