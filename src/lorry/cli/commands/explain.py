"""`lorry explain [CODE]`: what the code of a finding means."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated

import typer

from lorry.cli import output
from lorry.errors import InputError
from lorry.plan.explained import explanations
from lorry.plan.findings import Explanation


def command(
    code: Annotated[
        str | None, typer.Argument(help="The code in brackets behind a finding: `targets.missing`.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what the code of a finding means, why it matters and what to do; without a code, list them all."""
    known = explanations()
    if code is None:
        _list(known, as_json=as_json)
        return
    told = known.get(code.strip("[]"))
    if told is None:
        raise _unknown(code, known)
    if as_json:
        output.emit_json({"code": code.strip("[]"), **told._asdict()})
        return
    output.pieces([(code.strip("[]"), "bold"), (f"  {told.means}", "")])
    for title, text in (("why it matters", told.why), ("what to do", told.remedy)):
        if text:
            output.pieces([(f"  {title}: ", "dim"), (text, "")])


def _list(known: dict[str, Explanation], *, as_json: bool) -> None:
    if as_json:
        output.emit_json([{"code": code, **told._asdict()} for code, told in known.items()])
        return
    output.table(["code", "what it means"], [[code, told.means] for code, told in known.items()])
    output.note("`lorry explain CODE` says why it matters and what to do")


def _unknown(code: str, known: dict[str, Explanation]) -> InputError:
    near = get_close_matches(code, known, n=1, cutoff=0.5)
    hint = f"did you mean `{near[0]}`?" if near else "`lorry explain` lists them"
    return InputError(f"no finding has the code `{code}`", hint=hint)
