"""What the rows of one of Axolotl's data sets are: how their columns and turns are called, and what of them is learnt."""

from __future__ import annotations

from typing import Any, cast

from lorry.recipe.importers import _axolotl_types as types
from lorry.recipe.importers._axolotl_fields import ITSELF
from lorry.recipe.importers._axolotl_types import Kind
from lorry.recipe.importers._rules import truth
from lorry.recipe.importers._sheet import Part

_ROLES = {"user": ["human", "user"], "assistant": ["gpt", "assistant"], "system": ["system"], "tool": ["tool"]}


def kind_of(one: Part, wanted: str) -> Kind | None:
    given = one.get("type")
    if wanted == "unknown":
        return None
    if isinstance(given, dict):
        return _own_type(one, wanted)
    if given is not None and not isinstance(given, str):
        one.sheet.problem(one.name("type"), "must be a name or a mapping", "write `type: chat_template`")
        one.done("type")
        return None
    name = str(given or ("pretrain" if one.at.startswith("pretraining") else ""))
    kind = _named(one, name, wanted)
    if kind is None:
        why = "lorry does not read rows of this type" if name else "rows that are tokenised already are not read"
        one.lacks("type" if name else "path", why, ITSELF)
    elif one.sheet.covering(one.name("type")) is None:
        one.done("type", "data.format")
    return kind


def _named(one: Part, name: str, wanted: str) -> Kind | None:
    """A type by its name, for what the method learns from."""
    if wanted == "preference":
        if name in ("chat_template.default", "chat_template"):
            return _chat_pairs(one)
        if name in ("chat_template.argilla", "orpo.chat_template", "bradley_terry.chat_template"):
            return _argilla(name)
        return types.of_pairs(name)
    if wanted == "labelled":
        return types.of_labelled(name)
    if wanted == "prompt":
        return None if name else Kind("prompt", {"format": "prompt"})
    if name in ("completion", "pretrain"):
        return _completion(one)
    if name == "chat_template":
        return _chat(one)
    if name.partition(".")[0].partition(":")[0] == "sharegpt":
        return _sharegpt(one)
    return types.of_text(name)


def _argilla(name: str) -> Kind:
    if name.startswith("bradley"):
        columns = {"instruction": "input", "input": None, "history": None, "output": None}
        return Kind("preference", {"format": "alpaca_preference", "columns": columns})
    return Kind("preference", {"format": "preference", "columns": {"tools": None}})


def _completion(one: Part) -> Kind:
    field = str(one.get("field") or one.get("text_column") or "text")
    for key in ("field", "text_column"):
        if one.get(key) is not None:
            one.done(key, "data.format")
    return Kind("text", {"format": {"name": "completion", "field": field} if field != "text" else "text"})


def _chat(one: Part) -> Kind:
    """Conversations: which column holds them, and what their turns, roles and fields are called."""
    field = one.text("field_messages") or "messages"
    source: dict[str, Any] = {"format": "messages"}
    columns: dict[str, Any] = {"messages": field} if field != "messages" else {}
    if one.get("field_tools") not in (None, "tools"):
        columns["tools"] = one.get("field_tools")
    if columns:
        source["columns"] = columns
    _mappings(one, source)
    if truth(one.get("drop_system_message")) is True:
        source["drop_system"] = True
    one.done("field_messages", "data.train")
    one.done("field_tools", "data.train")
    one.done("drop_system_message", "data.train")
    _trained(one)
    return Kind("messages", source, _own_template(one))


def _mappings(one: Part, source: dict[str, Any]) -> None:
    """Names of roles and contents in turns; older versions have a field for each."""
    given = one.get("message_property_mappings")
    mapped = dict(cast("dict[str, Any]", given)) if isinstance(given, dict) else {}
    for key, ours in (("message_field_role", "role"), ("message_field_content", "content")):
        if one.get(key) is not None:
            mapped.setdefault(ours, one.get(key))
            one.done(key, "data.train")
    if one.get("field_thinking") not in (None, "reasoning_content"):
        mapped["reasoning_content"] = one.get("field_thinking")
    turns = {ours: theirs for ours, theirs in mapped.items() if ours != theirs}
    if turns:
        source["turns"] = turns
    one.done("message_property_mappings", "data.train")
    one.done("field_thinking", "data.train")
    one.idle("template_thinking_key", "templates see reasoning under each of its names")
    roles = one.get("roles")
    if isinstance(roles, dict):
        source["roles"] = roles
        one.done("roles", "data.train")
    elif "from" in turns.values():
        source["roles"] = _ROLES


