"""The masks: which tokens are trained on, and whether the model learns to stop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from lorry.data.examples import Kind
from lorry.plan.checks._base import Check
from lorry.plan.findings import Explanation, Finding, error, note, warning
from lorry.plan.rows import spread

if TYPE_CHECKING:
    from lorry.data.examples import ExampleSet
    from lorry.data.tokenizer import Tokenizer
    from lorry.plan.subject import Subject

_MOST = 20_000
"""Rows that are looked at; of more, as many evenly spread over the set."""
_RARELY = 0.9
"""Share of whole rows that end in a trained end token, below which answers may not stop."""


class MasksCheck(Check):
    """Whether every row has tokens to learn from, and whole rows end with a trained end token."""

    of_rows_alone = True
    explains: ClassVar[Mapping[str, Explanation]] = {
        "masks.share": Explanation(
            "How many of the tokens are trained on.",
            "A share near 0 % or 100 % in a chat data set often means a wrong mask.",
            "Nothing; `lorry data show RECIPE` marks the trained tokens.",
        ),
        "masks.nothing-trained": Explanation(
            "Rows have no token that counts in the loss.",
            "They cost time and teach nothing; a whole batch of them has no loss.",
            "Give the rows an answer, raise `data.max_length`, or correct the chat template.",
        ),
        "masks.end-not-trained": Explanation(
            "Answers do not end with an end token that is trained on.",
            "A model that never learns to end its answer goes on until it is cut off.",
            "Use a chat template that ends answers with an end token; `data.chat_template: chatml` does.",
        ),
    }

    def run(self, subject: Subject) -> Iterable[Finding]:
        """Looks at the marks of the rendered rows."""
        prepared = subject.prepared
        tokenizer, most = subject.tokenizer, subject.recipe.data.max_length
        for name in ("train", "eval", "test"):
            examples: ExampleSet | None = getattr(prepared, name)
            if examples is not None and len(examples) and not (examples.kinds == Kind.PROMPT).all():
                yield from _of(name, examples, tokenizer, most)


def _of(name: str, examples: ExampleSet, tokenizer: Tokenizer, max_length: int) -> Iterable[Finding]:
    ends = np.asarray(sorted(tokenizer.end_ids), dtype=np.int32)
    trained = tokens = whole = stopping = 0
    empty: list[int] = []
    for index in spread(len(examples), _MOST):
        example = examples[index]
        marks = int(np.count_nonzero(example.trained))
        trained, tokens = trained + marks, tokens + len(example.ids)
        if not marks:
            empty.append(index)
        elif len(example.ids) < max_length:
            whole += 1
            stopping += _stops(example.ids[example.trained], ends, tokenizer)
    share = trained / max(tokens, 1)
    yield note("masks.share", f"{share:.0%} of the tokens of the {name} rows count in the loss")
    if empty:
        places = ", ".join(str(examples.origin(index)) for index in empty[:5])
        yield error(
            "masks.nothing-trained",
            f"{len(empty):,} {name} rows have no token that counts in the loss",
            evidence=places,
            remedy="give these rows an answer, or raise data.max_length",
            place=f"data.{name}",
        )
    yield from _ends(name, whole, stopping)


def _stops(ids: NDArray[np.int32], ends: NDArray[np.int32], tokenizer: Tokenizer) -> bool:
    """Whether the tokens that are trained on end with an end token.

    Where more than the answers is learnt, the blanks are too that a template writes behind it.
    """
    (found,) = np.nonzero(np.isin(ids, ends))
    if not len(found):
        return False
    behind = ids[int(found[-1]) + 1 :].tolist()
    return not behind or not tokenizer.decode(behind, skip_special_tokens=False).strip()


def _ends(name: str, whole: int, stopping: int) -> Iterable[Finding]:
    if not whole or stopping >= _RARELY * whole:
        return
    say = error if not stopping else warning
    yield say(
        "masks.end-not-trained",
        f"{whole - stopping:,} of {whole:,} whole {name} rows do not end with a trained end token",
        evidence="a model that never learns to end does not stop",
        remedy="use a chat template that ends answers with it; `lorry data show RECIPE` marks what is trained",
        place="data.chat_template",
    )
