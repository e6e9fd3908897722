"""Turns of a conversation: fields of every dialect become the ones that chat templates read, and are checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from lorry.data.bad_rows import BadRowError
from lorry.data.images.of_rows import HELD, WRITTEN
from lorry.data.images.references import Reference, reference
from lorry.data.rows import MARK, Message
from lorry.data.strict_json import parse

ROLES = ("system", "developer", "user", "assistant", "tool")
"""Who may speak."""

_TEXT = ("text", "input_text", "output_text")
_REASONING = ("reasoning", "thinking")
_IMAGE = ("image", "image_url", "input_image")
_MEDIA = ("video", "video_url", "audio", "input_audio", "file")


def listed(value: Any, field: str) -> list[Any]:
    """A list, also when it comes as JSON text (as in CSV). Raises BadRowError if it is none."""
    if isinstance(value, str):
        value = _parsed(value, field)
    if value is None:
        raise BadRowError("is missing", field=field, hint="write a list of turns")
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise BadRowError("is not a list", field=field, hint="write a list of turns")
    return list(cast("Sequence[Any]", value))


def text_of(value: Any, field: str) -> str:
    """A string. Raises BadRowError if it is none."""
    if not isinstance(value, str):
        kind = "missing" if value is None else f"{type(value).__name__}, not text"
        raise BadRowError(f"is {kind}", field=field, hint="write a string")
    return value


def turn(raw: Any, field: str) -> Message:
    """One turn in the OpenAI dialect: role, content (text, or a list of typed parts), tool calls."""
    if not isinstance(raw, Mapping):
        raise BadRowError("a turn is not an object", field=field, hint='turns look like {"role": ..., "content": ...}')
    given = {key: value for key, value in cast("Mapping[str, Any]", raw).items() if value is not None}
    role = role_of(given.pop("role", None), f"{field}.role")
    content, calls, own = given.pop("content", ""), given.pop("tool_calls", None), given.pop("images", None)
    message: Message = {"role": role, "content": content}
    if not isinstance(content, str):
        if not isinstance(content, list | tuple):
            text_of(content, f"{field}.content")
        message |= _joined(listed(content, f"{field}.content"), f"{field}.content")
    if own:
        message |= _with_own(message, listed(own, f"{field}.images"), f"{field}.images")
    if calls:
        many = listed(calls, f"{field}.tool_calls")
        message["tool_calls"] = [tool_call(call, f"{field}.tool_calls[{index}]") for index, call in enumerate(many)]
    # What else a turn has (`name`, `tool_call_id`, `reasoning_content`, ...) is the template's business.
    return {**given, **message}


def turns_of(value: Any, field: str, role: str) -> list[Message]:
    """Turns, from a list of them (also as JSON text, as in CSV), from a single one, or from the text of one in this role."""
    if isinstance(value, str) and value.lstrip().startswith("[{"):
        value = _turns_in(value) or value
    if isinstance(value, list):
        return [turn(entry, f"{field}[{index}]") for index, entry in enumerate(listed(value, field))]
    if isinstance(value, Mapping):
        return [turn(value, field)]
    content = text_of(value, field)
    if not content.strip():
        raise BadRowError("is empty", field=field, hint="write a string or a list of turns")
    return [{"role": role, "content": content}]


def _turns_in(text: str) -> list[Any] | None:
    """The turns that a text holds as JSON; None where it is a text like any other."""
    try:
        found: Any = parse(text)
    except BadRowError:
        return None
    turns = cast("list[Any]", found) if isinstance(found, list) else []
    return turns if all(isinstance(one, Mapping) and "role" in one for one in turns) else None


def role_of(role: Any, field: str, names: Mapping[str, str] | None = None) -> str:
    """The role by its usual name. Raises BadRowError for an unknown one."""
    known = names or {name: name for name in ROLES}
    if not isinstance(role, str):
        raise BadRowError("is missing", field=field, hint=f"one of: {', '.join(known)}")
    if role not in known:
        raise BadRowError(f"unknown role `{role[:40]}`", field=field, hint=f"one of: {', '.join(known)}")
    return known[role]


def tool_call(raw: Any, field: str) -> dict[str, Any]:
    """A call of a tool, its arguments as an object: templates write them as JSON by themselves."""
    value = _parsed(raw, field) if isinstance(raw, str) else raw
    if not isinstance(value, Mapping):
        raise BadRowError("a tool call is not an object", field=field, hint=_CALL)
    call = {key: item for key, item in cast("Mapping[str, Any]", value).items() if item is not None}
    function = dict(cast("Mapping[str, Any]", call["function"])) if isinstance(call.get("function"), Mapping) else call
    if not isinstance(function.get("name"), str):
        raise BadRowError("a tool call has no name", field=field, hint=_CALL)
    arguments = function.get("arguments", {})
    if isinstance(arguments, str):
        arguments = _parsed(arguments, f"{field}.arguments") if arguments.strip() else {}
    kept = {key: call[key] for key in ("id",) if key in call}
    return {**kept, "type": "function", "function": {"name": function["name"], "arguments": arguments}}


def tool_calls(raw: Any, field: str) -> list[dict[str, Any]]:
    """One call, or a list of calls, at times as JSON text."""
    value = _parsed(raw, field) if isinstance(raw, str) else raw
    calls: list[Any] = cast("list[Any]", value) if isinstance(value, list) else [value]
    return [tool_call(call, field) for call in calls]


def tools_of(raw: Any, field: str = "tools") -> list[dict[str, Any]] | None:
    """Descriptions of tools in the form that templates read; None for none."""
    if raw is None or (isinstance(raw, str) and not raw.strip()):
        return None
    tools: list[dict[str, Any]] = []
    for index, tool in enumerate(listed(raw, field)):
        if not isinstance(tool, Mapping):
            raise BadRowError("a tool is not an object", field=f"{field}[{index}]", hint="describe it by a JSON schema")
        held = dict(cast("Mapping[str, Any]", tool))
        tools.append(held if "function" in held else {"type": "function", "function": held})
    return tools or None


def checked(messages: list[Message], field: str) -> list[Message]:
    """The conversation, if an answer can be learned from it. Raises BadRowError if not."""
    if not any(message["role"] == "assistant" for message in messages):
        hint = "write the answer as the last turn; preference pairs need another method"
        raise BadRowError("there is no assistant turn", field=field, hint=hint)
    if all(message["role"] == "assistant" for message in messages):
        hint = "write what is asked as the first turn, or learn the text with `method: cpt`"
        raise BadRowError("there is nothing that the assistant answers", field=field, hint=hint)
    for index, message in enumerate(messages):
        if message["role"] == "assistant" and not message.get("tool_calls") and not str(message["content"]).strip():
            raise BadRowError("an assistant turn is empty", field=f"{field}[{index}]", hint="write the answer")
    last = messages[-1]["role"]
    if last != "assistant":
        hint = f"write the assistant's answer behind it, or take the last {last} turn out"
        raise BadRowError(f"the conversation ends in a {last} turn", field=f"{field}[{len(messages) - 1}]", hint=hint)
    return messages


def refuse_marked_bad(raw: Mapping[str, Any]) -> None:
    """Raises BadRowError for an answer that its row calls a bad one, as rows for KTO do."""
    for field in LABELS:
        # A `label` of 0 may as well be the first of several classes.
        is_number = str(raw.get(field)) in ("0", "0.0") and field == "label"
        if meant_by(raw.get(field)) is False and not is_number:
            hint = "leave such rows out, or learn from labels with `method: kto`"
            raise BadRowError("the row is marked as a bad answer", field=field, hint=hint)


LABELS = ("label", "kto_tag")
"""Fields that say whether an answer is a good one."""
_MEANT = {"true": True, "false": False, "1": True, "0": False, "1.0": True, "0.0": False, "good": True, "bad": False}


def meant_by(label: Any) -> bool | None:
    """What a label means, as people and tables write it; None where it says nothing of good or bad."""
    return label if isinstance(label, bool) else _MEANT.get(str(label).strip().lower())


def _joined(parts: list[Any], field: str) -> Message:
    """Typed parts as one text, reasoning and tool calls in their own fields."""
    texts: list[str] = []
    reasoning: list[str] = []
    calls: list[dict[str, Any]] = []
    images: list[Reference | None] = []
    for index, part in enumerate(parts):
        place = f"{field}[{index}]"
        kind, value = _part(part, place)
        if kind in _TEXT:
            texts.append(text_of(value, place))
        elif kind in _REASONING:
            reasoning.append(text_of(value, place))
        elif kind in _IMAGE:
            texts.append(MARK)
            images.append(None if value is None else reference(value, place))
        elif kind in ("tool_call", "function_call"):
            calls.append(tool_call(value, place))
        else:
            raise BadRowError(f"content of the type `{kind}` is not text", field=place, hint=_unread(kind))
    message: Message = {"content": "".join(texts), **({HELD: images} if images else {})}
    if reasoning:
        message["reasoning_content"] = "".join(reasoning)
    if calls:
        message["tool_calls"] = calls
    return message


def _part(part: Any, field: str) -> tuple[str, Any]:
    if isinstance(part, str):
        return "text", part
    if not isinstance(part, Mapping):
        raise BadRowError("a part of the content is not an object", field=field, hint=_PART)
    held = {key: value for key, value in cast("Mapping[str, Any]", part).items() if value is not None}
    kind = held.pop("type", "text")
    if not isinstance(kind, str):
        raise BadRowError("a part's type is not text", field=field, hint=_PART)
    value = next((held[key] for key in (kind, "value", "text", "content") if key in held), held or None)
    return kind, value


def _with_own(turn: Message, images: list[Any], field: str) -> Message:
    """A turn that names its images beside its content, as Ollama has it: at their marks or parts, or before the text."""
    named = [reference(one, f"{field}[{index}]") for index, one in enumerate(images)]
    content, held = str(turn["content"]), list[Reference | None](turn.get(HELD, []))
    marks = held.count(None) or (0 if held else content.count(WRITTEN))
    if marks not in (0, len(named)):
        told = f"{marks} `{WRITTEN}` marks, {len(named)} images"
        raise BadRowError(told, field=field, hint="write one mark for each")
    if not marks:
        return {"content": MARK * len(named) + content, HELD: [*named, *held]}
    if not held:
        return {"content": content.replace(WRITTEN, MARK), HELD: named}
    rest = iter(named)
    return {HELD: [next(rest) if one is None else one for one in held]}


def _unread(kind: str) -> str:
    known = (*_TEXT, *_IMAGE[:2], *_REASONING, "tool_call")
    return "lorry trains on text and images" if kind in _MEDIA else f"one of: {', '.join(known)}"


def _parsed(text: str, field: str) -> Any:
    try:
        return parse(text)
    except BadRowError as error:
        raise BadRowError(error.message, field=field, hint=error.hint) from error


_CALL = 'calls look like {"name": ..., "arguments": {...}}'
_PART = 'parts look like {"type": "text", "text": ...}'
