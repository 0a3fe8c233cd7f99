"""What every metric keeps to, whatever it measures: each file of ``conf/metric`` is tried."""

import pytest
import torch
from cells import ROOT

import benchmark

NAMES = sorted(file.stem for file in (ROOT / "conf" / "metric").glob("*.yaml"))
RES = 14


@pytest.fixture(scope="module")
def cell():
    """Two scenes of two objects, each asked for both: boxes and masks are known."""
    return benchmark.load(
        "dataset=pairs",
        "dataset.limit=2",
        "method=igos",  # has the settings that the objective takes
        "target=label",
        f"res={RES}",
        f"metric=[{','.join(NAMES)}]",
        "protocol.steps=4",
        *(f"metric.{name}.samples=10" for name in ("infidelity", "faithfulness_correlation")),
        "metric.monotonicity_correlation.grid=7",
    )


@pytest.fixture(scope="module")
def batch(cell):
    """Of targets that count as difficult, too, which no embedded scene does."""
    given = cell.batch(cell.dataset.ids())
    return given._replace(truths=[each._replace(difficult=True) for each in given.truths])


@pytest.fixture(scope="module")
def heatmaps(batch):
    """From noise that is nearly flat to a few high cells; the first has its peak on its target."""
    source = torch.Generator().manual_seed(1)
    powers = torch.arange(1, len(batch.ids) + 1)[:, None, None] ** 2
    noise = torch.rand(len(batch.ids), RES, RES, generator=source) ** powers
    truth, size = batch.truths[0], batch.images.shape[-1]
    left, top, right, bottom = truth.boxes[truth.classes == batch.targets[0]][0].tolist()
    assert truth.scale == (1.0, 1.0)
    spacing = (size - 1) / (RES - 1)  # of the cells' centres, corners on corners
    column, row = (
        round((low + high) / 2 / spacing) for low, high in ((left, right), (top, bottom))
    )
    noise[0, row, column] = 2.0
    return noise / 2


@pytest.mark.parametrize("name", NAMES)
def test_an_images_score_does_not_depend_on_the_rest_of_its_batch(name, cell, batch, heatmaps):
    together = cell.metrics[name](cell.model, batch, heatmaps)
    assert together.values.dtype == torch.float64
    assert together.values.shape == (len(batch.ids),)
    known = together.values[together.values.isfinite()]
    assert len(known.unique()) > 1
    for row in range(len(batch.ids)):
        one = slice(row, row + 1)
        alone = cell.metrics[name](cell.model, batch.select([row]), heatmaps[one])
        torch.testing.assert_close(
            alone.values, together.values[one], rtol=1e-5, atol=1e-7, equal_nan=True
        )
        assert set(alone.curves) == set(together.curves)
        for key, curve in alone.curves.items():
            torch.testing.assert_close(curve, together.curves[key][one], rtol=1e-5, atol=1e-6)
