"""Character error rate: how many characters of the right text were missed, changed or added."""

from __future__ import annotations

from typing import ClassVar

from lorry.evaluate.metrics._base import Answer, Score
from lorry.evaluate.metrics._edits import EditRate


class CharacterErrorRate(EditRate):
    """Character error rate: substitutions, deletions and insertions by the characters of the row's answer.

    0 is a perfect answer, and there is no highest: an answer may add more than there is. Before texts are compared they are
    brought to Unicode's NFC and runs of whitespace to one blank, none at the ends; case and punctuation count.
    """

    unit: ClassVar[str] = "edits by character"
    collapse_whitespace: bool = True
    """Any run of whitespace, line ends among it, is one blank, and none stands at the ends."""

    def score(self, answer: Answer) -> Score:
        """Edits by characters; None for a row that does not say what is right."""
        if not self.applies(answer):
            return None
        import jiwer

        truth, said = (self.normal(text) for text in (answer.truth, answer.prediction))
        if self.collapse_whitespace:
            truth, said = " ".join(truth.split()), " ".join(said.split())
        # Its own transformation would take whitespace from the ends once more.
        as_it_is = jiwer.Compose([jiwer.ReduceToListOfListOfChars()])
        found = jiwer.process_characters([truth], [said], as_it_is, as_it_is)
        return self.summed(found.substitutions + found.deletions + found.insertions, len(truth))
