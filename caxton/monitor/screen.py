"""What the user of the monitor has chosen: the view, the order, the filter. No terminal code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from caxton.monitor.state import SORTS, Sort

__all__ = ["VIEWS", "Screen"]

VIEWS: Final = ("overview", "agents", "conversations", "processes")
LONGEST_FILTER: Final = 60
PAGE: Final = 10


@dataclass
class Screen:
    """The choices so far; ``press`` changes them."""

    view: str = "overview"
    sort: Sort = "trouble"
    matching: str = ""
    typing: bool = False
    """True while a filter is typed."""
    offset: int = 0
    """Rows scrolled past in the long table of a view."""
    done: bool = False

    def press(self, key: str) -> None:
        """Do what a key stands for; unknown keys do nothing."""
        if self.typing:
            self._type(key)
        elif key == "q":
            self.done = True
        elif key == "s":
            self.sort = SORTS[(SORTS.index(self.sort) + 1) % len(SORTS)]
        elif key == "/":
            self.typing, self.matching = True, ""
        elif key == "escape":
            self.matching, self.offset = "", 0
        elif key in "1234":
            self.view, self.offset = VIEWS[int(key) - 1], 0
        else:
            self._scroll(key)

    def _type(self, key: str) -> None:
        if key == "enter":
            self.typing = False
        elif key == "escape":
            self.typing, self.matching = False, ""
        elif key == "backspace":
            self.matching = self.matching[:-1]
        elif len(key) == 1 and len(self.matching) < LONGEST_FILTER:
            self.matching += key
        self.offset = 0

    def _scroll(self, key: str) -> None:
        steps = {"up": -1, "k": -1, "down": 1, "j": 1, "page_up": -PAGE, "page_down": PAGE}
        if key == "home":
            self.offset = 0
        self.offset = max(0, self.offset + steps.get(key, 0))
