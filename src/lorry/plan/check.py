"""All checks of a recipe, side by side; what they find comes in one go."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from lorry import plugins
from lorry.errors import LorryError
from lorry.plan import findings
from lorry.plan.findings import Explanation, Finding
from lorry.plan.subject import Subject, UnavailableError

_AT_ONCE = 8
EXPLAINS = {
    "check.crashed": Explanation(
        "A check ended with an error that nobody foresaw.",
        "What it would have found is not known.",
        "Report it with the evidence; the other checks are not affected.",
    ),
    "check.failed": Explanation(
        "A check could not be brought to its end: a file, a package or a service that it asked said no.",
        "What it would have found is not known.",
        "Do what the finding says, and check again.",
    ),
    "check.not-run": Explanation(
        "A part that checks need, such as the model or the data, could not be had, so they did not run in full.",
        "Faults that they look for may still be there.",
        "Correct the error that names the missing part, and check again.",
    ),
    "recipe.override": Explanation(
        "A value on the command line, or of a recipe that extends another, replaced one that somebody wrote.",
        "The run differs from what the file says.",
        "Nothing, if it is meant; else leave the override out.",
    ),
}
"""Codes that are said of all checks together, and by `lorry check` itself."""


def check(subject: Subject) -> list[Finding]:
    """Everything that the checks find, the gravest first.

    Never raises: a check that crashes is a finding that names it, and one that cannot run because a part of the subject
    could not be had is named in a note.
    """
    names = plugins.names("checks")
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        outcomes = list(pool.map(lambda name: _outcome(name, subject), names))
    found = [findings.warning("recipe.override", text) for text in subject.said]
    found += [finding for made, _ in outcomes for finding in made]
    blocked = [(name, error) for name, (_, error) in zip(names, outcomes, strict=True) if error is not None]
    return findings.ordered([*found, *_not_run(blocked)])


def _outcome(name: str, subject: Subject) -> tuple[list[Finding], UnavailableError | None]:
    """What one check found, and the part that it lacked, if it did not come to its end."""
    from lorry.plan.checks._base import Check
    from lorry.plan.remembered import found

    made: list[Finding] = []
    try:
        plugin = plugins.make("checks", name)
        if not isinstance(plugin, Check):
            raise TypeError(f"{type(plugin).__name__} is no Check")
        if plugin.of_this_computer and not subject.recipe.compute.is_here:
            return [], None
        for finding in found(plugin, subject):
            made.append(finding)
    except UnavailableError as error:
        return made, error
    except LorryError as error:
        made.append(_failed(name, error))
    except Exception as error:
        made.append(_crashed(name, error))
    return made, None


def _failed(name: str, error: LorryError) -> Finding:
    made = findings.from_error("check.failed", error)
    return replace(made, message=f"the check `{name}` came to no end: {made.message}")


def _crashed(name: str, error: Exception) -> Finding:
    return findings.refusal(
        "check.crashed",
        f"the check `{name}` failed: {type(error).__name__}: {error}",
        evidence="".join(traceback.format_exception(error)[-3:]),
        remedy="this is a fault of lorry's, or of the package that brings the check; please report it",
    )


def _not_run(blocked: Iterable[tuple[str, UnavailableError]]) -> Iterable[Finding]:
    """One note for each part that was missing, naming the checks that could not run without it."""
    by_part: dict[str, list[str]] = {}
    for name, error in blocked:
        by_part.setdefault(error.name, []).append(name)
    for part, names in by_part.items():
        yield findings.note("check.not-run", f"not checked in full, since {part} cannot be had: {', '.join(names)}")
