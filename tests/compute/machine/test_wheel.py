"""lorry's own wheel: complete, the same each time, and installable."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

from packaging.utils import parse_wheel_filename

import lorry
from lorry.compute.machine import wheel

PACKAGE = Path(lorry.__file__).parent


def installed(tmp_path: Path) -> Path:
    """A folder that `uv` has installed the wheel into."""
    built = wheel.build(tmp_path / "dist")
    words = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "install",
        "--quiet",
        "--offline",
        "--no-deps",
        "--python",
        sys.executable,
    ]
    subprocess.run([*words, "--target", tmp_path / "site", built], check=True)
    return tmp_path / "site"


def run(code: str, site: Path, **more: str) -> str:
    variables = {**os.environ, "PYTHONPATH": str(site), **more}
    words = [sys.executable, "-c", code]
    return subprocess.run(words, env=variables, check=True, capture_output=True, text=True, cwd="/").stdout


def test_wheel_has_every_file_of_the_package_and_no_leavings(tmp_path):
    with zipfile.ZipFile(wheel.build(tmp_path)) as opened:
        names = set(opened.namelist())
        assert opened.testzip() is None
    tracked = subprocess.run(["git", "ls-files", "."], cwd=PACKAGE, capture_output=True, text=True, check=False).stdout
    assert {f"lorry/{name}" for name in tracked.splitlines()} <= names
    assert "lorry/compute/machine/on_machine/dead_man.sh" in names
    assert "lorry/py.typed" in names
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc") or "/." in name]


def test_wheel_is_the_same_each_time(tmp_path):
    first, second = wheel.build(tmp_path / "a"), wheel.build(tmp_path / "b")
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()


def test_version_tells_the_content(tmp_path):
    name, version, _, _ = parse_wheel_filename(wheel.build(tmp_path).name)
    assert name == "lorry"
    assert str(version).startswith("0.1.0+c")
    assert str(version) == wheel.version_of(wheel.build(tmp_path))


def test_wheel_can_be_installed_and_runs(tmp_path):
    site = installed(tmp_path)
    variables = {**os.environ, "PYTHONPATH": str(site)}
    words = [sys.executable, "-m", "lorry", "--version"]
    done = subprocess.run(words, env=variables, capture_output=True, text=True, check=True, cwd="/")
    assert wheel.version_of(wheel.build(tmp_path)) in done.stdout
    assert (site / "bin/lorry").exists()
    assert run("import lorry; print(lorry.__file__)", site).startswith(str(site))


def test_wheel_made_by_an_installed_wheel_is_the_same_one(tmp_path):
    site = installed(tmp_path)
    code = "import sys, pathlib; from lorry.compute.machine import wheel; print(wheel.build(pathlib.Path(sys.argv[1])))"
    words = [sys.executable, "-c", code, str(tmp_path / "again")]
    done = subprocess.run(
        words, env={**os.environ, "PYTHONPATH": str(site)}, capture_output=True, text=True, check=True
    )
    again = Path(done.stdout.strip())
    assert again.read_bytes() == wheel.build(tmp_path / "dist").read_bytes()


def test_changed_checkout_is_another_version(tmp_path):
    site = installed(tmp_path)
    (site / "lorry/units.py").write_text("# changed\n" + (site / "lorry/units.py").read_text())
    code = "import pathlib; from lorry.compute.machine import wheel; print(wheel.build(pathlib.Path('.')).name)"
    changed = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert changed.stdout.strip() != wheel.build(tmp_path / "dist").name


def test_metadata_asks_for_what_lorry_needs(tmp_path):
    built = wheel.build(tmp_path)
    with zipfile.ZipFile(built) as opened:
        (name,) = [name for name in opened.namelist() if name.endswith("/METADATA")]
        about = Parser().parsestr(opened.read(name).decode())
        record = opened.read(name.replace("METADATA", "RECORD")).decode()
        assert {line.split(",")[0] for line in record.splitlines()} == set(opened.namelist())
    assert about["Version"] == wheel.version_of(built)
    assert "torch>=2.8; extra == 'train'" in about.get_all("Requires-Dist")


def test_lorry_that_was_never_installed_says_so(tmp_path):
    (tmp_path / "lorry").symlink_to(PACKAGE)
    code = (
        "from importlib import metadata as m; m.Distribution.discover = classmethod(lambda *a, **k: iter(()));"
        " import pathlib; from lorry.errors import InputError; from lorry.compute.machine import wheel\n"
        "try: wheel.build(pathlib.Path('.'))\nexcept InputError as error: print(error, error.hint)"
    )
    assert "never installed" in run(code, tmp_path)
