"""The loop: explain the images that have no heatmap yet, score what has no score yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from benchmark import captions, loading, plausible
from benchmark.building import build
from benchmark.cell import Cell
from benchmark.claims import Claims, Pace
from benchmark.config import Settings
from benchmark.damage import Damaged, set_aside
from benchmark.identity import environment
from benchmark.interfaces import BadInput, UnreadableImage
from benchmark.making import Making
from benchmark.pass_sizes import free_memory, halve, is_out_of_memory
from benchmark.records import PART, SETTINGS, Outcome, Part, RunFolder, now
from benchmark.selfcheck import self_check


class Watcher(Protocol):
    """Told of what happens, to show it to a person."""

    def begin(self, title: str, done: int, total: int) -> None:
        """The run starts, with so many images already complete."""
        ...

    def advance(self, images: int) -> None:
        """So many more images are complete."""
        ...

    def warn(self, message: str) -> None:
        """Something the reader of the result has to know."""
        ...


def run(settings: Settings, watcher: Watcher) -> tuple[RunFolder, Outcome | Part]:
    """Explain and score every chosen image of the shard that is not yet in the records.

    Others may work on the same cell: what they are at is left to them, and what they have done is
    not done again.

    Returns:
        The folder, and what was completed there: the cell, or a part of it.

    Raises:
        BadInput: a setting, the data, the model or a method's output cannot be used.
    """
    say: Callable[[str], None] = watcher.warn
    while True:
        cell = Cell.open(settings, say)
        cell.check_resolution()
        cell.folder.claim(cell.identity)
        try:
            with cell.folder.shared(always=settings.part.shards > 1) as folder:
                return cell.folder, _complete(cell, folder, watcher)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            whole, half = cell.model.pass_batch, halve(settings, cell.model)
        # Other sums are rounded otherwise, so what follows has a key, and a folder, of its own.
        watcher.warn(f"out of memory: {half} images pass at once from here on, not {whole}")
        say = _nothing
        del cell
        free_memory()


def _complete(cell: Cell, folder: RunFolder, watcher: Watcher) -> Outcome | Part:
    """Do what is missing, and what is damaged once more, where no other process writes it."""
    known: set[str] = set()
    while True:
        try:
            return _Run(cell, folder, watcher).complete()
        except Damaged as damage:
            if damage.place != folder.place or damage.stage in known:
                raise
            if not (folder.path / SETTINGS).exists():
                raise BadInput(f"{folder.path} was removed while this run wrote to it") from damage
            known.add(damage.stage)
            watcher.warn(f"{damage.what}: set aside in {set_aside(damage, now())}, computed anew")


def _nothing(_message: str) -> None:
    """Say nothing: the watcher knows."""


class _Run:
    """One start of a cell: what it has found, and what it does about it."""

    def __init__(self, cell: Cell, folder: RunFolder, watcher: Watcher) -> None:
        self.cell, self.folder, self.watcher = cell, folder, watcher
        self.making = Making(cell, folder)
        self.skipped: dict[str, str] = {}  # image id -> why
        self.start = ""  # what the log calls it
        self.checks: dict[str, Any] = {}  # what the self-check has found

    def complete(self) -> Outcome | Part:
        """Do what is missing, batch by batch, each written before the next is begun."""
        chosen = self.cell.dataset.ids()
        ids = self._unchanged(self.cell.settings.part.of(chosen))
        about = {**self.cell.provenance(), **environment()}
        manifest = self.folder.write_manifest(chosen)
        self.making.verify()
        if todo := self._lacking(ids):
            self._self_check(chosen)
        else:
            self.checks = self.folder.checked()
        self.start = self.folder.begin({**about, "chosen": manifest, "self_check": self.checks})
        self.watcher.begin(self.folder.path.name, len(ids) - len(todo), len(ids))
        pace: Pace = build(self.cell.settings.claims, "claims")
        made = {stage.name for stage in self.making.results}
        claims = Claims(self.folder.path, self.cell.settings.part, pace, made)
        with claims.alive():
            while todo:
                taken = claims.take(todo, self.cell.settings.batch_size)
                if not taken and claims.leave(todo):
                    break
                if not claims.alone:
                    self.making.refresh()
                left = self._lacking(todo)
                self.watcher.advance(len(todo) - len(left))  # others have done the rest
                self._work(list(self._lacking(taken)))
                todo = self._lacking(left)
        return self._finish(chosen)

    def _self_check(self, chosen: Sequence[str]) -> None:
        """Refuse a network, baseline or metric that is not sound, and warn of what is odd."""
        self.checks = self_check(self.cell, chosen)
        if self.checks and (odd := plausible.warning(self.checks)):
            self.watcher.warn(odd)

    def _work(self, ids: Sequence[str]) -> None:
        """Explain and score images, as far as that is not done."""
        size = self.cell.settings.batch_size
        stream = loading.items(
            self.cell.dataset, ids, self.cell.model.input_size, 2 * size, self._skip
        )
        for group in loading.grouped(stream, size):
            self.making.make(group)
            self.watcher.advance(len(group))

    def _lacking(self, ids: Iterable[str]) -> dict[str, set[str]]:
        """Name the stages that images lack, where they do and the image can be read."""
        return self.making.lacking(each for each in ids if each not in self.skipped)

    def _unchanged(self, chosen: Sequence[str]) -> list[str]:
        """Drop unreadable images; refuse results that were made from other images."""
        ids = []
        for image_id in chosen:
            try:
                self._check_images([image_id])
                ids.append(image_id)
            except UnreadableImage as error:
                self._skip(image_id, str(error))
        return ids

    def _check_images(self, ids: Sequence[str]) -> None:
        """Refuse results that were made from other images than are here."""
        explained, attacked = self.making.explained.rows, self.making.attacked.rows
        for image_id in ids:
            if image_id in self.making.known:
                continue
            known = explained.get(image_id) or attacked.get(image_id)
            if known and known["digest"] != self.cell.dataset.digest(image_id):
                raise BadInput(
                    f"{image_id} or its annotation has changed since {self.folder.path} "
                    "was made: give this copy of the data its own name, dataset.name=..."
                )
            if known:
                self.making.known.add(image_id)

    def _skip(self, image_id: str, reason: str) -> None:
        self.skipped[image_id] = reason
        self.watcher.warn(f"skipped {image_id}: {reason}")

    def _finish(self, chosen: Sequence[str]) -> Outcome | Part:
        """Say what is there: all images, if every other shard's are, or a part of them."""
        self.making.refresh()
        unread = self.folder.skipped()  # by the starts that have those shards
        for image_id in self._lacking(chosen):
            if image_id in unread:
                try:
                    self.cell.dataset.load(image_id, self.cell.model.input_size)
                except UnreadableImage as error:
                    self.skipped[image_id] = str(error)
        if undone := self._lacking(chosen):
            done = len(chosen) - len(self.skipped) - len(undone)
            part = Part(captions.title(self.cell), done, len(chosen), self.skipped)
            self.folder.log({"event": PART, "start": self.start, **part._asdict()})
            return part
        done_ids = [each for each in chosen if each not in self.skipped]
        self._check_images(done_ids)  # those of other processes too
        if not done_ids:
            raise BadInput(f"none of the {len(chosen)} chosen images can be read")
        rows = [self.making.explained.rows[each] for each in done_ids]
        outcome = Outcome(
            manifest=self.folder.write_manifest(done_ids),
            skipped=self.skipped,
            heatmaps=self.cell.heatmaps,
            stages=self.cell.stages,
            higher_is_better={
                name: metric.higher_is_better for name, metric in self.cell.metrics.items()
            },
            res=self.cell.settings.res,
            title=captions.title(self.cell),
            about=captions.about(self.cell.settings),
            caption=captions.caption(self.cell),
            warnings=captions.warnings(
                self.cell,
                len(self.skipped),
                unfooled=sum(not row.get("fooled", True) for row in rows),
                constant=sum(row.get("constant", False) for row in rows),
                implausible=plausible.of_rows(self.checks, rows),
            ),
            audit=self.cell.audit,
            checked=self.checks,
        )
        self.folder.log({"event": "end", "start": self.start, **outcome._asdict()})
        return outcome
