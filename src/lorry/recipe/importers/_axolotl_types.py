"""Axolotl's `type` of a data set: what its rows hold, and how they are written as text."""

from __future__ import annotations

from typing import Any, NamedTuple


class Kind(NamedTuple):
    """How rows of one type are read here."""

    gives: str
    """`messages`, `text`, `preference`, `labelled`: what its rows are to learn from."""
    source: dict[str, Any]
    """Format, columns and so on, as a source in `data.train` has them."""
    template: str = ""
    """`plain` for rows that are text as they stand, `chatml`, `llama3`, ...; empty for the configuration's own."""


_ASKED = "### Instruction:\n{instruction}\n\n"
_WITH_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
)
_WITHOUT = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
)
_ALPACA = {
    "name": "alpaca",
    "prompt": _WITH_INPUT + _ASKED + "### Input:\n{input}\n\n### Response:\n",
    "prompt_without_input": _WITHOUT + _ASKED + "### Response:\n",
}
_ORCA = {
    "name": "alpaca",
    "prompt": "{system}### Human:\n{instruction}\n### Additional Context:\n{input}\n### Assistant:\n",
    "prompt_without_input": "{system}### Human:\n{instruction}\n### Assistant:\n",
    "system_format": "### System:\n{system}\n",
}


def _alpaca(layout: dict[str, Any], **columns: str | None) -> Kind:
    return Kind("messages", {"format": layout, "columns": {"history": None, "tools": None, **columns}}, "plain")


_TEXTS: dict[str, Kind] = {
    "alpaca": _alpaca(_ALPACA, system=None),
    "alpaca:instruct": _alpaca(_ALPACA, system=None),
    "gpteacher": _alpaca(_ALPACA, system=None, output="response"),
    "oasst": _alpaca(_ALPACA, system=None, instruction="INSTRUCTION", output="RESPONSE", input=None),
    "alpaca_w_system.load_open_orca": _alpaca(
        _ORCA, system="system_prompt", instruction="question", output="response", input=None
    ),
}
"""Types that write a prompt as text, without a chat template."""

_PAIRS: dict[str, dict[str, Any]] = {
    "argilla": {"instruction": "instruction", "chosen": "chosen_response", "rejected": "rejected_response"},
    "argilla_chat": {},
    "icr": {"instruction": "input"},
    "intel": {"instruction": "question"},
    "prompt_pairs": {"instruction": "prompt"},
    "ultra": {"prompt": "prompt"},
}
"""Pairs: the columns that hold what is asked, and either answer; none where both are whole conversations."""

_LABELLED: dict[str, str] = {
    "argilla": "instruction",
    "intel": "question",
    "prompt_pairs": "prompt",
    "ultra": "prompt",
}
"""Labelled answers: the column that holds what is asked."""


def of_text(kind: str) -> Kind | None:
    """For supervised fine-tuning, a type that writes its prompt as text."""
    return _TEXTS.get(kind)


def of_pairs(kind: str) -> Kind | None:
    """For preferences: `chatml.intel`, `llama3.ultra`, ...; None for a type that lorry does not know."""
    template, _, name = kind.partition(".")
    if template not in ("chatml", "llama3", "chat_template") or name not in _PAIRS:
        return None
    columns = _PAIRS[name]
    if name in ("argilla_chat", "ultra"):
        hidden = {"prompt": None} if name == "argilla_chat" else {}
        source = {"format": "preference", "columns": {**hidden, "tools": None, "messages": None}}
    else:
        layout = "alpaca_preference"
        source = {
            "format": layout,
            "columns": {"input": None, "history": None, "tools": None, "output": None, **columns},
        }
    return Kind("preference", source, "" if template == "chat_template" else template)


def of_labelled(kind: str) -> Kind | None:
    """For KTO: `chatml.intel`, `llama3.ultra`, ...; None for a type that lorry does not know."""
    template, _, name = kind.partition(".")
    if template not in ("chatml", "llama3"):
        return None
    if name == "argilla_chat":
        columns: dict[str, Any] = {"messages": "completion", "kto_tag": None}
    elif name in _LABELLED:
        columns = {"instruction": _LABELLED[name], "output": "completion", "input": None, "history": None}
        columns |= {"kto_tag": None, "messages": None, "conversations": None}
    else:
        return None
    return Kind("labelled", {"format": "labelled", "columns": columns}, template)
