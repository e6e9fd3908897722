"""Data sets on the Hugging Face Hub, streamed: `hub:OWNER/NAME[@REVISION][:[CONFIG/]SPLIT]`.

Files are found as the library `datasets` finds them: by the `configs` in the README's head if there are any, else by
the names of files and folders. Data sets that are a program are refused.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn, cast

import yaml

from lorry.data.readers import hub_listing
from lorry.data.readers.blob import Blob, suffix_of
from lorry.errors import DataError, LorryError
from lorry.network import is_network, persistent
from lorry.secrets import found as secrets

_NAME = re.compile(
    r"hub:(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?(?::(?:(?P<config>[\w.-]+)/)?(?P<split>[\w.-]+))?"
)
_KEYWORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_HUB = "the Hub"
_BUFFER = 1024 * 1024


@dataclass(frozen=True)
class _Wanted:
    """A data set's name, taken apart."""

    given: str
    repo: str
    revision: str
    config: str | None
    split: str


def find(name: str, suffixes: Sequence[str]) -> list[Blob]:
    """The files of a split. Raises DataError if there is no such data set, no such split, or no network.

    What fails is tried again three times, here and while rows are read. Where the Hub cannot be reached at all, the files
    are those that it last told of, which serves where their rows are rendered already.
    """
    from huggingface_hub import HfFileSystem

    wanted = _parsed(name)
    # The endpoint is read now, not when the library was imported.
    system = HfFileSystem(endpoint=os.environ.get("HF_ENDPOINT") or None, skip_instance_cache=True)
    secrets.export("HF_TOKEN")
    try:
        blobs = persistent(lambda: _found(system, wanted, suffixes), where=_HUB)
    except LorryError:
        raise
    except Exception as error:  # the library raises its own errors, httpx's, OSError and ValueError
        return _as_remembered(wanted, error)
    hub_listing.remember(wanted.given, blobs)
    return blobs


def _as_remembered(wanted: _Wanted, error: Exception) -> list[Blob]:
    """The files as the Hub last told of them. Raises DataError where it never did, or where it did answer now."""

    def refuse(name: str) -> NoReturn:
        _explain(error, name)

    known = hub_listing.remembered(wanted.given, refuse) if is_network(error) else []
    return known or _explain(error, wanted.given)


def _found(system: Any, wanted: _Wanted, suffixes: Sequence[str]) -> list[Blob]:
    root = f"datasets/{wanted.repo}@{wanted.revision}"
    entries = {
        path.partition(f"{wanted.repo}@{wanted.revision.replace('/', '%2F')}/")[2] or path: entry
        for path, entry in cast("dict[str, Any]", system.find(root, detail=True)).items()
    }
    readable = sorted(path for path in entries if suffix_of(path).removesuffix(".gz") in suffixes and _is_data(path))
    if not readable:
        _refuse_unreadable(wanted, list(entries))
    readme = system.read_text(f"{root}/README.md", encoding="utf-8") if "README.md" in entries else ""
    chosen = _by_readme(wanted, readable, readme) or _by_name(wanted, readable)
    return [_blob(system, wanted, path, f"{root}/{path}", entries[path]) for path in chosen]


def _parsed(name: str) -> _Wanted:
    parts = _NAME.fullmatch(name)
    if parts is None:
        raise DataError(
            "not the name of a Hub data set", place=name, hint="write `hub:OWNER/NAME` or `hub:OWNER/NAME:SPLIT`"
        )
    return _Wanted(name, parts["repo"], parts["revision"] or "main", parts["config"], parts["split"] or "train")


def _is_data(path: str) -> bool:
    name = path.rpartition("/")[2].lower()
    documents = ("readme", "license", "changelog", "requirements")
    settings = ("dataset_infos.json", "dataset_info.json", "config.json")
    return not (name.startswith((".", *documents)) or name in settings or name.endswith(".md"))


