"""What can be known of models that judge before they are loaded, from configurations and the headers of weight files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lorry.errors import LorryError
from lorry.recipe.schema import ModelSettings

if TYPE_CHECKING:
    from lorry.trainer.sources.tensors import Tensor

_PREFIX = "base_model.model."
"""What PEFT writes before the name of each module."""


def labels_of(config: Mapping[str, Any]) -> list[str]:
    """The labels of a classifier, by their number, as Transformers reads its configuration."""
    named = config.get("id2label")
    if isinstance(named, dict) and named:
        return [str(named[number]) for number in sorted(named, key=int)]
    count = config.get("num_labels")
    return [f"LABEL_{number}" for number in range(count if isinstance(count, int) else 2)]


@dataclass(frozen=True)
class Known:
    """What is known of a model without its weights."""

    config: dict[str, Any]
    tensors: Mapping[str, Tensor]
    fetched: int
    """Bytes that a machine fetches it with; 0 for a folder, which is there or travels along."""


def known(model: str, base: Path) -> Known | None:
    """A model's configuration, and names and shapes of its tensors: a folder or a Hub id; None where they cannot be had."""
    from lorry.plan.architecture.blueprint import blueprint
    from lorry.trainer.sources import hub
    from lorry.trainer.sources.locate import locate
    from lorry.trainer.sources.model_folder import read_config
    from lorry.trainer.sources.tensors import tensors

    try:
        source = locate(ModelSettings(id=model), base, weights=False)
        config, found = read_config(source.folder, source.id), tensors(source.folder)
        if found is None and source.kind == "hub":
            found = hub.tensors(source.id, source.revision)
        found = found or blueprint(config)
    except (LorryError, OSError, ValueError):
        return None
    if found is None:
        return None
    stored = sum(one.bytes for one in found.values())
    return Known(config, found, stored if source.kind == "hub" else 0)


def misfit(adapter: Mapping[str, Tensor], base: Mapping[str, Tensor]) -> str:
    """Where an adapter's matrices do not fit a base model, in words; empty where they do, or that cannot be told.

    Matrices of a base that comes quantised are packed, and have other shapes.
    """
    sides = {"lora_A": 1, "lora_B": 0}
    seen = False
    for name, tensor in adapter.items():
        module, _, rest = name.removeprefix(_PREFIX).rpartition(".lora_")
        side = f"lora_{rest.split('.')[0]}"
        under = base.get(f"{module}.weight")
        if side not in sides or len(tensor.shape) != 2 or under is None:
            continue
        seen = True
        width = tensor.shape[sides[side]]
        if len(under.shape) == 2 and under.dtype not in ("U8", "I8") and width not in under.shape:
            return f"{module} has {' x '.join(map(str, under.shape))} weights, and the adapter's are {width} wide"
    named = [name for name in adapter if ".lora_A." in name]
    return f"it has no {named[0].removeprefix(_PREFIX).rpartition('.lora_A.')[0]}" if named and not seen else ""
