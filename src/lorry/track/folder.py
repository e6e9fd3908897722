"""Where things lie: lorry's home, and the folder of one run."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import platformdirs

from lorry.secrets.masking import mask, mask_values

Answers = Literal["ask", "yes", "none"]
"""How questions about a run are answered: whoever watches is asked, has said yes to all before, or is not there."""


def home() -> Path:
    """`$LORRY_HOME`, or the platform's folder for user data."""
    return Path(os.environ.get("LORRY_HOME") or platformdirs.user_data_dir("lorry", appauthor=False)).expanduser()


def cache() -> Path:
    """Where converted models and rendered rows are kept; may be deleted at any time."""
    return home() / "cache"


@dataclass(frozen=True)
class RunFolder:
    """The files of one run, each named once."""

    path: Path

    @property
    def id(self) -> str:
        """The run's id is its folder's name."""
        return self.path.name

    @property
    def recipe(self) -> Path:
        """The recipe as it was given."""
        return self.path / "recipe.yaml"

    @property
    def resolved(self) -> Path:
        """The recipe with every default filled in: `{"recipe": {...}, "base": folder of its relative paths}`."""
        return self.path / "resolved.json"

    @property
    def needs(self) -> Path:
        """What the run asks of a machine; only where one is rented for it."""
        return self.path / "needs.json"

    @property
    def is_rented(self) -> bool:
        """Whether it trains on borrowed machines."""
        return self.needs.is_file()

    @property
    def plan(self) -> Path:
        """What was expected: findings, rows, tokens."""
        return self.path / "plan.json"

    @property
    def sent_plan(self) -> Path:
        """What was expected on the rented machine that the run was sent to last."""
        return self.path / "sent" / "plan.json"

    @property
    def plan_page(self) -> Path:
        """The same as one self-contained page."""
        return self.path / "plan.html"

    @property
    def provenance(self) -> Path:
        """What made this adapter."""
        return self.path / "provenance.json"

    @property
    def events(self) -> Path:
        """Every fact, numbered."""
        return self.path / "events.jsonl"

    @property
    def logs(self) -> Path:
        """Output of the processes that trained."""
        return self.path / "logs"

    @property
    def heartbeat(self) -> Path:
        """The agent's last sign of life: time, processes, attempt, step, phase."""
        return self.path / "heartbeat.json"

    @property
    def gpu(self) -> Path:
        """The GPU's health, a line a minute; there is none without a GPU."""
        return self.path / "gpu.csv"

    @property
    def track(self) -> Path:
        """One file for each tracker and each receiver of alerts: up to which event it was told."""
        return self.path / "track"

    @property
    def checkpoints(self) -> Path:
        """One folder a checkpoint: `step-000050`."""
        return self.path / "checkpoints"

    @property
    def adapter(self) -> Path:
        """The result."""
        return self.path / "adapter"

    @property
    def evaluation(self) -> Path:
        """`scores.json`, `samples.jsonl`, `high_loss.jsonl`."""
        return self.path / "eval"

    @property
    def report(self) -> Path:
        """The report as Markdown; `report.html` lies beside it."""
        return self.path / "report.md"

    @property
    def report_html(self) -> Path:
        """The report as one self-contained page."""
        return self.path / "report.html"

    @property
    def summary(self) -> Path:
        """What came out, for programs."""
        return self.path / "summary.json"


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file whole or not at all; secrets in it are masked."""
    write_exact(path, json.dumps(mask_values(value), indent=2, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes a text file whole or not at all; secrets in it are masked."""
    write_exact(path, mask(text))


def write_exact(path: Path, text: str) -> None:
    """Writes a text file of the person's own, as it is, whole or not at all: aside, flushed to disk, renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with aside.open("w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)
