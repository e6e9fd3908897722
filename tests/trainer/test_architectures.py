"""Each architecture that may share beginnings gives the loss and gradients of the plain computation."""

from __future__ import annotations

import pytest

from lorry.trainer.architectures import head_of, makes_the_same_logits
from lorry.trainer.proven import PROVEN
from tiny_models import compare, rows, tiny_model, with_recipe_lora

RELATIVE = 1e-5


@pytest.mark.parametrize("kind", sorted(PROVEN))
def test_shared_beginnings_give_the_plain_loss_and_gradients(kind):
    loss, gradients = compare(kind, lambda way: with_recipe_lora(tiny_model(kind, way)), rows())
    assert loss < RELATIVE
    assert gradients < RELATIVE


OWN_LOGITS = {
    "falcon_h1": {
        "lm_head_multiplier": 0.3,
        "mamba_d_ssm": 32,
        "mamba_n_heads": 4,
        "mamba_d_head": 8,
        "mamba_n_groups": 1,
        "mamba_d_state": 8,
    },
    "gemma2": {"final_logit_softcapping": 3.0},
    "granitemoe": {"logits_scaling": 3.0},
    "hyperclovax": {"logits_scaling": 0.5},
    "recurrent_gemma": {"logits_soft_cap": 2.0, "lru_width": 32, "attention_window_size": 16},
}


@pytest.mark.filterwarnings("ignore")  # slow reference kernels warn of themselves
@pytest.mark.parametrize("kind", sorted(OWN_LOGITS))
def test_families_that_change_their_logits_are_followed(kind):
    model = tiny_model(kind, "eager", **OWN_LOGITS[kind]).eval()
    assert makes_the_same_logits(model, head_of(model))


def test_head_that_makes_other_logits_is_noticed():
    model = tiny_model().eval()
    assert not makes_the_same_logits(model, lambda hidden: 1.1 * head_of(model)(hidden))
