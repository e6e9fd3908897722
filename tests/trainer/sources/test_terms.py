"""Under which terms a model of the Hub is given away."""

from __future__ import annotations

from typing import Any

import pytest
from huggingface_hub import ModelInfo

from lorry.trainer.sources import hub


def info(card: dict[str, Any] | None, **fields: Any) -> ModelInfo:
    return ModelInfo(id="owner/model", **({"cardData": card} if card else {}), **fields)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (info({"license": "apache-2.0"}), ["the model's licence: apache-2.0"]),
        (
            info({"license": "other", "license_name": "llama3.2"}, gated="manual"),
            ["the model's licence: llama3.2, for accounts that its owner lets in"],
        ),
        (info({"tags": ["x"]}), []),
        (info(None), []),
    ],
)
def test_licence_is_told_as_the_card_names_it(given: ModelInfo, told: list[str]):
    assert hub._terms(given) == told  # pyright: ignore[reportPrivateUsage]
