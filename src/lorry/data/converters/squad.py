"""Grounded questions to messages: numbered passages, the question, and an answer that cites, or says that it is not there.

    {"question": "What is quartz?", "context": "Quartz is a hard mineral.", "answers": [{"text": "a hard mineral"}]}

Reads SQuAD's files (1.1 and 2.0), its flat rows (`context`, `question`, `answers`), and rows that bring their `passages` along,
with the ids of those that hold the answer in `citations`. An answer without citations gets them, sentence by sentence, from the
passages that hold its words. Questions with no answer (`is_impossible`, `answerable: false`, none given) get the refusal.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Literal

from pydantic import Field

from lorry.data.bad_rows import BadRowError
from lorry.data.converters._base import Converter, Made, Source, digest
from lorry.data.converting.room import Room
from lorry.data.converting.shelf import Shelf
from lorry.data.grounded.citing import cited, with_citations
from lorry.data.grounded.pool import Pool
from lorry.data.grounded.question import Passage, Question, is_question, questions
from lorry.data.readers.blob import RawRow
from lorry.data.sentences import sentences


class Squad(Converter):
    """Grounded questions to numbered passages and answers that cite them, or refuse."""

    foreign: int = Field(default=2, ge=0, le=20)
    """Passages of other articles that are put beside a question's own, where it brings only that one."""
    answers: Literal["short", "sentence"] = "short"
    """The answer alone, or the sentence that it stands in."""
    form: Literal["text", "json"] = "text"
    """`Japan [1].`, or `{"answer": "Japan", "citations": [1]}`."""
    refusal: str = Field(default="The passages do not say.", min_length=1)
    """The answer to what the passages do not hold."""
    support: float = Field(default=0.6, gt=0, le=1)
    """Share of a sentence's words, common ones aside, that a passage must hold to be cited for it, where nobody says which
    does. A row in which no sentence is supported is left out."""
    system: str | None = None
    """The system prompt; null for one that asks for all this, empty for none."""

    def matches(self, raw: dict[str, Any]) -> bool:
        """An article with paragraphs, or a question with its context or passages."""
        return is_question(raw)

    def convert(self, rows: Iterator[RawRow], room: Room) -> Iterator[Made]:
        """Reads all questions, then asks each with its passages."""
        pool = Pool(room)
        with Shelf(room.folder / "questions") as shelf:
            for raw, origin in rows:
                try:
                    for question in questions(raw, partial(room.bad.add, origin)):
                        shelf.append(_held(question))
                        if not question.is_whole:
                            pool.add(question.passages[0], room.side(_group(question)))
                except BadRowError as error:
                    room.bad.add(origin, error)
            for index in range(len(shelf)):
                yield from self._made(_question(shelf[index]), pool, room)

    def _made(self, question: Question, pool: Pool, room: Room) -> Iterator[Made]:
        passages = list(question.passages)
        if not question.is_whole:
            passages += pool.foreign(question, self.foreign, room.side(_group(question)))
            passages.sort(key=lambda one: room.draw("order", question.key, one.text))
        told, numbers = self._answer(question, passages)
        if not told:
            room.left_out["no passage supports the answer"] += 1
            return
        said = (_SYSTEM if self.form == "text" else _SYSTEM_JSON).format(refusal=self.refusal)
        said = said if self.system is None else self.system
        shown = [_shown(number, one) for number, one in enumerate(passages, 1)]
        messages = [
            *([{"role": "system", "content": said}] if said else []),
            {"role": "user", "content": "\n".join([*shown, "", f"Question: {question.asked}"])},
            {"role": "assistant", "content": told},
        ]
        row = {"id": question.key, "answerable": bool(question.answer), "citations": numbers, "messages": messages}
        source = Source(question.key, question.state)
        group = _group(question)
        about = " ".join(_own(question).split())
        yield Made(row, question.asked, told, (source,), group, apart=group, about=about)

    def _answer(self, question: Question, passages: Sequence[Passage]) -> tuple[str, list[int]]:
        """What is answered, and the numbers of the passages that are cited; empty where nothing supports it."""
        if not question.answer:
            return self._put(self.refusal, self.refusal, []), []
        names = set(question.cited) if question.is_whole else {question.passages[0].id}
        holding = [n for n, one in enumerate(passages, 1) if one in question.passages and one.id in names]
        if question.is_whole and not holding:
            holding = [n for n, one in enumerate(passages, 1) if question.answer in one.text][:1]
        text = question.answer if self.answers == "short" else _sentence(question, passages)
        if holding:
            return self._put(text, cited(text, holding), holding), holding
        told = with_citations(text, passages, self.support)
        numbers = sorted({n for n in range(1, len(passages) + 1) if f"[{n}]" in told})
        return self._put(text, told, numbers) if told else "", numbers

    def _put(self, plain: str, told: str, numbers: list[int]) -> str:
        if self.form == "text":
            return told
        return json.dumps({"answer": plain, "citations": numbers}, ensure_ascii=False)


_SYSTEM = (
    "Answer the question from the numbered passages alone. Behind each sentence, cite the passages that it comes from, like "
    "[1]. If they do not hold the answer, reply: {refusal}"
)
_SYSTEM_JSON = (
    "Answer the question from the numbered passages alone. Reply with JSON: the answer, and the numbers of the passages it "
    'comes from, like {{"answer": "...", "citations": [1]}}. If they do not hold the answer, it is: {refusal}'
)


def _shown(number: int, passage: Passage) -> str:
    """A passage in one line, so that none can pose as another by what its own lines begin with."""
    text = " ".join(passage.text.splitlines())
    return f"[{number}] {passage.title}: {text}" if passage.title else f"[{number}] {text}"


def _sentence(question: Question, passages: Sequence[Passage]) -> str:
    """The sentence that the answer stands in."""
    if question.sentence:
        return question.sentence
    own = [one for one in passages if one in question.passages]
    return next((s for one in own for s in sentences(one.text) if question.answer in s), question.answer)


def _group(question: Question) -> str:
    """Questions about one text stand on one side of a split."""
    return digest(*sorted(one.text for one in question.passages)) if not question.is_whole else digest(_own(question))


def _own(question: Question) -> str:
    """The text that a question with all its passages is about: the one that is cited, else the first."""
    return next((one.text for one in question.passages if one.id in question.cited), question.passages[0].text)


def _held(question: Question) -> list[Any]:
    passages = [[one.text, one.title, one.id] for one in question.passages]
    more = [list(question.cited), question.sentence]
    return [question.key, question.asked, passages, question.is_whole, question.answer, *more]


def _question(held: list[Any]) -> Question:
    key, asked, passages, is_whole, answer, names, sentence = held
    return Question(key, asked, tuple(Passage(*one) for one in passages), is_whole, answer, tuple(names), sentence)
