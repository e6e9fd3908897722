"""What `dataset_info.json` says of a data set's rows: which columns hold what, and how turns are written."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

_COLUMNS = ("prompt", "query", "response", "history", "messages", "system", "tools", "chosen", "rejected", "kto_tag")
_MEDIA = ("images", "videos", "audios")
_DESCRIBED = frozenset(
    {"hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name", "file_name", "file_sha1", "formatting"}
    | {"ranking", "subset", "split", "folder", "num_samples", "revision", "columns", "tags"}
)
_TAGS = {
    "role_tag": "from",
    "content_tag": "value",
    "user_tag": "human",
    "assistant_tag": "gpt",
    "observation_tag": "observation",
    "function_tag": "function_call",
    "system_tag": "system",
}


class Described(NamedTuple):
    """One data set."""

    name: str
    given: dict[str, Any]
    file: str


def layout(found: Described, method: str) -> tuple[dict[str, Any], list[str]]:
    """The source of its rows, without their path, and what lorry cannot do with them."""
    given = found.given
    faults = [f"no such field: `{key}`" for key in given if key not in _DESCRIBED]
    columns, tags = (_mapping(given, key, faults) for key in ("columns", "tags"))
    faults += [f"columns: no such field: `{key}`" for key in columns if key not in (*_COLUMNS, *_MEDIA)]
    faults += [f"tags: no such field: `{key}`" for key in tags if key not in _TAGS]
    if tags.get("function_tag", "function_call") != "function_call":
        faults.append("calls of tools are called `function_call` here, and not otherwise")
    if any(columns.get(media) for media in _MEDIA):
        faults.append("its rows have images, video or sound, and lorry trains on text")
    if method in ("dpo", "orpo", "simpo", "reward") and given.get("ranking") is not True:
        faults.append(f"`ranking` is not true, and `{method}` learns from pairs")
    if given.get("ranking") is True and method in ("sft", "cpt", "kto"):
        faults.append(f"`ranking` is true, and `{method}` does not learn from pairs")
    if method == "kto" and not columns.get("kto_tag"):
        faults.append("has no column `kto_tag`, which KTO learns from")
    if given.get("formatting", "alpaca") not in ("alpaca", "sharegpt", "openai"):
        faults.append(f"`formatting` is none that lorry reads: {given.get('formatting')}")
    is_alpaca = given.get("formatting", "alpaca") == "alpaca"
    if faults or method == "unknown":
        return {"format": "auto"}, faults
    return (_alpaca(columns, method) if is_alpaca else _sharegpt(columns, tags, method)), []


def _mapping(given: dict[str, Any], key: str, faults: list[str]) -> dict[str, str]:
    value = given.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(one, str) for one in cast("dict[str, Any]", value).values()):
        faults.append(f"`{key}` must be names by name")
        return {}
    return cast("dict[str, str]", value)


def _alpaca(given: dict[str, str], method: str) -> dict[str, Any]:
    """Instruction and its like. Where `columns` is given, what it leaves out is not read."""
    asked = {"prompt": "instruction", "query": "input", "response": "output"} if not given else {}
    named = {**asked, **given}
    if method == "cpt":
        field = named.get("prompt", "text")
        return {"format": {"name": "completion", "field": field} if field != "text" else "text"}
    columns: dict[str, str | None] = {
        "instruction": named.get("prompt"),
        "input": named.get("query"),
        "output": named.get("response"),
        "system": named.get("system"),
        "history": named.get("history"),
        "tools": named.get("tools"),
    }
    name: Any = {"name": "alpaca", "separator": "\n"}
    if method == "kto":
        name = {"name": "labelled", "separator": "\n"}
        columns |= {"kto_tag": named.get("kto_tag"), "label": None, "messages": None, "conversations": None}
    elif method != "sft":
        name = {"name": "alpaca_preference", "separator": "\n"}
        columns |= {"chosen": named.get("chosen"), "rejected": named.get("rejected"), "output": None}
    return {"format": name, "columns": _renamed(columns)}


def _sharegpt(given: dict[str, str], tags: dict[str, str], method: str) -> dict[str, Any]:
    """Conversations, with names for turns and roles."""
    named = given or {"messages": "conversations"}
    columns: dict[str, str | None] = {
        "conversations": named.get("messages"),
        "system": named.get("system"),
        "tools": named.get("tools"),
    }
    layout = "sharegpt"
    if method == "kto":
        layout = "labelled"
        columns |= {"kto_tag": named.get("kto_tag"), "label": None, "messages": None}
    elif method != "sft":
        layout = "sharegpt_preference"
        columns |= {"chosen": named.get("chosen"), "rejected": named.get("rejected")}
    source: dict[str, Any] = {"format": layout, "columns": _renamed(columns)}
    turns = {
        ours: tags[tag]
        for ours, tag in (("from", "role_tag"), ("value", "content_tag"))
        if tags.get(tag) not in (None, ours)
    }
    if turns:
        source["turns"] = turns
    roles = _roles(tags)
    if roles:
        source["roles"] = roles
    return source


def _roles(tags: dict[str, str]) -> dict[str, list[str]]:
    """Only roles that are called otherwise than in ShareGPT's own files."""
    ours = {"user_tag": "user", "assistant_tag": "assistant", "observation_tag": "tool", "system_tag": "system"}
    known = {
        "user": ["human", "user"],
        "assistant": ["gpt", "assistant"],
        "tool": ["observation", "tool"],
        "system": ["system"],
    }
    return {role: [tags[tag]] for tag, role in ours.items() if tag in tags and tags[tag] not in known[role]}


def _renamed(columns: dict[str, str | None]) -> dict[str, str | None]:
    """Without columns that have the name already."""
    return {ours: theirs for ours, theirs in columns.items() if ours != theirs}
