"""A question about passages, from SQuAD's files, from its flat rows, and from rows that bring their passages along."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from lorry.data.bad_rows import BadRowError
from lorry.data.converters._base import digest
from lorry.data.turns import listed, text_of

BadSink = Callable[[BadRowError], None]
"""Takes what is wrong with a part of a row."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A text that may hold an answer."""

    text: str
    title: str = ""
    id: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, of which passages, and what is right."""

    key: str
    asked: str
    passages: tuple[Passage, ...]
    """The one that it was written for; several where the row brings them all."""
    is_whole: bool
    """Whether these are all passages that it is to be asked with."""
    answer: str
    """Empty where the passages do not hold it."""
    cited: tuple[str, ...] = ()
    """Ids of the passages that hold it, where the row says so."""
    sentence: str = ""
    """The sentence that it stands in, where the row says so."""

    @property
    def state(self) -> str:
        """A hash of all of it."""
        return digest(self.asked, self.answer, *self.cited, self.sentence, *(one.text for one in self.passages))


def is_question(raw: Mapping[str, Any]) -> bool:
    """Whether a row is an article of SQuAD's, or a question with its context or passages."""
    return "paragraphs" in raw or ("question" in raw and ("context" in raw or "passages" in raw))


def questions(raw: Mapping[str, Any], bad: BadSink) -> Iterator[Question]:
    """The questions of a row; an article has many, and the bad ones among them go to `bad` one by one.

    Raises BadRowError for a row that has none.
    """
    if "paragraphs" in raw:
        yield from _of_article(raw, bad)
    elif "passages" in raw:
        yield _with_passages(raw)
    else:
        passage = Passage(_filled(raw, "context"), _title(raw.get("title")))
        yield _about(raw, passage, "")


def _of_article(raw: Mapping[str, Any], bad: BadSink) -> Iterator[Question]:
    title = _title(raw.get("title"))
    for number, paragraph in enumerate(_objects(raw.get("paragraphs"), "paragraphs")):
        place = f"paragraphs[{number}]"
        try:
            passage = Passage(_filled(paragraph, "context", place), title)
            asked = _objects(paragraph.get("qas"), f"{place}.qas")
        except BadRowError as error:
            bad(error)
            continue
        for index, one in enumerate(asked):
            try:
                yield _about(one, passage, f"{place}.qas[{index}]")
            except BadRowError as error:
                bad(error)


def _about(raw: Mapping[str, Any], passage: Passage, place: str) -> Question:
    asked = _filled(raw, "question", place)
    answer = "" if raw.get("is_impossible") is True else _commonest(raw.get("answers"), place)
    if answer and answer not in passage.text:
        hint = "correct it, or leave the question out: an answer must be in its context, word for word"
        raise BadRowError(f"`{answer[:40]}` is not in the context", field=_field("answers", place), hint=hint)
    return Question(_key(raw, asked, passage.text), asked, (passage,), is_whole=False, answer=answer)


def _with_passages(raw: Mapping[str, Any]) -> Question:
    found = [_passage(one, f"passages[{n}]", n) for n, one in enumerate(listed(raw.get("passages"), "passages"))]
    asked = _filled(raw, "question")
    if not found:
        raise BadRowError("holds no passage", field="passages", hint="give what the answer is to be found in")
    given = next((raw[name] for name in ("answers", "answer", "gold") if raw.get(name) not in (None, [], "")), None)
    answer = "" if raw.get("answerable") is False or raw.get("is_impossible") is True else _commonest(given, "")
    cited = tuple(str(one) for one in listed(raw["citations"], "citations")) if raw.get("citations") else ()
    unknown = [one for one in cited if one not in {passage.id for passage in found}]
    if unknown:
        raise BadRowError(
            f"there is no passage `{unknown[0][:40]}`", field="citations", hint="name passages by their id"
        )
    sentence = raw.get("supporting_sentence")
    key = _key(raw, asked, *(one.text for one in found))
    told = sentence if isinstance(sentence, str) else ""
    return Question(key, asked, tuple(found), is_whole=True, answer=answer, cited=cited, sentence=told)


def _passage(raw: Any, field: str, number: int) -> Passage:
    """A passage as a text, as an object, or as a list: the title, then sentences."""
    if isinstance(raw, str):
        return Passage(text_of(raw, field), id=str(number + 1))
    if isinstance(raw, Mapping):
        held = cast("Mapping[str, Any]", raw)
        text = next((held[name] for name in ("text", "content", "context") if held.get(name)), None)
        return Passage(text_of(text, f"{field}.text"), _title(held.get("title")), str(held.get("id", number + 1)))
    parts = [text_of(one, field) for one in listed(raw, field)]
    if len(parts) < 2:
        raise BadRowError("has no text", field=field, hint='passages look like {"title": ..., "text": ...}')
    return Passage(" ".join(parts[1:]), parts[0], str(number + 1))


def _commonest(answers: Any, place: str) -> str:
    """The answer that most people gave, of equally common ones the first; empty for none."""
    if isinstance(answers, Mapping):
        answers = cast("Mapping[str, Any]", answers).get("text")
    if answers is None or isinstance(answers, str):
        return " ".join((answers or "").split())
    texts: list[str] = []
    for one in listed(answers, _field("answers", place)):
        text = cast("Mapping[str, Any]", one).get("text") if isinstance(one, Mapping) else one
        texts.append(text_of(text, _field("answers", place)).strip())
    counts = Counter(text for text in texts if text)
    return max(counts, key=lambda text: counts[text], default="")


def _filled(raw: Mapping[str, Any], name: str, place: str = "") -> str:
    text = text_of(raw.get(name), _field(name, place)).strip()
    if not text:
        raise BadRowError("is empty", field=_field(name, place), hint="write it, or leave the question out")
    return text


def _objects(value: Any, field: str) -> Sequence[Mapping[str, Any]]:
    found = listed(value, field)
    if not all(isinstance(one, Mapping) for one in found):
        raise BadRowError("holds what is no object", field=field, hint="lay it out as SQuAD does")
    return cast("Sequence[Mapping[str, Any]]", found)


def _key(raw: Mapping[str, Any], *parts: str) -> str:
    own = raw.get("id")
    return str(own) if isinstance(own, str | int) and own != "" else digest(*parts)


def _field(name: str, place: str) -> str:
    return f"{place}.{name}" if place else name


def _title(value: Any) -> str:
    return " ".join(value.replace("_", " ").split()) if isinstance(value, str) else ""
