"""What methods have in common that are held to the model that they began with."""

from __future__ import annotations

from lorry.trainer.methods._base import Method


class HeldToReference(Method):
    """A method whose loss asks what the model said before training."""

    cache_reference: bool = False
    """Asks the reference once about all rows, before training: faster where they are passed over more than once."""

    @property
    def asks_once(self) -> bool:
        """Where the recipe says so."""
        return self.cache_reference

    @property
    def needs_reference(self) -> bool:
        """Always."""
        return True
