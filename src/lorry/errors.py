"""Everything that lorry raises on purpose, as one tree.

    LorryError                 something the person can act on; carries a hint and an exit code
    ├── InputError        (2)  the recipe, the data or an argument is wrong
    │   ├── RecipeError        a key, a type or a value in the recipe; says where
    │   ├── DataError          rows that cannot be read or trained on; names file and line
    │   └── ModelError         a model that does not exist, or is not what the recipe says
    ├── MissingExtraError (2)  a part of lorry that is not installed (`pip install 'lorry[train]'`)
    ├── RefusedError      (3)  a check, a gate or the budget says no
    │   └── GateMissedError    a run is complete, and its adapter is not as good as the recipe asks for
    ├── RunFailedError    (1)  a run started and did not end well
    ├── MayBillError      (4)  a machine may still cost money; says which, what it costs and how to end it by hand
    ├── DetachedError     (0)  the run goes on without this process
    └── StoppedError    (130)  the person interrupted

The command line prints `error: <message>`, an empty line and `hint: <hint>`, and leaves with `exit_code`.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


class LorryError(Exception):
    """What happened, where, and what to do about it."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "", place: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.place = place
        """`file:line` or a dotted path into the recipe; empty where there is none."""

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


class InputError(LorryError):
    """What the person gave cannot be used; nothing was started."""

    exit_code = 2


class RecipeError(InputError):
    """A key, a type or a value in the recipe is wrong."""


class DataError(InputError):
    """Rows cannot be read, or cannot be trained on."""


class ModelError(InputError):
    """The model does not exist, cannot be had, or is not what the recipe says."""


class MissingExtraError(InputError):
    """A part of lorry that this command needs is not installed."""


class RefusedError(LorryError):
    """A check, a gate or the budget says no."""

    exit_code = 3


class GateMissedError(RefusedError):
    """A run is complete, and its adapter is not as good as the recipe asks for."""

    def __init__(self, message: str, *, hint: str = "", folder: Path) -> None:
        super().__init__(message, hint=hint)
        self.folder = folder
        """The run's folder, or the adapter's."""


class RunFailedError(LorryError):
    """A run started and did not end well; what it had is in its folder."""

    exit_code = 1


class MayBillError(LorryError):
    """A machine may still cost money: nobody has confirmed that it has ended."""

    exit_code = 4


class DetachedError(LorryError):
    """The run goes on, and this process no longer watches it."""

    exit_code = 0


class StoppedError(LorryError):
    """The person interrupted."""

    exit_code = 130
