"""The images that others are compared with, and what they mean for a result's key."""

from dataclasses import dataclass, replace

import pytest
from cells import make_conf, make_images, settings
from toys import Drawn

from benchmark.background import Background
from benchmark.cell import Cell
from benchmark.interfaces import BadInput, UnreadableImage

DATA = Drawn(name="drawn", split="test", limit=3, seed=5, manifest=None)
BACKGROUND = Background(dataset=DATA, count=10, seed=0)
LOADED: list[str] = []


@dataclass(frozen=True)
class Counting(Drawn):
    """Remembers what was decoded."""

    def load(self, image_id, size):
        LOADED.append(image_id)
        return super().load(image_id, size)


@dataclass(frozen=True)
class Damaged(Drawn):
    """Has images that cannot be decoded."""

    def load(self, image_id, size):  # noqa: ARG002 - as of any data set
        raise UnreadableImage(f"{image_id} is torn")


@dataclass(frozen=True)
class Bare:
    """Has nothing to choose images by."""

    name: str
    class_names = ("one", "two")

    def ids(self):
        return ["image-4", "image-2", "image-9"]

    def digest(self, image_id):
        return image_id

    load = Drawn.load


def ids_of(background):
    """Find out which images a background holds by looking at them."""
    known = {
        Drawn.load(DATA, f"image-{number}", 8).image.numpy().tobytes(): f"image-{number}"
        for number in range(200)
    }
    return [known[image.numpy().tobytes()] for image in background.images(8)]


@pytest.mark.parametrize(
    "changes", [{"limit": None}, {"seed": 9}, {"limit": 1, "seed": 2}], ids=str
)
def test_what_the_run_explains_changes_nothing(changes):
    other = replace(BACKGROUND, dataset=replace(DATA, **changes))
    assert ids_of(other) == ids_of(BACKGROUND)
    assert other.fingerprint(None) == BACKGROUND.fingerprint(None)


def test_a_seed_chooses_the_images_and_a_smaller_count_fewer_of_them():
    first = ids_of(BACKGROUND)
    assert len(set(first)) == 11
    assert ids_of(replace(BACKGROUND, count=4)) == first[:5]
    assert ids_of(replace(BACKGROUND, seed=1)) != first


def test_an_image_is_compared_with_as_many_as_any_other_and_never_with_itself():
    ids = ids_of(BACKGROUND)
    assert BACKGROUND.others("none of them") == list(range(10))
    for place, own in enumerate(ids):
        others = BACKGROUND.others(own)
        assert len(others) == 10
        assert place not in others


def test_images_are_decoded_once():
    background = Background(dataset=Counting(**vars(DATA)), count=6, seed=3)
    for _ in range(3):
        background.images(8)
        background.others("image-7")
    assert len(LOADED) == 7


def test_a_data_set_that_chooses_nothing_serves_in_its_own_order():
    background = Background(dataset=Bare("bare"), count=1, seed=0)
    assert ids_of(background) == ["image-4", "image-2"]


def test_as_many_images_as_there_are_is_one_too_many():
    assert replace(BACKGROUND, count=199).others("image-3")
    with pytest.raises(
        BadInput, match=r"count=200 needs a data set of more images .* drawn has 200"
    ):
        replace(BACKGROUND, count=200).fingerprint(None)
    with pytest.raises(BadInput, match="count of at least 1, got 0"):
        replace(BACKGROUND, count=0)


def test_an_image_that_cannot_be_read_is_refused_in_one_line():
    background = Background(dataset=Damaged(**vars(DATA)), count=2, seed=0)
    with pytest.raises(
        BadInput, match=r"image of the background cannot be read: image-\d+ is torn"
    ):
        background.images(8)


# The key


def identity(folder, *more):
    chosen = settings(
        folder, "method=expected_gradients", "res=32", "method.background.count=5", *more
    )
    return Cell.open(chosen).identity


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    one, copy, other = (tmp_path_factory.mktemp(name) for name in ("one", "copy", "other"))
    for folder in (one, copy, other):
        make_conf(folder / "conf")
        make_images(folder / "images")
    for file in (other / "images").iterdir():
        file.write_bytes(file.read_bytes()[::-1])
    return one, copy, other


def test_where_the_data_lie_and_what_is_explained_are_no_part_of_the_key(folders):
    one, copy, _ = folders
    assert identity(one) == identity(copy) == identity(copy, "dataset.limit=2", "dataset.seed=4")
    assert str(one) not in str(identity(one))


def test_what_the_background_shows_is_part_of_the_key(folders):
    one, _, other = folders
    assert identity(one) != identity(other)
    assert identity(one)["method_data"] != identity(other)["method_data"]
    assert identity(one) != identity(one, "method.background.seed=1")


def test_a_method_without_images_of_its_own_has_the_key_it_had(folders):
    found = Cell.open(settings(folders[0])).identity
    assert "method_data" not in found
