"""The report of a run, whatever became of it: Markdown, one HTML page, a summary for programs, the adapter's card."""

from __future__ import annotations

import math
from typing import Any, cast

from lorry.report.markdown import markdown
from lorry.report.model_card import model_card
from lorry.report.page import page
from lorry.report.sources import Sources, read
from lorry.report.summary import summarise
from lorry.track.folder import RunFolder, write_json, write_text


def write(folder: RunFolder, *, status: str | None = None) -> dict[str, Any]:
    """Writes `report.md`, `report.html`, `summary.json` and, where there is an adapter, its `README.md`.

    Reads only files and imports no torch; what is missing is left out. Writing again replaces. Returns the summary.
    `status` is what the store found out beyond the events: that the run's process is gone.
    """
    sources, summary = gather(folder, status=status)
    write_json(folder.summary, summary)
    write_text(folder.report, markdown(sources, summary))
    write_text(folder.report_html, page(sources, summary))
    if sources.adapter_bytes is not None:
        write_text(folder.adapter / "README.md", model_card(sources, summary))
    return summary


def gather(folder: RunFolder, *, status: str | None = None) -> tuple[Sources, dict[str, Any]]:
    """What the folder holds, and its summary with null for numbers that are not finite; nothing is written."""
    sources = read(folder)
    if status is not None:
        sources.now.status = status
    return sources, cast("dict[str, Any]", _without_nan(summarise(sources)))


def _without_nan(value: Any) -> Any:
    """JSON has no word for numbers that are not finite; null is read by every parser."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in cast("list[Any]", value)]
    return value
