"""What a person sees of a run: a progress bar on standard error, the row on standard output."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from benchmark import plausible
from benchmark.config import Settings
from benchmark.files import write_whole
from benchmark.records import Part, RunFolder
from benchmark.run import run
from benchmark.runtime import measure
from benchmark.shards import Shard
from benchmark.summary import per_image, summary
from benchmark.survival import survival, told, warning
from benchmark.tables import row, timed
from benchmark.tracking import Mode, Tracking, is_logged, log_run, tracking_of


class ImagesPerSecond(ProgressColumn):
    """How fast images are completed since this process started."""

    def render(self, task: Task) -> Text:
        """Show the speed, or nothing before the first batch is done."""
        return Text(f"{task.speed:.2f} images/s" if task.speed else "")


class Screen:
    """Shows progress while a run goes on, and then its row and where it was written."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            ImagesPerSecond(),
            TimeRemainingColumn(),
            console=self.console,
        )

    def begin(self, title: str, done: int, total: int) -> None:
        """Start the bar."""
        if done:
            self.console.print(f"{done} of {total} images are in the records already")
        for task in self.progress.task_ids:  # of an attempt that ran out of memory
            self.progress.remove_task(task)
        self.progress.start()
        self.task = self.progress.add_task(escape(title), total=total, completed=done)

    def advance(self, images: int) -> None:
        """Move the bar."""
        self.progress.advance(self.task, images)

    def warn(self, message: str) -> None:
        """Print above the bar."""
        self.console.print(Text(message, "red"))

    def run(self, settings: Settings) -> None:
        """Run, print the row, and write the per-image table beside the records."""
        if settings.runtime is not None:
            if settings.part.shard:
                self.console.print("one image after the other is not timed in parts: shard=0 does")
            else:
                self._time(settings)
            return
        tracking = tracking_of(settings.wandb)
        try:
            folder, outcome = run(settings, self)
        finally:
            if self.progress.tasks:  # stopping a bar that never started prints an empty line
                self.progress.stop()
        out = Console(width=None if sys.stdout.isatty() else 120)
        if isinstance(outcome, Part):
            out.print(Text(_how_far(settings.part, outcome)), soft_wrap=True)
            return
        table = per_image(folder, outcome)
        file = folder.path / "per_image.csv"
        write_whole(file, table.to_csv(index=False))
        out.print(row(outcome, summary(table, list(outcome.stages))))
        if outcome.checked:
            out.print(Text(plausible.told(outcome.checked), "dim"))
        if left := survival(table):
            out.print(Text(told(left), "dim"))
            if surviving := warning(left):
                out.print(Text(surviving, "red"))
        out.print(Text(f"written to {_short(file)}"), soft_wrap=True)
        self._track(out, tracking, folder)

    def _time(self, settings: Settings) -> None:
        """Time the method, and print a line for each size of batch."""
        out = Console(width=None if sys.stdout.isatty() else 120)
        tracking = tracking_of(settings.wandb)
        folder, entry = measure(settings, self.console.print)
        out.print(timed(folder.path.name, entry))
        self._track(out, tracking, folder)

    @staticmethod
    def _track(out: Console, tracking: Tracking, folder: RunFolder) -> None:
        """Log what the newest start completed, unless that is done, and say where it is."""
        if tracking.mode is Mode.disabled:
            return
        start, end = [(start, end) for start, end in folder.starts() if end][-1]
        if not is_logged(tracking, folder, start, end):
            out.print(Text(log_run(tracking, folder, start, end)), soft_wrap=True)


def _how_far(shard: Shard, part: Part) -> str:
    """Say what there is of a cell that is not complete, and who has the rest."""
    others = "the rest is left to other shards or processes"
    own = f"shard {shard.shard} of {shard.shards}" if shard.shards > 1 else "this process's part"
    return f"{part.title}: {own} is done, {part.done} of {part.chosen} images are; {others}"


def _short(path: Path) -> str:
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
