"""What a machine has, and the steps of setting it up that a shell cannot take. Standard library only, Python 3.8 or later.

Run as `python -c SOURCE ARGUMENTS`, the arguments being one JSON object whose `do` names the step; what comes out is a line
`lorry: {...}` with its answer. torch is imported in one step only, `try`, which runs it on the GPU.
"""

from __future__ import annotations

import io
import json
import os
import platform
import re
import shutil
import sys
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

HOME = Path.home() / ".lorry"
OWN = HOME / "python"
"""Where lorry makes a Python of its own, where the image's does not do."""
_UVS = (
    Path(sys.executable).parent / "uv",
    HOME / "uv/bin/uv",
    Path.home() / ".local/bin/uv",
    Path.home() / ".cargo/bin/uv",
)
_TEXT = 100_000


def main(arguments: Mapping[str, Any]) -> int:
    """Takes one step; 0, or for `look` 3 where another Python of the machine may be better."""
    steps = {"look": look, "unpack": unpack, "finish": finish, "try": attempt}
    answer = steps[arguments["do"]](arguments)
    sys.stdout.write(f"lorry: {json.dumps(answer)}\n")
    return 0 if answer.get("fits", True) else 3


def look(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What this Python and this machine have; `fits` if nothing better need be looked for."""
    place = Path(arguments["place"])
    version, cuda = torch_here()
    is_own = Path(sys.prefix).resolve() == OWN.resolve()
    first, last = arguments["pythons"]
    is_in_range = tuple(first) <= sys.version_info[:2] <= tuple(last)
    return {
        "fits": is_in_range and (is_own or numbers(version) >= numbers(arguments["torch"])),
        "python": sys.executable,
        "is_own": is_own,
        "markers": markers(),
        "distributions": distributions(map(Path, sys.path)),
        "torch": version,
        "cuda": cuda,
        "uv": shutil.which("uv") or next((str(path) for path in _UVS if os.access(path, os.X_OK)), ""),
        "has_pip": any((Path(path) / "pip/__main__.py").is_file() for path in sys.path),
        "free": free(place),
        "sites": {path.name: distributions([path]) for path in place.glob("site-*") if path.suffix != ".part"},
        "lorries": [path.name for path in place.glob("lorry-*")],
        "tried": [path.name for path in HOME.glob("tried-*")],
        "gpus": gpus(),
        "driver": driver(),
        "has_compat": any(Path("/usr/local").glob("cuda*/compat/libcuda.so*")),
        "library_path": library_path(),
    }


def torch_here() -> tuple[str, str]:
    """The version and the CUDA of the torch that `import torch` would find, read from its files; empty for none."""
    for folder in sys.path:
        text = text_of(Path(folder) / "torch/version.py")
        if text:
            return assigned("__version__", text), assigned("cuda", text)
    return "", ""


def assigned(name: str, text: str) -> str:
    """The text that a line of a module gives to a name; empty for none."""
    found = re.search(rf"^{name}\b[^=\n]*=\s*['\"]([^'\"\n]+)", text, re.MULTILINE)
    return found[1] if found else ""


def numbers(version: str) -> tuple[int, ...]:
    """The first two numbers of a version, for comparing."""
    found = [int(part) for part in re.findall(r"\d+", version.split("+", maxsplit=1)[0])]
    return tuple([*found, 0, 0][:2])


def markers() -> dict[str, str]:
    """The environment markers of PEP 508."""
    return {
        "implementation_name": sys.implementation.name,
        "os_name": os.name,
        "platform_machine": platform.machine(),
        "platform_python_implementation": platform.python_implementation(),
        "platform_release": platform.release(),
        "platform_system": platform.system(),
        "platform_version": platform.version(),
        "python_full_version": platform.python_version(),
        "python_version": ".".join(map(str, sys.version_info[:2])),
        "sys_platform": sys.platform,
    }


def distributions(folders: Sequence[Path] | Any) -> dict[str, str]:
    """Versions by normalized name, as the names of the metadata folders tell: nothing is opened."""
    found: dict[str, str] = {}
    for folder in folders:
        with suppress(OSError):
            for name in os.listdir(folder):  # noqa: PTH208 - thousands of names, of which no path is needed
                match = re.match(r"(.+?)-([^-]+?)(-py[\d.]+)?\.(dist|egg)-info$", name)
                if match:
                    found.setdefault(re.sub(r"[-_.]+", "-", match[1]).lower(), match[2])
    return found


def free(place: Path) -> int:
    """Bytes free where a folder is or will be."""
    return shutil.disk_usage(next(path for path in (place, *place.parents) if path.is_dir())).free


def gpus() -> list[str]:
    """NVIDIA's GPUs by name, as their driver tells; empty where this cannot be read."""
    files = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    return [name for file in files for name in re.findall(r"^Model:\s*(.+?)\s*$", text_of(file), re.MULTILINE)]


def driver() -> str:
    """The version of NVIDIA's driver; empty for none."""
    found = re.search(
        r"^NVRM version:\D*?(?:x86_64\s+|aarch64\s+)?(\d+(?:\.\d+)+)", text_of(Path("/proc/driver/nvidia/version"))
    )
    return found[1] if found else ""


def library_path() -> str:
    """Where the image wants libraries to be looked for: SSH sessions lack the variables of its first process."""
    found = re.search(r"(?:^|\0)LD_LIBRARY_PATH=([^\0]*)", text_of(Path("/proc/1/environ")))
    return os.environ.get("LD_LIBRARY_PATH") or (found[1] if found else "")


def text_of(path: Path) -> str:
    """The beginning of a file; empty where it cannot be read."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(_TEXT)
    except OSError:
        return ""


def unpack(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Puts lorry's wheel, compressed on stdin, into its folder."""
    folder = Path(arguments["folder"])
    part = aside(folder)
    try:
        with zipfile.ZipFile(io.BytesIO(zlib.decompress(sys.stdin.buffer.read()))) as wheel:
            wheel.extractall(part)
        settle(part, folder, Path.is_dir)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return {}


def finish(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Gives a folder with installed packages its name, if they are all there; `lacking` names those that are not."""
    part, folder, packages = Path(arguments["part"]), Path(arguments["folder"]), arguments["packages"]
    lacking = missing(part, packages)
    if not lacking:
        settle(part, folder, lambda there: not missing(there, packages))
    return {"lacking": lacking}


def missing(folder: Path, packages: Mapping[str, str]) -> list[str]:
    """The packages that a folder has not in their version."""
    here = distributions([folder])
    return sorted(name for name, version in packages.items() if here.get(name) != version)


def settle(part: Path, folder: Path, is_good: Callable[[Path], bool]) -> None:
    """Gives a folder its name, once all of it is on the disk. Another machine may have been faster: then its folder counts."""
    flush(part)
    for _ in range(3):
        try:
            part.rename(folder)
            return
        except OSError:
            if not folder.is_dir():
                raise
        if is_good(folder):
            shutil.rmtree(part, ignore_errors=True)
            return
        spoiled = aside(folder)
        with suppress(OSError):
            folder.rename(spoiled)
        shutil.rmtree(spoiled, ignore_errors=True)
    raise OSError(f"cannot rename {part}")


def aside(folder: Path) -> Path:
    """Where a folder is made or thrown away."""
    return folder.with_name(f"{folder.name}.{os.getpid()}-{time.time_ns()}.part")


def flush(folder: Path) -> None:
    """Has the file system that a folder lies on write everything down, where the system can."""
    with suppress(AttributeError, ImportError, OSError):
        import ctypes

        handle = os.open(folder, os.O_RDONLY)
        try:
            ctypes.CDLL(None).syncfs(handle)
        finally:
            os.close(handle)


def attempt(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Runs torch on the GPU, and remembers on this machine that it did: `error` is what it said, empty if nothing."""
    import torch

    error = ""
    try:
        ones = torch.ones(8, 8, device="cuda")
        if float((ones @ ones * 2).sum()) != 1024:
            error = "torch computes wrong numbers on this GPU"
    except Exception as failure:  # torch raises RuntimeError, AssertionError and its own
        error = f"{type(failure).__name__}: {failure}"
    if not error:
        HOME.mkdir(exist_ok=True)
        (HOME / arguments["remember"]).touch()
    return {"error": error[:2000]}


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
