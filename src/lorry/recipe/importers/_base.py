"""What an importer has to say: by what a configuration is recognised, and what becomes of its fields."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from lorry.plugins import Plugin
from lorry.recipe.importers._sheet import Sheet


class Importer(Plugin):
    """Reads the configuration of another system as a recipe."""

    title: ClassVar[str]
    """The system's name as people write it."""
    needs: ClassVar[str]
    """A field without which the system does nothing: a configuration that has it is the system's."""
    marks: ClassVar[frozenset[str]]
    """Fields that no other system has."""

    @abstractmethod
    def fill(self, sheet: Sheet) -> None:
        """Makes the recipe, and speaks of each field; those that it passes over are told as unknown."""

    @classmethod
    @abstractmethod
    def known(cls) -> frozenset[str]:
        """Names of the fields that it knows, to guess what an unknown one was meant to be."""
