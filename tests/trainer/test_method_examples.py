from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from chat_tokenizers import chat_folder, turns
from lorry.data.render import Renderer
from lorry.data.rows import Origin, Row
from lorry.data.tokenizer import Tokenizer
from lorry.errors import DataError, InputError
from lorry.plugins import make, names
from lorry.trainer.methods._base import Method

HERE = Origin("rows.jsonl", 1)
ROLLING_OUT = ("grpo", "ppo", "rlhf")
"""Methods that have to be told what answers are judged by."""


@pytest.fixture
def renderer(tmp_path: Path) -> Renderer:
    return Renderer(Tokenizer.open(chat_folder(tmp_path / "model", "gemma")), 64)


def rows_for(chosen: Method) -> list[Row]:
    """Five rows of the kind that a method learns from."""
    asked = [turns("find", f"fox {index}") for index in range(5)]
    others = [turns("find", f"dog {index}") for index in range(5)]
    kinds = {
        "messages": [Row(HERE, messages=one) for one in asked],
        "text": [Row(HERE, text="fox " * index * 30 + "end") for index in range(5)],
        "preference": [
            Row(HERE, messages=one, rejected=other, asked=len(one) - 1)
            for one, other in zip(asked, others, strict=True)
        ],
        "labelled": [Row(HERE, messages=one, label=True, asked=len(one) - 1) for one in asked],
    }
    return next(rows for kind, rows in kinds.items() if kind in chosen.accepts)


def method(spec: object) -> Method:
    own = {"rewards": ["exact_match"], "max_new_tokens": 8} if spec in ROLLING_OUT else {}
    return make("methods", {"name": spec, **own} if own else spec)  # type: ignore[arg-type,return-value]


def test_sft_trains_answers_or_everything(renderer: Renderer):
    row = Row(HERE, messages=turns("find", "the fox"))
    (answers,), (everything,) = (
        list(method({"name": "sft", "train_on": part}).examples(row, renderer)) for part in ("assistant", "all")
    )
    assert answers.ids.tolist() == everything.ids.tolist()
    assert 0 < answers.trained.sum() < everything.trained.sum() == len(everything.ids) - 1


def test_cpt_trains_every_token_of_a_document_but_the_first(renderer: Renderer):
    (piece,) = method("cpt").examples(Row(HERE, text="the fox"), renderer)
    assert piece.trained.tolist() == [False, *[True] * (len(piece.ids) - 1)]
    assert piece.ids[-1] == renderer.tokenizer.eos_id


@pytest.mark.parametrize("name", names("methods"))
def test_many_rows_at_once_are_what_each_is_alone(renderer: Renderer, name: str):
    chosen = method(name)
    together = list(chosen.examples_of(rows_for(chosen), renderer))
    alone = [chosen.examples(row, renderer) for row in rows_for(chosen)]
    if name == "kto":  # what an answer is held against comes from the other rows
        together = [many[:1] for many in together]  # type: ignore[index]
    for many, one in zip(together, alone, strict=True):
        assert [example.ids.tolist() for example in many] == [example.ids.tolist() for example in one]  # type: ignore[union-attr]
        assert [example.trained.tolist() for example in many] == [example.trained.tolist() for example in one]  # type: ignore[union-attr]


def test_refused_row_is_an_error_in_its_place(renderer: Renderer):
    chosen = method("sft")
    rows = [Row(HERE, messages=turns("a", "b", system=system)) for system in (None, "no", None)]
    results = chosen.examples_of(rows, renderer)
    assert [isinstance(result, DataError) for result in results] == [False, True, False]
    with pytest.raises(DataError):
        chosen.examples(rows[1], renderer)


def test_unknown_setting_of_a_method_is_refused():
    with pytest.raises(InputError, match="train_on"):
        method({"name": "sft", "train_on": "nothing"})


def test_methods_and_rewards_are_known_without_torch():
    found = "[find(kind, name) for kind in ('methods', 'rewards') for name in names(kind)]"
    code = f"import sys; from lorry.plugins import find, names; {found}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