def _refuse_unreadable(wanted: _Wanted, paths: list[str]) -> NoReturn:
    if any(path.endswith(".py") for path in paths):
        hint = f"its Parquet copy may do: `hub:{wanted.repo}@refs/convert/parquet:{wanted.split}`"
        raise DataError("the data set is a program, which lorry does not run", place=wanted.given, hint=hint)
    hint = "lorry reads JSONL, JSON, CSV, Parquet and text"
    raise DataError("the data set has no files that can be read", place=wanted.given, hint=hint)


# --- which files


def _by_readme(wanted: _Wanted, paths: list[str], readme: str) -> list[str]:
    """Files that the README's `configs` name for the split; none if it has no such settings."""
    configs = _configs(readme)
    if not configs:
        return []
    config = _config(wanted, configs)
    folder = str(config.get("data_dir") or "").strip("/")
    patterns = _patterns(config.get("data_files"))
    if not patterns:
        return _by_name(wanted, [path for path in paths if path.startswith(f"{folder}/")]) if folder else []
    split = _split_named(wanted, list(patterns))
    full = [_regex(f"{folder}/{pattern}".lstrip("/").removeprefix("./")) for pattern in patterns[split]]
    chosen = [path for path in paths if any(pattern.fullmatch(path) for pattern in full)]
    if not chosen:
        message = f"no file matches {', '.join(patterns[split])}, which its README names for `{split}`"
        raise DataError(message, place=wanted.given, hint="name another split, or files that you have here")
    return chosen


def _configs(readme: str) -> list[dict[str, Any]]:
    head = re.match(r"---\s*\n(.*?)\n---\s*(\n|$)", readme, re.DOTALL)
    try:
        meta: Any = yaml.safe_load(head[1]) if head else None
    except yaml.YAMLError:
        return []
    configs: Any = cast("dict[str, Any]", meta).get("configs") if isinstance(meta, dict) else None
    return (
        [entry for entry in cast("list[Any]", configs) if isinstance(entry, dict)] if isinstance(configs, list) else []
    )


def _config(wanted: _Wanted, configs: list[dict[str, Any]]) -> dict[str, Any]:
    names = {str(config.get("config_name", "default")): config for config in configs}
    if wanted.config is not None and wanted.config in names:
        return names[wanted.config]
    marked = [config for config in configs if config.get("default")]
    if wanted.config is None and (len(names) == 1 or marked or "default" in names):
        return marked[0] if marked else names.get("default", configs[0])
    hint = f"`hub:{wanted.repo}:{next(iter(names))}/{wanted.split}`; there are: {', '.join(names)}"
    what = f"there is no part `{wanted.config}`" if wanted.config else "the data set has several parts: name one"
    raise DataError(what, place=wanted.given, hint=hint)


def _patterns(files: Any) -> dict[str, list[str]]:
    """Patterns of files by split, from each form in which a README may write them."""
    if isinstance(files, str):
        return {"train": [files]}
    if isinstance(files, dict):
        return {str(split): _texts(paths) for split, paths in cast("dict[Any, Any]", files).items()}
    entries = cast("list[Any]", files) if isinstance(files, list) else []
    found: dict[str, list[str]] = {}
    for entry in entries:
        held = cast("dict[str, Any]", entry) if isinstance(entry, dict) else {"split": "train", "path": entry}
        found.setdefault(str(held.get("split", "train")), []).extend(_texts(held.get("path")))
    return found


def _texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(item) for item in cast("list[Any]", value or [])]


def _by_name(wanted: _Wanted, paths: list[str]) -> list[str]:
    """Files whose name, or whose folder's, says the split; all of them are training rows when none says any."""
    if wanted.config is not None:
        paths = [path for path in paths if path.startswith(f"{wanted.config}/") or f"/{wanted.config}/" in path]
    for part in (lambda path: path.rpartition("/")[2], lambda path: path.rpartition("/")[0]):
        by_split: dict[str, list[str]] = {}
        for path in paths:
            words = re.split(r"[^a-z]+", part(path).lower())
            for split, keywords in _KEYWORDS.items():
                if any(word in keywords for word in words):
                    by_split.setdefault(split, []).append(path)
                    break
        if by_split:
            return by_split[_split_named(wanted, list(by_split))]
    return {"train": paths}[_split_named(wanted, ["train"])]


