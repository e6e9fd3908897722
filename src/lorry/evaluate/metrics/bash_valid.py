"""Bash's own parser says whether an answer is bash; nothing is run."""

from __future__ import annotations

import os
import shutil
import subprocess

from pydantic import Field

from lorry.evaluate.metrics._base import Answer, Metric


class BashValid(Metric):
    """Share of answers that `bash -n` parses; an empty answer is none."""

    timeout: float = Field(default=5.0, gt=0)
    """Seconds that bash may take for one answer; longer counts as not valid."""

    def score(self, answer: Answer) -> float | None:
        """1 when bash parses the answer, else 0; None where there is no bash.

        bash drops NUL bytes with no more than a warning, so an answer that holds one is not valid.
        """
        bash = shutil.which("bash")
        if bash is None:
            return None
        if not answer.prediction.strip() or "\0" in answer.prediction:
            return 0.0
        script = answer.prediction.encode("utf-8", "surrogatepass")
        command = [bash, "--norc", "--noprofile", "-n"]
        try:
            ended = subprocess.run(
                command, input=script, capture_output=True, timeout=self.timeout, env=_bare(), check=False
            )
        except subprocess.TimeoutExpired:
            return 0.0
        return float(ended.returncode == 0)

    def unavailable(self) -> str | None:
        """Says so where there is no bash."""
        return None if shutil.which("bash") else "`bash` is not on the PATH; on Windows run lorry in WSL2"


def _bare() -> dict[str, str]:
    """An environment without BASH_ENV, so that nothing but the parser sees the text."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}
