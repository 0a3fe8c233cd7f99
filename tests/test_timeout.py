"""A method that takes longer than it may: the run fails by name, and nothing is left out for it."""

import cells
import pytest
from cells import CALLS, Toy, start

from benchmark.bounded import TookTooLong
from benchmark.errors import BadInput
from benchmark.stages import Stage

COUNT = 8
IDS = [f"image-{number:02}" for number in range(COUNT)]


@pytest.fixture
def place(tmp_path):
    cells.make_images(tmp_path / "images", COUNT)
    cells.make_conf(tmp_path / "conf")
    CALLS.clear()
    return tmp_path


def test_the_run_fails_with_the_images_and_the_same_command_goes_on(place, monkeypatch):
    whole, _ = start(place, f"results='{place / 'elsewhere'}'", "batch_size=2")
    explain, slow = Toy.__call__, CALLS[2]

    def hang(self, model, batch):
        if batch.ids == slow:
            raise TookTooLong  # as the alarm does
        return explain(self, model, batch)

    monkeypatch.setattr(Toy, "__call__", hang)
    with pytest.raises(BadInput) as failure:
        start(place, "timeout=30", "batch_size=2")
    assert str(failure.value).startswith(
        f"method=toy took longer than timeout=30 seconds for each of {', '.join(slow)}: "
    )
    [folder] = [file.parent for file in place.glob("results/**/settings.json")]
    kept = Stage(folder, "heatmaps").rows
    assert kept and not set(slow) & set(kept)
    monkeypatch.setattr(Toy, "__call__", explain)
    again, _ = start(place, "batch_size=2")  # the limit is no part of the key
    assert again.folder.path == folder and sorted(again.ids) == IDS
    assert cells.product(folder) == cells.product(whole.folder.path)


def test_a_failed_method_is_a_failed_cell_of_a_sweep(place):
    given = cells.choices(place, "timeout=5", "dataset.limit=1", "method.slow=60,0")
    done = cells.command("--config-dir", "conf", "--multirun", *given, cwd=place)
    assert done.code == 2
    assert "toy at 7 x 7 method.slow=0" in done.out
    assert done.err.count("took longer than timeout=5 seconds for each of image-") == 1
    assert "Traceback" not in done.err


@pytest.mark.parametrize("given", ["0", "-1", "nan", "inf", "86401", "soon", "true"])
def test_a_limit_that_is_none_is_refused(place, given):
    with pytest.raises(BadInput, match="timeout"):
        cells.settings(place, f"timeout={given}")
