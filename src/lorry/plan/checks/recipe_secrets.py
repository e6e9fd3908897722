"""Keys and tokens in the recipe itself: a run keeps a copy of it, and reads it back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation, Finding, error
from lorry.secrets.masking import mask, mask_values

if TYPE_CHECKING:
    from lorry.plan.subject import Subject


class RecipeSecretsCheck(Check):
    """Settings that hold a secret; none is copied into a run's folder, so the run would read `***` in their place."""

    explains: ClassVar[Mapping[str, Explanation]] = {
        "recipe.secret": Explanation(
            "A setting of the recipe holds what looks like a key, a token or a password.",
            "A run keeps a copy of its recipe, with secrets masked: the run would read `***` in its place.",
            "Put the secret into `.env` or the environment, under the name that the service documents.",
        ),
    }

    def run(self, subject: Subject) -> Iterable[Finding]:
        """Looks at every text of the recipe with the filter that masks what lorry writes."""
        recipe = subject.recipe.model_dump(mode="json")
        for (place, text), (_, masked) in zip(_texts(recipe, ""), _texts(mask_values(recipe), ""), strict=True):
            if masked != text:
                yield error(
                    "recipe.secret",
                    "this setting holds what looks like a key, a token or a password",
                    evidence=masked,
                    remedy="put it into `.env` or the environment (HF_TOKEN, WANDB_API_KEY, ...), or take another name",
                    place=mask(place),
                )


def _texts(value: Any, place: str) -> Iterator[tuple[str, str]]:
    """Every text below a value, with its dotted place."""
    if isinstance(value, str):
        yield place, value
    elif isinstance(value, dict):
        for key, item in cast("dict[Any, Any]", value).items():
            below = f"{place}.{key}" if place else str(key)
            yield below, str(key)
            yield from _texts(item, below)
    elif isinstance(value, list):
        for number, item in enumerate(cast("list[Any]", value)):
            yield from _texts(item, f"{place}[{number}]")
