"""What both error rates have in common: how texts are made alike before they are compared, and how rows are summed up."""

from __future__ import annotations

import unicodedata
from importlib.util import find_spec
from typing import ClassVar, Literal

from lorry.evaluate.metrics._base import Answer, Metric, Ratio, Score


class EditRate(Metric):
    """Edits by the length of what is right. jiwer counts them: the fewest substitutions, deletions and insertions."""

    higher_is_better: ClassVar[bool | None] = False
    highest: ClassVar[float | None] = None
    needs_truth: ClassVar[bool] = True

    unicode: Literal["NFC", "NFKC", "none"] = "NFC"
    """How characters that Unicode writes in several ways are made one: an accent with its letter (`NFC`), ligatures, wide and
    raised forms too (`NFKC`)."""
    ignore_case: bool = False
    """Upper and lower case are the same."""
    ignore_punctuation: bool = False
    """Punctuation is taken out of both (Unicode's categories P)."""
    average: Literal["corpus", "rows"] = "corpus"
    """`corpus`: all edits by all that was to be written, as error rates are reported; `rows`: the mean of the rows' rates, in
    which a short row weighs as much as a long one."""

    def unavailable(self) -> str | None:
        """Says so where jiwer is not installed."""
        return None if find_spec("jiwer") else "`jiwer` is not installed: `pip install jiwer`"

    def summed(self, edits: int, length: int) -> Score:
        """An answer's part, as `average` has it."""
        found = Ratio(edits, length)
        return found if self.average == "corpus" else found.value

    def applies(self, answer: Answer) -> bool:
        """Whether the row says what is right, and edits can be counted."""
        return bool(answer.truth) and self.unavailable() is None

    def normal(self, text: str) -> str:
        """A text as it is compared."""
        text = text if self.unicode == "none" else unicodedata.normalize(self.unicode, text)
        text = text.casefold() if self.ignore_case else text
        if self.ignore_punctuation:
            text = "".join(one for one in text if not unicodedata.category(one).startswith("P"))
        return text
