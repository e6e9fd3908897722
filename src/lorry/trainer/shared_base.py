"""A reward model over the base weights of the model that is trained, which then lie in memory once.

The two are models of their own: modules, adapter, head, hooks and training mode are not shared, only frozen tensors are. So
nothing that is put onto the one is seen by the other, by its optimizer, its checkpoints or its hashes.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch

from lorry.evaluate.adapter_files import changes_base
from lorry.trainer.model import LoadedModel
from lorry.trainer.score_head import scoring_over

_OF_LAYERS = ("state", "quant_state")
"""What bitsandbytes keeps of a weight beside it: constants, and in 8 bits the weight itself."""
_TOGETHER = "the reward model shares the base weights of the model that is trained"
_APART = "the reward model has base weights of its own"


def over_base_of(other: LoadedModel, adapter: Path, folder: Path, *, has_own_code: bool) -> tuple[Any, str]:
    """A model with a head that scores over another's base weights, which were loaded from the folder, and what to tell of it.

    None where the base is not frozen or not as it was loaded, or the adapter that is to be put on would change it. Raises
    ModelError for an architecture that has no such head.
    """
    why = _hindrance(other, adapter)
    body = None if why else _body_of(other)
    if body is None:
        return None, f"{_APART}: {why or 'some weights of the base are trained'}"
    made = scoring_over(body, other.base, folder, has_own_code=has_own_code)
    return (made, _TOGETHER) if made is not None else (None, f"{_APART}: its layers are built otherwise")


def _hindrance(other: LoadedModel, adapter: Path) -> str:
    if not other.has_adapter:
        return "all weights of the model are trained"
    if any(changes_base(one.to_dict()) for one in other.model.peft_config.values()):
        return "the adapter that is trained changes its base"
    if changes_base(json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))):
        return "the reward model's adapter changes its base"
    return ""


def _body_of(other: LoadedModel) -> torch.nn.Module | None:
    """A model's layers without its adapter: new modules that hold the very same tensors; None where these are trained."""
    body: Any = other.forward.body
    shared: dict[int, Any] = {id(tensor): tensor for tensor in (*body.parameters(), *body.buffers())}
    for module in body.modules():
        shared |= {id(one): one for name in _OF_LAYERS if (one := vars(module).get(name)) is not None}
    found = _without_adapter(copy.deepcopy(body, shared))
    return None if any(tensor.requires_grad for tensor in found.parameters()) else found


def _without_adapter(body: torch.nn.Module) -> torch.nn.Module:
    """Puts back every layer that an adapter has wrapped."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    for parent in list(body.modules()):
        for name, child in list(parent.named_children()):
            plain: Any = child
            while isinstance(plain, BaseTunerLayer | AuxiliaryTrainingWrapper):
                plain = plain.get_base_layer() if isinstance(plain, BaseTunerLayer) else plain.original_module
            if plain is not child:
                setattr(parent, name, plain)
    return body