def _trained(one: Part) -> None:
    """Which turns are learnt: all of the assistant's, or where nothing is named only the last."""
    roles = one.get("roles_to_train")
    if "roles_to_train" in one.values and roles is None:
        one.done("roles_to_train", "method.train_on", why="nothing is named: only the last answer is learnt")
    elif roles in (None, ["assistant"], ["gpt"], "assistant"):
        one.idle("roles_to_train", "what is learnt anyway")
    else:
        one.lacks("roles_to_train", "lorry learns the assistant's turns", ITSELF)
    for key in ("train_on_eos", "train_on_eot"):
        if one.get(key) in (None, "turn"):
            one.idle(key, "the end of each answer is learnt")
        else:
            one.lacks(key, "the end of each answer is learnt, and no other", ITSELF)
    for key in ("message_field_training", "message_field_training_detail"):
        if one.get(key) is not None:
            one.lacks(key, "lorry learns the assistant's turns as they stand", ITSELF)
    if truth(one.get("split_thinking")) is True:
        one.lacks("split_thinking", "lorry reads reasoning from a field of the turn", ITSELF)


def _sharegpt(one: Part) -> Kind:
    """The older type of conversations; `conversation` names how they are written."""
    written = one.get("conversation")
    source: dict[str, Any] = {"format": "sharegpt"}
    columns = {"conversations": one.get("field_messages")} if one.get("field_messages") else {}
    if columns:
        source["columns"] = columns
        one.done("field_messages", "data.train")
    roles = one.get("roles")
    if isinstance(roles, dict) and "input" not in roles and "output" not in roles:
        source["roles"] = roles
        one.done("roles", "data.train")
    elif roles is not None:
        one.lacks("roles", "roles are named by what they are: `{user: [human], assistant: [gpt]}`", ITSELF)
    for key, default in (("field_human", "human"), ("field_model", "gpt")):
        if one.get(key) in (None, default):
            one.idle(key, "as in every such set")
        else:
            one.lacks(key, "name it in `roles` of the data set", ITSELF)
    if written is None and not (_own_template(one) or one.sheet.given.get("chat_template")):
        why = "older versions write it as Vicuna does: `conversation: chatml`, or `type: chat_template` for the model's own"
        one.lacks("type", why, ITSELF)
        one.idle("conversation", "not set")
    elif written is None or written == "chatml":
        one.done("conversation", "data.chat_template") if written else one.idle("conversation", "not set")
    else:
        one.lacks("conversation", "lorry writes conversations with a chat template: chatml, or the model's own", ITSELF)
    return Kind("messages", source, "chatml" if written == "chatml" else _own_template(one))


def _chat_pairs(one: Part) -> Kind:
    """A conversation, and either answer to it."""
    columns: dict[str, Any] = {
        "prompt": one.get("field_messages") or "messages",
        "chosen": one.get("field_chosen") or "chosen",
        "rejected": one.get("field_rejected") or "rejected",
    }
    source: dict[str, Any] = {"format": "preference"}
    source["columns"] = {ours: theirs for ours, theirs in columns.items() if ours != theirs}
    for key in ("field_messages", "field_chosen", "field_rejected"):
        one.done(key, "data.train")
    _mappings(one, source)
    return Kind("preference", source, _own_template(one))


def _own_template(one: Part) -> str:
    """A data set's own chat template, which then has to serve for all."""
    jinja, name = one.get("chat_template_jinja"), one.get("chat_template")
    return str(jinja or name or "")


def _own_type(one: Part, wanted: str) -> Kind | None:
    """A type of the person's own: which columns hold what, and how they are written as text."""
    part = one.part("type")
    if part is None:
        return None
    if wanted == "messages":
        return _own_prompt(part)
    names = {"preference": ("chosen", "rejected"), "labelled": ("completion", "label")}.get(wanted, ())
    columns: dict[str, Any] = {"messages": None, "tools": None}
    for name in ("prompt", *names):
        theirs = part.get(f"field_{name}")
        if theirs is not None and theirs != name:
            columns[name] = theirs
        part.done(f"field_{name}", "data.train")
        written = part.get(f"{name}_format")
        if written in (None, f"{{{name}}}"):
            part.idle(f"{name}_format", "as it stands")
        else:
            part.lacks(f"{name}_format", "lorry takes prompt and answers as they stand", ITSELF)
    if part.get("field_system") is not None:
        part.lacks("field_system", "such rows have no system prompt here: write it into the prompt", ITSELF)
    return Kind(wanted, {"format": "preference" if wanted == "preference" else "labelled", "columns": columns}, "plain")


def _own_prompt(part: Part) -> Kind:
    written = str(part.get("format") or "{instruction} {input} ")
    bare = part.get("no_input_format")
    bare = str(bare) if bare is not None else "{instruction} " if part.get("format") is None else written
    layout: dict[str, Any] = {
        "name": "alpaca",
        "prompt": "{system}" + written,
        "prompt_without_input": "{system}" + bare,
    }
    columns: dict[str, Any] = {"history": None}
    for ours in ("system", "instruction", "input", "output"):
        theirs = part.get(f"field_{ours}") or ours
        if theirs != ours:
            columns[ours] = theirs
        part.done(f"field_{ours}", "data.train")
    if part.get("system_prompt"):
        layout["system"] = part.get("system_prompt")
    if part.get("system_format"):
        layout["system_format"] = part.get("system_format")
    for key in ("system_prompt", "system_format", "format", "no_input_format"):
        part.done(key, "data.format")
    for key in ("field",):
        part.idle(key, "belongs to `type: completion`")
    return Kind("messages", {"format": layout, "columns": columns}, "plain")
