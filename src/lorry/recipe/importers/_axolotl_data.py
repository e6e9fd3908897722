"""Axolotl's data sets all together: rows to train and to evaluate on, and the one chat template that serves for all."""

from __future__ import annotations

from typing import Any

from lorry.recipe.importers import _axolotl_paths as paths
from lorry.recipe.importers import _templates
from lorry.recipe.importers._axolotl_fields import ITSELF
from lorry.recipe.importers._axolotl_rows import kind_of
from lorry.recipe.importers._axolotl_types import Kind
from lorry.recipe.importers._rules import number, truth
from lorry.recipe.importers._sheet import Fate, Part

_GIVES = {"sft": "messages", "cpt": "text", "kto": "labelled", "grpo": "prompt"}
_ONE_TEMPLATE = "all rows of a recipe are written with one chat template, and other data sets here take another"


def fill(top: Part, method: str) -> None:
    """Rows to train and to evaluate on; the method becomes `cpt` where they are raw text."""
    wanted = _GIVES.get(method, "preference")
    sets = [*top.parts("datasets"), *_pretraining(top)]
    made = [(one, *_set(one, wanted)) for one in sets]
    tested = [(one, *_set(one, wanted)) for one in top.parts("test_datasets")]
    if not sets and not top.sheet.problems:
        top.sheet.problem("datasets", "is missing", "name the rows: `datasets: [{path: ..., type: alpaca}]`")
    kinds = [kind for _, kind, _ in [*made, *tested] if kind is not None]
    if kinds and all(kind.gives == "text" for kind in kinds) and method == "sft":
        top.sheet.put("method", {"name": "cpt"}, f"{sets[0].at}.type" if "type" in sets[0].values else sets[0].at)
    elif method == "sft":
        _of_one_kind(made + tested)
        _train_on(top)
    top.idle("train_on_inputs", "only conversations have parts that are not trained on")
    _write(top, "data.train", made)
    _write(top, "data.eval", tested)
    _held_back(top, bool(tested))
    _template(top, [(one, kind) for one, kind, _ in made + tested if kind is not None])


def _of_one_kind(made: list[tuple[Part, Kind | None, list[dict[str, Any]]]]) -> None:
    """Raw text and conversations are matters of two methods."""
    if any(kind is not None and kind.gives != "text" for _, kind, _ in made):
        for one, kind, _ in made:
            if kind is not None and kind.gives == "text":
                why = "raw text is a method of its own, `cpt`: train it by itself, before the conversations"
                one.lacks("type", why, ITSELF)


def _set(one: Part, wanted: str) -> tuple[Kind | None, list[dict[str, Any]]]:
    """What one data set's rows are, and its sources; None and none where lorry cannot read them."""
    places = paths.paths(one)
    kind = kind_of(one, wanted)
    paths.rest(one)
    if kind is None or not places:
        return None, []
    rows = paths.rows(one)
    return kind, [{"path": path, **kind.source, **({"rows": rows} if rows else {})} for path in places]


def _pretraining(top: Part) -> list[Part]:
    """Rows that Axolotl streams; lorry reads them once, before training."""
    given = top.get("pretraining_dataset")
    if isinstance(given, str):
        return [Part(top.sheet, "pretraining_dataset", {"path": given}, is_short=True)]
    found = top.parts("pretraining_dataset")
    for one in found:
        if one.get("skip"):
            one.lacks("skip", "lorry takes the first rows by number", ITSELF)
    return found


def _write(top: Part, path: str, made: list[tuple[Part, Kind | None, list[dict[str, Any]]]]) -> None:
    """All sources; where they are all read in the same way, once for all of them."""
    sources = [source for _, _, each in made for source in each]
    if not sources:
        return
    names = [part.name("path") if "path" in part.values else part.at for part, _, each in made if each]
    formats = [source.pop("format") for source in sources]
    if all(one == formats[0] for one in formats) and (
        path == "data.train" or top.sheet.made.values["data"].get("format") == formats[0]
    ):
        top.sheet.put(
            "data.format", formats[0], *[part.name("type") for part, _, each in made if each and "type" in part.values]
        )
    else:
        sources = [{**source, "format": layout} for source, layout in zip(sources, formats, strict=True)]
    rows = [source["path"] if set(source) == {"path"} else _tidy(source) for source in sources]
    top.sheet.put(path, rows[0] if len(rows) == 1 else rows, *names)


