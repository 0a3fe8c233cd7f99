"""How far a command's stage is, on standard error: a bar, or off a terminal lines as it goes on."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress


class Stage:
    """A stage that is under way; without a bar it shows only what is said of it."""

    def __init__(self, bar: Progress | None = None) -> None:
        self.bar = bar  # of one task

    def move(self, amount: float) -> None:
        """Say that so much more of the total is done."""
        if self.bar:
            self.bar.advance(self.bar.task_ids[0], amount)

    def say(self, text: str) -> None:
        """Say what is done now: before the bar, or in a line."""
        if self.bar:
            self.bar.update(self.bar.task_ids[0], description=escape(text))
        else:
            print(text, file=sys.stderr, flush=True)


@contextmanager
def stage(title: str, total: float, console: Console | None = None) -> Iterator[Stage]:
    """Say that a stage begins, and on a terminal how far it is; nothing if nothing is to be done.

    Args:
        title: what is done, and of how much.
        total: what all moves of the bar sum up to; 0 where nothing is to be done.
        console: where a bar is drawn; standard error unless given.
    """
    if total == 0:
        yield Stage()
        return
    console = console or Console(stderr=True)
    if not console.is_terminal:
        shown = Stage()
        shown.say(title)
        yield shown
        return
    with Progress(*Progress.get_default_columns(), console=console) as bar:
        bar.add_task(escape(title), total=total)
        yield Stage(bar)
