"""What `lorry data convert` reads from its options, and what it says when it is done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lorry.cli import output
from lorry.errors import InputError

if TYPE_CHECKING:
    from lorry.data.converting.convert import Outcome
    from lorry.data.converting.outputs import Outputs


def settings(options: Sequence[str]) -> dict[str, Any]:
    """A converter's settings from `name=value`, the value as YAML. Raises InputError for what is none."""
    from lorry.recipe.yaml_file import parse_value

    found: dict[str, Any] = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not equals or not name.strip() or name.strip() == "name":
            hint = "write `-o min_quality=0.7`; `lorry data converters --json` explains each setting"
            raise InputError(f"`{option}` is no setting of a converter", place="-o", hint=hint)
        found[name.strip()] = parse_value(value, f"-o {name.strip()}")
    return found


def tell(outcome: Outcome, outputs: Outputs) -> None:
    """Says what came of it: the files on stdout, what was decided on stderr."""
    for line in _decided(outcome):
        output.note(line)
    for warning in [*outcome.warnings, *_leaks(outcome)]:
        output.warn(warning)
    output.data(f"{outputs.rows}: {_counted(outcome.rows, 'row')} to train on")
    if outputs.test is not None:
        output.data(f"{outputs.test}: {_counted(outcome.test_rows, 'row')} held back")
    if outputs.new is not None:
        output.data(f"{outputs.new}: {_counted(outcome.new_rows or 0, 'row')} of what is new")


def _decided(outcome: Outcome) -> Iterator[str]:
    yield f"{outcome.read:,} read as `{outcome.converter}`"
    if outcome.bad_rows:
        listed = "\n  ".join(outcome.bad_row_lines)
        yield f"{_counted(outcome.bad_rows, 'row')} skipped, for they cannot be used\n  {listed}"
    yield from (f"{count:,} left out: {why}" for why, count in outcome.left_out.items())
    if outcome.repeated_rows:
        yield f"{_counted(outcome.repeated_rows, 'row')} left out, for they repeat an earlier one word for word"
    near = _counted(outcome.near_duplicates, "near-duplicate")
    if outcome.near_duplicates and outcome.near_duplicates_dropped:
        yield f"{near} left out; of those that are alike the earliest stays"
    elif outcome.near_duplicates:
        yield f"{near}; `--drop-near-duplicates 0.8` leaves them out"
    if outcome.settings_changed:
        yield "settings have changed since the last time: all rows are made anew"
    if outcome.changes is not None:
        yield "since the last time: " + ", ".join(f"{count:,} {kind}" for kind, count in outcome.changes.items())
    if outcome.leakage is not None and not any(outcome.leakage.values()):
        yield "no row that is held back, and no prompt of one, is near a training row"
    yield from outcome.notes


def _leaks(outcome: Outcome) -> Iterator[str]:
    found = outcome.leakage or {}
    if found.get("rows"):
        yield f"{found['rows']:,} of {outcome.test_rows:,} rows that are held back are near training rows: scores flatter"
    if found.get("prompts"):
        yield f"{found['prompts']:,} of {outcome.test_rows:,} have a prompt that is near one that is trained on"


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