def _tidy(source: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in source.items() if value not in ({}, None)}


def _held_back(top: Part, tested: bool) -> None:
    size = number(top.get("val_set_size"))
    if size is None:
        top.idle("val_set_size", "not set")
    elif size == 0 or tested:
        top.idle("val_set_size", "none")
    else:
        top.to("val_set_size", "data.eval_split", size)
    if not top.sheet.has("data.eval_split") and not tested:
        top.sheet.put("data.eval_split", 0, *(["val_set_size"] if size == 0 else []))


def _train_on(top: Part) -> None:
    sets = top.parts("datasets")
    if truth(top.get("train_on_inputs")) is True:
        top.to("train_on_inputs", "method.train_on", "all")
        top.sheet.made.values["method"].setdefault("name", "sft")
        return
    last = [one for one in sets if "roles_to_train" in one.values and one.get("roles_to_train") is None]
    if last and len(last) < len(sets):
        for one in last:
            one.lacks(
                "roles_to_train", "what is learnt is the same for all rows of a recipe: `method.train_on`", ITSELF
            )
    elif last:
        top.sheet.put("method", {"name": "sft", "train_on": "last"}, *(one.name("roles_to_train") for one in last))


def _template(top: Part, made: list[tuple[Part, Kind]]) -> None:
    """One chat template for all rows: a type's own, a data set's, or the configuration's."""
    if all(kind.gives == "text" for _, kind in made):
        for key in ("chat_template", "chat_template_jinja"):
            top.idle(key, "raw text has no turns")
        return
    whole = str(top.get("chat_template_jinja") or top.get("chat_template") or "tokenizer_default")
    wanted = [(one, kind.template or whole) for one, kind in made]
    first = wanted[0][1]
    for one, template in wanted:
        if template != first:
            one.lacks("type" if "type" in one.values else "path", _ONE_TEMPLATE, ITSELF)
    keys = [(top, key) for key in ("chat_template_jinja", "chat_template") if top.get(key) is not None]
    keys += [
        (one, key) for one, _ in made for key in ("chat_template_jinja", "chat_template") if one.get(key) is not None
    ]
    for part, key in keys:
        _one_template(part, key, first, top)
    if not keys and first != "tokenizer_default":
        _implied(top, made[0][0], first)


def _implied(top: Part, one: Part, template: str) -> None:
    """A template that the type of the rows brings along."""
    name = one.name("type")
    if template in ("plain", "chatml"):
        top.sheet.put("data.chat_template", template, name)
        return
    model = str(top.get("base_model") or "")
    if not _templates.is_own(template, model, top.sheet):
        why = f"its rows are written as {template} does, and `{model}` is not known to come with that template"
        one.sheet.note(name, Fate.NOT_NATIVE, why, engines=ITSELF, matters=True)


def _one_template(part: Part, key: str, used: str, top: Part) -> None:
    """A field that names a template, or holds one."""
    value = str(part.get(key))
    if value not in (used, "jinja") and not (key == "chat_template" and used == part.get("chat_template_jinja")):
        part.idle(key, f"the rows' own type decides how they are written: {used if len(used) < 30 else 'as Jinja'}")
        if used in ("plain", "chatml"):
            top.sheet.put("data.chat_template", used)
        return
    model = str(top.get("base_model") or "")
    if key == "chat_template_jinja":
        part.to(key, "data.chat_template", value)
    elif value == "jinja":
        part.done(key, "data.chat_template")
    elif value == "chatml":
        part.to(key, "data.chat_template", "chatml")
    elif value == "tokenizer_default":
        part.done(key, why="lorry renders with the model's own chat template")
    elif value.startswith("tokenizer_default_fallback_"):
        other = value.removeprefix("tokenizer_default_fallback_")
        why = f"the model's own is taken; where it has none, `lorry check` says so: set `data.chat_template` ({other})"
        part.lacks(key, why, ITSELF, matters=False)
    else:
        _templates.of_model(part, key, value, model)