def _split_named(wanted: _Wanted, splits: list[str]) -> str:
    """The split by the name that the data set gives it."""
    alike = next((words for words in _KEYWORDS.values() if wanted.split in words), (wanted.split,))
    for name in (wanted.split, *alike):
        if name in splits:
            return name
    raise DataError(f"there is no split `{wanted.split}`", place=wanted.given, hint=f"there are: {', '.join(splits)}")


def _regex(pattern: str) -> re.Pattern[str]:
    signs = {r"\*\*/": "(?:.*/)?", r"\*\*": ".*", r"\*": "[^/]*", r"\?": "[^/]"}
    escaped = re.escape(pattern)
    return re.compile(re.sub("|".join(re.escape(sign) for sign in signs), lambda match: signs[match[0]], escaped))


# --- reading


def _blob(system: Any, wanted: _Wanted, path: str, full: str, entry: dict[str, Any]) -> Blob:
    lfs: Any = entry.get("lfs")
    digest = str(lfs["sha256"]) if lfs else f"git-{entry.get('blob_id', '')}"
    name = f"hub:{wanted.repo}/{path}"

    def opened() -> BinaryIO:
        try:
            file = persistent(lambda: system.open(full, "rb", block_size=4 * _BUFFER), where=_HUB)
        except Exception as error:
            _explain(error, name)
        return cast("BinaryIO", io.BufferedReader(_Remote(file, name), _BUFFER))

    return Blob(name, suffix_of(path), opened, lambda: digest)


class _Remote(io.RawIOBase):
    """A remote file whose failures are said as lorry says them."""

    def __init__(self, file: Any, name: str) -> None:
        self._file = file
        self._name = name
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._file.seek(self._position)
        self._position = int(self._file.seek(offset, whence))
        return self._position

    def tell(self) -> int:
        return self._position

    def _read(self, count: int) -> bytes:
        """Reads on from where the last whole read ended, also after one that failed half-way."""
        self._file.seek(self._position)
        content: bytes = self._file.read(count)
        self._position += len(content)
        return content

    def readinto(self, buffer: Any) -> int:
        try:
            content = persistent(lambda: self._read(len(buffer)), where=_HUB)
        except Exception as error:
            _explain(error, self._name)
        buffer[: len(content)] = content
        return len(content)


def _explain(error: Exception, name: str) -> NoReturn:
    """Raises the DataError that says what went wrong with the Hub."""
    from huggingface_hub import errors

    kind = type(error).__name__
    if isinstance(error, errors.GatedRepoError):
        hint = "ask for access on its page, then set HF_TOKEN in `.env` or the environment"
        raise DataError("the data set asks for permission", place=name, hint=hint) from error
    if isinstance(error, errors.RepositoryNotFoundError | FileNotFoundError | errors.EntryNotFoundError):
        hint = "check its name; for a private one set HF_TOKEN in `.env` or the environment"
        raise DataError("there is no such data set on the Hub", place=name, hint=hint) from error
    if isinstance(error, errors.RevisionNotFoundError):
        raise DataError("the data set has no such revision", place=name, hint="leave `@REVISION` out") from error
    hint = "check the network (and HF_HUB_OFFLINE, HF_ENDPOINT), or name files that you have here"
    if isinstance(error, errors.OfflineModeIsEnabled):
        raise DataError("the Hub is switched off by HF_HUB_OFFLINE", place=name, hint=hint) from error
    first = (str(error).splitlines() or [kind])[0]
    raise DataError(f"the Hub cannot be reached: {kind}: {first}", place=name, hint=hint) from error
