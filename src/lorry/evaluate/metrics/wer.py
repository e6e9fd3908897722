"""Word error rate: how many words of the right text were missed, changed or added."""

from __future__ import annotations

from typing import ClassVar

from lorry.evaluate.metrics._base import Answer, Score
from lorry.evaluate.metrics._edits import EditRate


class WordErrorRate(EditRate):
    """Word error rate: substitutions, deletions and insertions of words by the words of the row's answer.

    0 is a perfect answer, and there is no highest: an answer may add more than there is. Words are what stands between
    whitespace, in Unicode's NFC; case and punctuation count.
    """

    unit: ClassVar[str] = "edits by word"

    def score(self, answer: Answer) -> Score:
        """Edits by words; None for a row that does not say what is right."""
        if not self.applies(answer):
            return None
        import jiwer

        # Whatever separates words for Python separates them for jiwer, which knows the blank alone.
        truth, said = (self.normal(text).split() for text in (answer.truth, answer.prediction))
        found = jiwer.process_words([" ".join(truth)], [" ".join(said)])
        return self.summed(found.substitutions + found.deletions + found.insertions, len(truth))
