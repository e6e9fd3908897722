from __future__ import annotations

import pytest
import torch

from lorry.trainer.attention import has_grouped_kernel


@pytest.mark.parametrize("is_masked", [True, False])
def test_processors_compute_grouped_heads_as_they_are(is_masked):
    assert has_grouped_kernel(torch.device("cpu"), torch.float32, is_masked=is_masked)


def test_cuda_has_no_kernel_for_grouped_heads_with_a_mask_or_in_fp32():
    cuda = torch.device("cuda", 0)
    assert not has_grouped_kernel(cuda, torch.bfloat16, is_masked=True)
    assert not has_grouped_kernel(cuda, torch.float32, is_masked=False)


@pytest.mark.parametrize("window", [None, 9])
def test_repeated_heads_compute_what_grouped_ones_do(monkeypatch, window):
    from lorry.trainer import attention
    from lorry.trainer.forest import plant
    from tiny_models import forward_of, loss_and_gradients, rows, tiny_model, with_lora, worst_difference

    adapted = with_lora(tiny_model("mistral", attention.NAME, sliding_window=window))
    batches = [plant(rows())]
    loss, gradients = loss_and_gradients(adapted, forward_of(adapted), batches)
    monkeypatch.setattr(attention, "has_grouped_kernel", lambda *_, **__: False)
    repeated, others = loss_and_gradients(adapted, forward_of(adapted), batches)
    assert repeated == pytest.approx(loss, rel=1e-6)
    assert worst_difference(others, gradients) < 1e-5


@pytest.mark.gpu
def test_shared_beginning_is_computed_on_a_gpu_without_the_plain_path():
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from lorry.trainer import attention
    from lorry.trainer.forest import plant
    from tiny_models import rows

    device = torch.device("cuda", 0)
    forest = plant(rows())
    query, *path = (
        torch.randn(1, heads, forest.tokens, 64, dtype=torch.bfloat16, device=device) for heads in (8, 2, 2)
    )
    layout = attention.lay_out(forest, device)
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]):
        found, _ = attention.forest_attention(torch.nn.Module(), query, *path, None, forest_layout=layout)
    assert found.isfinite().all()
