"""A function in a Python file that the recipe names; it runs in a process of its own, which a hanging call cannot outlive.

    def brevity(prompt, completion, answer=None, **columns):
        return 1.0 if len(completion) < 80 else 0.0

It is called once for each answer, by name, with those of `prompt` (what was asked last), `completion`, `messages`, `answer`
and the row's own columns that it takes. A function that takes `completions` is called as TRL does: with lists, of one answer
each. What it raises, or takes longer for than `timeout`, is that answer's zero, and is told.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from lorry.errors import RecipeError
from lorry.recipe.paths import from_home
from lorry.trainer.rewards._base import Place, Reward, Scorer


class PythonReward(Reward):
    """A function of your own: `rewards.py:brevity`."""

    files: ClassVar[tuple[str, ...]] = ("file",)
    file: str
    """A Python file, relative to the recipe."""
    function: str
    """The function's name."""
    timeout: float = Field(default=10.0, gt=0)
    """Seconds that it may take for one answer."""
    secrets: list[str] = Field(default_factory=list[str])
    """Environment variables with keys that it is to see, by name: `[OPENAI_API_KEY]`; it sees no others."""
    start_timeout: float = Field(default=120.0, gt=0)
    """Seconds that the file may take to be imported."""

    @property
    def label(self) -> str:
        """The function's name."""
        return self.function

    def open(self, place: Place) -> Scorer:
        """Starts the process, and has it import the file. Raises RecipeError where that fails."""
        from lorry.trainer.rewards._worker import Worker

        path = Path(place.base, from_home(self.file))
        if not path.is_file():
            hint = "give a Python file, relative to the recipe"
            raise RecipeError(f"there is no `{self.file}`", place="method.rewards", hint=hint)
        worker = Worker(path, self.function, (self.timeout, self.start_timeout), self.secrets)
        worker.start()
        return worker
