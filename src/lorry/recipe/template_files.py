"""The recipes that come with lorry for `lorry init` to write: one file each in `templates/`.

A file is a whole recipe for one model, or leaves `$model` and more to be asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from string import Template

from lorry.errors import InputError
from lorry.recipe.layer import Keys, Layer, get
from lorry.recipe.yaml_file import parse

_FOLDER = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class RecipeTemplate:
    """One of them."""

    name: str
    purpose: str
    """From its first line."""
    text: str

    @property
    def is_asked_for(self) -> bool:
        """Whether model, memory and length are asked for."""
        return "$model" in self.text

    @property
    def model(self) -> str:
        """The model that it is made for; empty where any may be named."""
        return "" if self.is_asked_for else str(get(self._layer.values, ("model", "id")))

    @property
    def method(self) -> str:
        """The method's name."""
        chosen = get(self._layer.values, ("method",))
        return str(chosen["name"] if isinstance(chosen, dict) else chosen)

    def filled(self, *, model: str, data: str) -> str:
        """The text with this model and these rows, as YAML holds them, in place of its own."""
        lines = self.text.split("\n")
        for keys, value in ((("model", "id"), model), (("data", "train"), data)):
            number = self._line(keys)
            lines[number] = f"{lines[number].partition(':')[0]}: {value}"
        return "\n".join(lines)

    def _line(self, keys: Keys) -> int:
        """The place of a setting's line among all lines."""
        return int(self._layer.place(keys).rpartition(":")[2]) - 1

    @property
    def _layer(self) -> Layer:
        # The one line that is no YAML before it is filled in.
        return parse(Template(self.text).safe_substitute(length="steps: 1"), f"{self.name}.yaml")


def templates() -> dict[str, RecipeTemplate]:
    """All of them by name."""
    return {file.stem: _read(file) for file in sorted(_FOLDER.glob("*.yaml"))}


def find(name: str) -> RecipeTemplate:
    """The one with this name. Raises InputError for one that does not exist."""
    every = templates()
    found = every.get(name.strip().lower().replace("-", "_"))
    if found is None:
        raise InputError(f"there is no template `{name}`", hint=f"there are: {', '.join(every)}")
    return found


def _read(file: Path) -> RecipeTemplate:
    text = file.read_text("utf-8")
    return RecipeTemplate(file.stem, text.split("\n", 1)[0].lstrip("# ").rstrip("."), text)
