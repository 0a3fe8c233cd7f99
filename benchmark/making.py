"""What a cell keeps of its images: heatmaps, scores, what is left; made and stored by the batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from benchmark.audit import left
from benchmark.bounded import TookTooLong, bounded
from benchmark.cell import Cell
from benchmark.devices import clock, peak_memory, reset_peak_memory
from benchmark.images import resize_heatmaps
from benchmark.interfaces import BadInput, Batch, Item
from benchmark.items import check_heatmaps
from benchmark.known_curves import in_order, score, stacked
from benchmark.records import RunFolder
from benchmark.stages import Stage
from benchmark.survival import ENDS


class Making:
    """Makes what images of a cell lack, and writes each result before the next is begun."""

    def __init__(self, cell: Cell, folder: RunFolder) -> None:
        self.cell, self.folder = cell, folder
        self.explained = folder.stage("heatmaps")
        self.heatmaps = (
            self.explained if cell.heatmaps == "heatmaps" else folder.stage(cell.heatmaps)
        )
        self.attacked = folder.stage("attacked")  # images; empty without an attack
        self.scores = {name: folder.stage(stage) for name, stage in cell.stages.items()}
        self.audited = [folder.stage(cell.audit)] if cell.audit else []  # one, where it can be
        self.results = [self.explained, self.heatmaps, *self.scores.values(), *self.audited]
        self.known: set[str] = set()  # images that results were made from, as they are here
        self.timed = False  # whether a batch was explained since the start

    def verify(self) -> None:
        """Look for damage in what is stored.

        Raises:
            Damaged: a stage is not what was written.
        """
        for stage in self._stages():
            stage.verify()

    def refresh(self) -> None:
        """Take in what other processes have written since."""
        for stage in self._stages():
            stage.refresh()

    def _stages(self) -> list[Stage]:
        """List each stage once; heatmaps that are not resized are what was explained."""
        return list({id(each): each for each in [*self.results, self.attacked]}.values())

    def lacking(self, ids: Iterable[str]) -> dict[str, set[str]]:
        """Name the stages that images lack, where they do."""
        found = {
            each: {stage.name for stage in self.results if each not in stage.rows} for each in ids
        }
        return {each: stages for each, stages in found.items() if stages}

    def make(self, clean: list[Item]) -> None:
        """Explain and score images, as far as that is not done.

        Raises:
            BadInput: a method's output cannot be used, or it took longer than ``timeout`` allows.
        """
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
        limit = self.cell.settings.timeout
        model = self.cell.model
        reset_peak_memory(model)
        started = clock(model)
        model.begin_count(len(batch.ids))
        try:
            with bounded(None if limit is None else limit * len(batch.ids)):
                heatmaps = self._checked(self.cell.method(model, batch), batch)
        except TookTooLong as error:
            raise BadInput(
                f"method={self.cell.settings.choices['method']} took longer than timeout={limit:g} "
                f"seconds for each of {', '.join(batch.ids)}: give it more, or look why"
            ) from error
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
        self.known.update(batch.ids)
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


def _missing(batch: Batch, stage: Stage) -> list[int]:
    return [row for row, image_id in enumerate(batch.ids) if image_id not in stage.rows]
