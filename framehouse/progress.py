"""How long work says what it is doing, without knowing who listens."""

from typing import Protocol


class Reporter(Protocol):
    """Someone who is told about progress. The command line draws it, tests stay silent."""

    def step(self, text: str) -> None:
        """A new step begins: one line, in the present tense, with the reason for a wait."""

    def advance(self, done: float, total: float, text: str = "") -> None:
        """The present step got as far as `done` of `total` (in any one unit)."""


class Silent:
    """A reporter that says nothing."""

    def step(self, text: str) -> None:
        """Ignore it."""

    def advance(self, done: float, total: float, text: str = "") -> None:
        """Ignore it."""


SILENT: Reporter = Silent()
