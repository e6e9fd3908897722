"""What is light stays light: no command that runs no model imports torch, transformers or datasets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lorry.cli.main import HELPS

_HEAVY = ("torch", "transformers", "datasets", "peft", "accelerate", "bitsandbytes")
_COMMANDS = Path(__file__).parents[1] / "src" / "lorry" / "cli" / "commands"


def heavy_modules_after(statement: str) -> list[str]:
    code = f"import sys\n{statement}\nprint([name for name in {_HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return eval(done.stdout.splitlines()[-1])  # noqa: S307 - our own list


def test_importing_lorry_imports_nothing_heavy():
    assert heavy_modules_after("import lorry, lorry.plugins, lorry.recipe.schema, lorry.track.store") == []


def test_importing_every_command_imports_nothing_heavy():
    names = sorted(file.stem for file in _COMMANDS.glob("*.py") if file.stem != "__init__")
    imports = "\n".join(f"import lorry.cli.commands.{name}" for name in names)
    assert names
    assert heavy_modules_after(imports) == []


def test_writing_a_report_imports_nothing_heavy(tmp_path: Path):
    import run_folders

    run = run_folders.finished(tmp_path / "run")
    statement = (
        "from pathlib import Path\nfrom lorry.report.write import write\nfrom lorry.track.folder import RunFolder\n"
        f"write(RunFolder(Path({str(run.path)!r})))"
    )
    assert heavy_modules_after(statement) == []


def test_help_imports_no_command_and_nothing_that_is_not_needed():
    code = (
        "import sys\nfrom lorry.cli.main import run\nassert run(['--help']) == 0\n"
        "print([name for name in ('sqlalchemy', 'rich', 'pydantic', 'lorry.cli.commands') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("name", sorted(HELPS))
def test_every_command_in_the_table_has_a_module(name: str):
    assert (_COMMANDS / f"{name}.py").is_file()
