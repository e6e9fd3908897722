"""Whether answers cite the passages that they were given, and whether these say what they are cited for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from lorry.evaluate.metrics._base import About, Answer, Metric, Ratio, Score
from lorry.evaluate.metrics._grounded import Claim, claims, passages_of, supported_by
from lorry.evaluate.metrics._refusals import REFUSALS, checked, refuses


class CitationCoverage(Metric):
    """Share of answers' sentences that cite a passage which exists, over all sentences together.

    Citations look like `[1]`, `[P3]` or `[1, 2]`, or name a passage as its row does: `[doc_1]`, `[Passage 1]`; a passage with
    a name may be cited by its number too. Headings are no sentences. Passages come from the row's column, else from the
    prompt, where they stand behind such a mark at the beginning of lines. A citation supports its sentence where the passages
    that it cites hold at least the share `support` of its words (without those such as `the`) and every number in it. Left out
    are rows without passages, and answers that refuse, which have nothing to cite.
    """

    unit: ClassVar[str] = "share of sentences"
    parts: ClassVar[Mapping[str, About]] = {
        "existing": About(unit="share of citations that exist"),
        "supporting": About(unit="share of citations that support"),
    }
    column: str = "passages"
    """The row's column with its passages: texts, or objects with `text` and at times `id` and `title`."""
    support: float = Field(default=0.5, gt=0, le=1)
    """Share of a sentence's words that the passages which it cites must hold."""
    refusals: Annotated[list[str], AfterValidator(checked)] | None = None
    """Regular expressions by which an answer that refuses is recognised; null for those of `refusal_correct`, and an empty
    list to leave none out."""

    def score(self, answer: Answer) -> Score:
        """Sentences that cite a passage which exists, by all sentences; None where there is nothing to cite."""
        passages, said = self._read(answer)
        if not passages:
            return None
        cited = sum(any(name in passages for name in claim.cited) for claim in said)
        return Ratio(cited, max(len(said), 1))  # an empty answer cites nothing

    def score_parts(self, answer: Answer) -> Mapping[str, Score]:
        """Citations that exist, and those that support, by all citations."""
        passages, said = self._read(answer)
        made = [(claim, name) for claim in said for name in claim.cited]
        if not passages or not made:
            return {}
        existing = sum(name in passages for _, name in made)
        judged = [self._supporting(claim, passages) for claim in said if claim.cited]
        known = [one for one in judged if one is not None]
        found: dict[str, Score] = {"existing": Ratio(existing, len(made))}
        if known:
            found["supporting"] = Ratio(sum(one.above for one in known), sum(one.below for one in known))
        return found

    def _read(self, answer: Answer) -> tuple[dict[str, str], list[Claim]]:
        """The passages and the sentences; none where the answer refuses."""
        if refuses(answer.prediction, REFUSALS if self.refusals is None else self.refusals):
            return {}, []
        passages = passages_of(answer, self.column)
        return passages, claims(answer.prediction, passages)

    def _supporting(self, claim: Claim, passages: Mapping[str, str]) -> Ratio | None:
        """Of the citations of one sentence, those that support it. One that does not exist supports nothing."""
        texts = [passages[name] for name in claim.cited if name in passages]
        said = supported_by(claim, texts, self.support)
        return None if said is None else Ratio(sum(said), len(claim.cited))
