"""How a comparison of providers looks on the command line."""

from __future__ import annotations

from lorry.cli import output
from lorry.plan.compare import SideBySide
from lorry.plan.compare_words import bought, by_hand, cells, titles


def show(found: SideBySide) -> None:
    """Prints a row a provider, what each leaves to the person, and after how many hours buying has paid."""
    columns = [output.Column(title, right=is_figure) for title, is_figure in titles(found.by)]
    output.table(columns, [cells(one, found.by) for one in found.rows], fold=False)
    output.data("")
    for provider, text in by_hand(found).items():
        output.pieces([("By hand   ", "dim"), (f"{provider}: {text}", "")])
    if found.buying:
        output.pieces([("Buying    ", "dim"), (bought(found.buying, found.by), "")])
