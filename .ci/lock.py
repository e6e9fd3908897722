"""Writes lorry's release lock again, for machines that are rented: `make lock`, after a change of dependencies.

The versions are those of constraints.txt, which were tested together; what torch brings along on a machine with a GPU is
not in it and is resolved here. Three lists come out: `torch.txt` is what only torch needs, and is left out where the image
has a torch, `packages.txt` the rest, `uv.txt` what installs them.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from packaging.requirements import Requirement

TOP = Path(__file__).parents[1]
LOCK = TOP / "src/lorry/compute/machine/lock"
MACHINES = ("x86_64", "aarch64")
PYTHONS = ("3.11", "3.12", "3.13")
_HEAD = "# Written by `make lock` from constraints.txt, for Linux on x86_64 and aarch64 and Python 3.11 to 3.13.\n"


def resolved(*arguments: str) -> dict[str, Requirement]:
    """Everything that the extra `train` needs, by name, on any machine that is meant."""
    words = ["compile", "--universal", "--python-version", PYTHONS[0], "--extra", "train", "pyproject.toml"]
    words += ["--constraints", "constraints.txt", "--no-header", "--no-annotate", "--quiet", *arguments]
    done = subprocess.run(
        [sys.executable, "-m", "uv", "pip", *words], cwd=TOP, check=True, capture_output=True, text=True
    )
    lines = [Requirement(line) for line in done.stdout.splitlines()]
    return {line.name: line for line in lines if any(is_for(line, *pair) for pair in pairs())}


def pairs() -> list[tuple[str, str]]:
    """Each machine with each Python."""
    return [(machine, python) for machine in MACHINES for python in PYTHONS]


def is_for(line: Requirement, machine: str, python: str) -> bool:
    """Whether a machine with that Python needs it."""
    about = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": machine}
    about |= {"python_version": python, "python_full_version": f"{python}.5"}
    about |= {"implementation_name": "cpython", "platform_python_implementation": "CPython"}
    return line.marker is None or line.marker.evaluate(about)


def main() -> None:
    """Writes both lists."""
    everything = resolved()
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as without_torch:
        without_torch.write("torch; sys_platform == 'none'\n")
        without_torch.flush()
        rest = resolved("--overrides", without_torch.name)
    for name, lines in (
        ("packages", rest),
        ("torch", {key: everything[key] for key in everything.keys() - rest.keys()}),
    ):
        text = "".join(f"{lines[key]}\n" for key in sorted(lines))
        (LOCK / f"{name}.txt").write_text(_HEAD + text, encoding="utf-8")
    tested = (TOP / "constraints.txt").read_text(encoding="utf-8").splitlines()
    (LOCK / "uv.txt").write_text(next(f"{line}\n" for line in tested if line.startswith("uv==")), encoding="utf-8")


if __name__ == "__main__":
    main()
