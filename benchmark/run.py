"""The loop: explain the images that have no heatmap yet, score what has no score yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from benchmark import captions, loading, plausible
from benchmark.audit import left
from benchmark.cell import Cell
from benchmark.claims import Claims, Pace
from benchmark.config import Settings, build
from benchmark.damage import Damaged, set_aside
from benchmark.devices import clock, peak_memory, reset_peak_memory
from benchmark.identity import environment
from benchmark.images import resize_heatmaps
from benchmark.interfaces import BadInput, Batch, Item, UnreadableImage
from benchmark.items import check_heatmaps
from benchmark.known_curves import in_order, score, stacked
from benchmark.pass_sizes import free_memory, halve, is_out_of_memory
from benchmark.records import PART, Outcome, Part, RunFolder, now
from benchmark.resolution import native_resolution
from benchmark.selfcheck import self_check
from benchmark.stages import Stage
from benchmark.survival import ENDS


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
        native = native_resolution(cell.method, cell.model)
        if native is not None:
            settings.check_resolution(native)
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
            known.add(damage.stage)
            watcher.warn(f"{damage.what}: set aside in {set_aside(damage, now())}, computed anew")


def _nothing(_message: str) -> None:
    """Say nothing: the watcher knows."""


class _Run:
    """One start of a cell: what it has found, and what it does about it."""

    def __init__(self, cell: Cell, folder: RunFolder, watcher: Watcher) -> None:
        self.cell, self.folder, self.watcher = cell, folder, watcher
        self.explained = folder.stage("heatmaps")
        self.heatmaps = (
            self.explained if cell.heatmaps == "heatmaps" else folder.stage(cell.heatmaps)
        )
        self.attacked = folder.stage("attacked")  # images; empty without an attack
        self.scores = {name: folder.stage(stage) for name, stage in cell.stages.items()}
        self.audited = [folder.stage(cell.audit)] if cell.audit else []  # one, where it can be
        self.results = [self.explained, self.heatmaps, *self.scores.values(), *self.audited]
        self.skipped: dict[str, str] = {}  # image id -> why
        self.checked: set[str] = set()  # images that results were made from, as they are here
        self.start = ""  # what the log calls it
        self.checks: dict[str, Any] = {}  # what the self-check has found
        self.timed = False  # whether a batch was explained since the start

    def complete(self) -> Outcome | Part:
        """Do what is missing, batch by batch, each written before the next is begun."""
        chosen = self.cell.dataset.ids()
        ids = self._unchanged(self.cell.settings.part.of(chosen))
        about = {**self.cell.provenance(), **environment()}
        manifest = self.folder.write_manifest(chosen)
        for stage in [*self.results, self.attacked]:
            stage.verify()
        if todo := self._lacking(ids):
            self._self_check(chosen)
        else:
            self.checks = self.folder.checked()
        self.start = self.folder.begin({**about, "chosen": manifest, "self_check": self.checks})
        self.watcher.begin(self.folder.path.name, len(ids) - len(todo), len(ids))
        pace: Pace = build(self.cell.settings.claims, "claims")
        made = {stage.name for stage in self.results}
        claims = Claims(self.folder.path, self.cell.settings.part, pace, made)
        with claims.alive():
            while todo:
                taken = claims.take(todo, self.cell.settings.batch_size)
                if not taken and claims.leave(todo):
                    break
                if not claims.alone:
                    self._refresh()
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
        for clean in loading.grouped(stream, size):
            group = self._attack(clean)
            known = self.explained.rows
            explained = {i.id: known[i.id]["target"] for i in group if i.id in known}
            batch = self.cell.batch_of(group, explained)
            if missing := _missing(batch, self.explained):
                self._explain(batch.select(missing))
            if missing := _missing(batch, self.heatmaps):
                self._resize(batch.select(missing).ids)
            for name in in_order(self.cell.metrics):
                if missing := _missing(batch, self.scores[name]):
                    self._score(name, batch.select(missing))
            for stage in self.audited:
                if missing := _missing(batch, stage):
                    self._audit(batch.select(missing), stage)
            self.watcher.advance(len(batch.ids))

    def _lacking(self, ids: Iterable[str]) -> dict[str, set[str]]:
        """Name the stages that images lack, where they do and the image can be read."""
        found = {
            each: {stage.name for stage in self.results if each not in stage.rows}
            for each in ids
            if each not in self.skipped
        }
        return {each: stages for each, stages in found.items() if stages}

    def _refresh(self) -> None:
        """Take in what other processes have written since."""
        for stage in {id(each): each for each in [*self.results, self.attacked]}.values():
            stage.refresh()

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
        for image_id in ids:
            if image_id in self.checked:
                continue
            known = self.explained.rows.get(image_id) or self.attacked.rows.get(image_id)
            if known and known["digest"] != self.cell.dataset.digest(image_id):
                raise BadInput(
                    f"{image_id} or its annotation has changed since {self.folder.path} "
                    "was made: give this copy of the data its own name, dataset.name=..."
                )
            if known:
                self.checked.add(image_id)

    def _skip(self, image_id: str, reason: str) -> None:
        self.skipped[image_id] = reason
        self.watcher.warn(f"skipped {image_id}: {reason}")

    def _attack(self, group: list[Item]) -> list[Item]:
        """Put adversarial images, stored ones or new ones, in the places of images."""
        if self.cell.attack is None:
            return group
        if new := [item for item in group if item.id not in self.attacked.rows]:
            made = self.cell.attacked(new, self.cell.attack)
            digest = self.cell.dataset.digest
            rows = [{"id": each.id, "digest": digest(each.id), "clean": was} for each, was in made]
            self.attacked.append(rows, [{"image": item.image.numpy()} for item, _ in made])
        stored = [torch.from_numpy(self.attacked.array(item.id, "image")) for item in group]
        return [item._replace(image=image) for item, image in zip(group, stored, strict=True)]

    def _explain(self, batch: Batch) -> None:
        """Make and store the heatmaps of images that have none."""
        model = self.cell.model
        reset_peak_memory(model)
        started = clock(model)
        model.begin_count(len(batch.ids))
        heatmaps = self._checked(self.cell.method(model, batch), batch)
        seconds = clock(model) - started
        forward, backward = model.forward_passes.tolist(), model.backward_passes.tolist()
        with torch.no_grad():
            predicted = model(batch.images).argmax(1)
            on_image = model.scores(batch.images, batch.targets).tolist()
            on_baseline = model.scores(self.cell.baseline(model, batch), batch.targets).tolist()
        flat = (heatmaps.flatten(1).amax(1) == heatmaps.flatten(1).amin(1)).tolist()
        rows = [
            {
                "id": image_id,
                "digest": self.cell.dataset.digest(image_id),
                "target": int(batch.targets[row]),
                "label": int(batch.labels[row]),
                "predicted": int(predicted[row]),
                "correct": bool(predicted[row] == batch.labels[row]),
                **self._fooled(image_id, int(predicted[row])),
                "constant": flat[row],
                "score_on_image": on_image[row],
                "score_on_baseline": on_baseline[row],
                "forward_passes": forward[row],
                "backward_passes": backward[row],
            }
            for row, image_id in enumerate(batch.ids)
        ]
        self.explained.append(rows, [{"heatmap": each.numpy()} for each in heatmaps])
        self.checked.update(batch.ids)
        self.folder.time(batch.ids, seconds, peak_memory(model), first=not self.timed)
        self.timed = True

    def _fooled(self, image_id: str, predicted: int) -> dict[str, Any]:
        """Say what the model saw before the attack, if there is one, and whether it sees else."""
        if self.cell.attack is None:
            return {}
        clean = self.attacked.rows[image_id]["clean"]
        return {"clean": clean, "fooled": predicted != clean}

    def _checked(self, heatmaps: Tensor, batch: Batch) -> Tensor:
        """Refuse what is no heatmap, or none of the resolution asked for; bring it to the CPU."""
        settings, name = self.cell.settings, self.cell.settings.choices["method"]
        heatmaps = check_heatmaps(heatmaps, batch.ids, f"method={name}")
        settings.check_resolution(heatmaps.shape[-1])
        return heatmaps

    def _resize(self, ids: Sequence[str]) -> None:
        """Bring stored heatmaps to the resolution asked for, and store these too."""
        settings = self.cell.settings
        native = stacked(self.explained, ids, "heatmap")
        settings.check_resolution(native.shape[-1])
        heatmaps = resize_heatmaps(native, settings.res, settings.resize.name)
        rows = [{"id": image_id} for image_id in ids]
        self.heatmaps.append(rows, [{"heatmap": each.numpy()} for each in heatmaps])

    def _score(self, name: str, batch: Batch) -> None:
        """Score stored heatmaps of images by one metric, from curves that are kept if it can be."""

        def kept(source: str) -> dict[str, Tensor]:
            stage = self.scores[source]
            if _missing(batch, stage):
                return {}
            return {each: stacked(stage, batch.ids, each) for each in ("scores", "fractions")}

        heatmaps = stacked(self.heatmaps, batch.ids, "heatmap").to(self.cell.model.device)
        model, metrics = self.cell.model, self.cell.metrics
        values, curves = score(name, metrics, model, batch, heatmaps, kept=kept)
        rows = [
            {"id": image_id, "value": float(value)}
            for image_id, value in zip(batch.ids, values, strict=True)
        ]
        arrays = [
            {key: curve[row].cpu().numpy() for key, curve in curves.items()}
            for row in range(len(batch.ids))
        ]
        self.scores[name].append(rows, arrays)

    def _audit(self, batch: Batch, stage: Stage) -> None:
        """Store what is left of images where deletion ends and insertion begins."""
        model, protocol = self.cell.model, self.cell.protocol
        at_end = {ENDS["deletion"]: left(model, batch, protocol.deletion_substrate)}
        same = protocol.deletion_substrate == protocol.insertion_substrate
        at_end[ENDS["insertion"]] = (
            at_end[ENDS["deletion"]] if same else left(model, batch, protocol.insertion_substrate)
        )
        rows = [
            {"id": image_id}
            | {f"score_{end}": float(scores[row]) for end, (scores, _) in at_end.items()}
            | {f"entropy_{end}": float(entropies[row]) for end, (_, entropies) in at_end.items()}
            for row, image_id in enumerate(batch.ids)
        ]
        stage.append(rows, [{} for _ in rows])

    def _finish(self, chosen: Sequence[str]) -> Outcome | Part:
        """Say what is there: all images, if every other shard's are, or a part of them."""
        self._refresh()
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
        rows = [self.explained.rows[each] for each in done_ids]
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


def _missing(batch: Batch, stage: Stage) -> list[int]:
    return [row for row, image_id in enumerate(batch.ids) if image_id not in stage.rows]
