"""What stands in for a model that cannot be had, as far as a plan needs one: its card, and a rule of thumb for tokens."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tokenizers import AddedToken, Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Split

from lorry.data.template import CHATML
from lorry.plan.architecture.cards import card
from lorry.plan.subject import Subject
from lorry.track.folder import cache, write_exact
from lorry.trainer.sources.locate import Source

if TYPE_CHECKING:
    from pathlib import Path

_PIECES = r" ?\p{L}{1,7}| ?\d| ?[^\s\p{L}\d]{1,2}|\s+"
"""Up to seven letters, one digit or two marks make a token. Against SmolLM2's tokenizer: 0.94 to 1.10 times as many on English
prose, dialogue and shell commands, 0.80 on text from character recognition."""
_ENDS = ("<|im_start|>", "<|im_end|>")
_IMAGE = "<|image|>"
_PROCESSORS = {
    "qwen2_vl": {"min_pixels": 3136, "max_pixels": 12_845_056},
    "qwen2_5_vl": {"min_pixels": 3136, "max_pixels": 12_845_056},
    "qwen3_vl": {"size": {"shortest_edge": 65_536, "longest_edge": 16_777_216}},
}
"""What the published preprocessor_config.json of these families says of images' sizes, in pixels."""


def stand_in(subject: Subject) -> Subject | None:
    """The recipe on lorry's card of its model, for sizes and time alone; None for a model that has no card."""
    known = card(subject.recipe.model.id)
    if known is None:
        return None
    folder = cache() / "stand-ins" / known["id"].replace("/", "--")
    _write(folder, known["config"])
    source = Source(subject.recipe.model.id, "hub", folder)
    parts = {"source": source, "hardware": subject.hardware, "judges_to_come": subject.judges_to_come}
    made = Subject(subject.recipe, subject.base, **parts)
    made.about = (
        f"the model cannot be had here: sizes are those of lorry's card of {known['as_of']}, tokens are counted by a rule of "
        "thumb, and beginnings that rows share are not spared"
    )
    return made


def _write(folder: Path, config: dict[str, object]) -> None:
    """The files that a plan reads of a model, written anew: a card may be another by now."""
    # Cards do not tell the format of the files, which is one of 16 bits for nearly all of them.
    backend = Tokenizer(WordLevel({"<unk>": 0}, unk_token="<unk>"))  # noqa: S106 - no password
    backend.pre_tokenizer = Split(Regex(_PIECES), "isolated")  # type: ignore[assignment]
    backend.add_special_tokens([AddedToken(text, special=True) for text in (*_ENDS, _IMAGE)])
    known = {"dtype": "bfloat16", **config, "image_token_id": backend.token_to_id(_IMAGE)}
    write_exact(folder / "config.json", json.dumps(known))
    write_exact(folder / "preprocessor_config.json", json.dumps(_PROCESSORS.get(str(config.get("model_type")), {})))
    write_exact(folder / "tokenizer.json", backend.to_str())
    settings = {"eos_token": _ENDS[1], "pad_token": _ENDS[1], "chat_template": CHATML}
    write_exact(folder / "tokenizer_config.json", json.dumps(settings))
