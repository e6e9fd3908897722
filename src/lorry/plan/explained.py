"""Every code that a finding can have, explained: gathered from where each is declared, beside what yields it."""

from __future__ import annotations

from typing import cast

from lorry import plugins
from lorry.plan import check, health, machine
from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation


def explanations() -> dict[str, Explanation]:
    """Each code with its explanation, sorted; imports every check, but neither torch nor transformers."""
    declared = [cast("type[Check]", plugins.find("checks", name)).explains for name in plugins.names("checks")]
    everywhere = [*declared, check.EXPLAINS, health.EXPLAINS, machine.EXPLAINS]
    return dict(sorted((code, told) for part in everywhere for code, told in part.items()))
