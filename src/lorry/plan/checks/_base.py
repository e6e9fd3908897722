"""What a check has to say: it looks at one side of a recipe and yields what it finds."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

from lorry.plugins import Plugin

if TYPE_CHECKING:
    from lorry.plan.findings import Explanation, Finding
    from lorry.plan.subject import Subject


class Check(Plugin):
    """Looks at one side of a recipe before anything runs. Must not import torch, and must change nothing."""

    explains: ClassVar[Mapping[str, Explanation]] = {}
    """Every code that this check can yield, explained; a code belongs to one check, and never changes its meaning."""
    of_rows_alone: ClassVar[bool] = False
    """Whether it looks at `prepared`, `tokenizer`, `fingerprints` and `recipe.data`, and at nothing else: what it finds is
    then remembered for as long as the rows are the same."""

    of_this_computer: ClassVar[bool] = False
    """Whether it looks at the computer at hand as the one that trains: it says nothing of a run that is to train elsewhere."""

    @abstractmethod
    def run(self, subject: Subject) -> Iterable[Finding]:
        """What there is to say; nothing where all is well.

        A part of the subject that cannot be had raises UnavailableError: let it pass, unless this check owns the part.
        """
