"""A model that is not on this machine, put together for a rehearsal: its architecture, and a tokenizer from elsewhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from lorry.errors import ModelError
from lorry.plan.architecture.cards import card
from lorry.recipe.schema import Recipe
from lorry.track.folder import write_exact
from lorry.trainer.sources.locate import Source, locate

TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model"),
    *("vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json", "generation_config.json"),
    *("preprocessor_config.json", "processor_config.json"),
)


def borrowed(recipe: Recipe, base: Path, tokenizer: Path, folder: Path) -> Source:
    """The recipe's model with the tokenizer of another folder, in `folder`; the architecture from a card where it must be.

    Raises ModelError where there is no tokenizer, or the architecture cannot be known.
    """
    if not (tokenizer / "tokenizer.json").is_file():
        hint = "name a folder that has it, with tokenizer_config.json and the chat template"
        raise ModelError("there is no tokenizer.json", place=str(tokenizer), hint=hint)
    config, notes = _architecture(recipe, base)
    folder.mkdir(parents=True)
    for name in TOKENIZER_FILES:
        if (tokenizer / name).is_file():
            shutil.copyfile(tokenizer / name, folder / name)
    write_exact(folder / "config.json", json.dumps(config, indent=2))
    return Source(recipe.model.id, "folder", folder, None, [*notes, f"the tokenizer is that in {tokenizer}"])


def _architecture(recipe: Recipe, base: Path) -> tuple[dict[str, Any], list[str]]:
    """The model's config.json, and what is to be said of it."""
    try:
        found = locate(recipe.model, base, weights=False)
        return json.loads((found.folder / "config.json").read_text(encoding="utf-8")), found.notes
    except ModelError as error:
        known = card(recipe.model.id)
        if known is None:
            raise
        told = f"{error.message.splitlines()[0]}; the architecture is that of lorry's card of {known['as_of']}"
        return known["config"], [told]
