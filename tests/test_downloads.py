import hashlib
import os
import pickle
import threading
import time
from pathlib import Path

import pytest
import torch

from benchmark.building import build
from benchmark.config import load as settings
from benchmark.downloads import ONLY_WEIGHTS, one_at_a_time, only_weights, verify
from benchmark.errors import BadInput

URL = "https://nowhere.invalid/network-1234.pth"


@pytest.fixture
def asked(monkeypatch):
    """What is downloaded; it takes a while, and nothing is there until the end."""
    urls = []

    def download(url, dst, hash_prefix=None, progress=True):
        urls.append(url)
        time.sleep(0.1)
        torch.save({"weight": torch.ones(2)}, f"{dst}.partial")
        Path(f"{dst}.partial").rename(dst)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    return urls


def load(cache, found):
    found.append(torch.hub.load_state_dict_from_url(URL, str(cache))["weight"].tolist())


def test_of_many_that_want_a_file_one_downloads_it(tmp_path, asked):
    found = []
    plain = torch.hub.download_url_to_file
    with one_at_a_time():
        many = [threading.Thread(target=load, args=(tmp_path, found)) for _ in range(6)]
        for each in many:
            each.start()
        for each in many:
            each.join()
    assert asked == [URL]
    assert found == [[1, 1]] * 6
    assert torch.hub.download_url_to_file is plain


def test_a_file_in_the_cache_is_waited_for_by_nobody(tmp_path, asked):
    torch.save({"weight": torch.zeros(1)}, tmp_path / "network-1234.pth")
    found = []
    with one_at_a_time():
        load(tmp_path, found)
    assert asked == [] and found == [[0]]
    assert [file.name for file in tmp_path.iterdir()] == ["network-1234.pth"]


def test_a_download_that_fails_is_tried_by_the_next(tmp_path, monkeypatch):
    def fails(*given, **named):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fails)
    for _ in range(2):
        with pytest.raises(OSError, match="no network"), one_at_a_time():
            load(tmp_path, [])


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of torch's own layout, where nothing can be downloaded."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    def fails(*given, **named):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fails)
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    return folder


def test_a_file_is_what_its_name_says_or_is_refused(cache):
    content = b"weights"
    digest = hashlib.sha256(content).hexdigest()
    url = f"https://nowhere.invalid/models/network-{digest[:8]}.pth"
    verify(url)  # not there yet
    file = cache / Path(url).name
    file.write_bytes(content)
    verify(url)
    for other in (b"", b"weightS", content + b"\0"):
        file.write_bytes(other)
        with pytest.raises(BadInput, match=f"{file.name} is not what was published"):
            verify(url)


def test_a_file_without_a_hash_in_its_name_is_taken_as_it_is(cache):
    (cache / "network.pth").write_bytes(b"weights")
    verify("https://nowhere.invalid/network.pth")


def test_published_weights_that_were_changed_in_the_cache_are_refused(cache):
    (cache / "squeezenet1_1-b8a52dc0.pth").write_bytes(b"changed")
    source = build(settings("model=squeezenet1_1", "model.weights_root=null").model, "model")
    with pytest.raises(BadInput, match="is not what was published"):
        source.load(torch.device("cpu"))


def test_published_weights_are_read_without_running_what_is_pickled_beside_them(
    cache, tmp_path, monkeypatch
):
    class Harmful:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harmed"),)

    torch.save({"features.0.weight": Harmful()}, cache / "squeezenet1_1-b8a52dc0.pth")
    monkeypatch.setattr("benchmark.model_sources.verify", lambda _: None)
    source = build(settings("model=squeezenet1_1", "model.weights_root=null").model, "model")
    with pytest.raises(pickle.UnpicklingError):
        source.load(torch.device("cpu"))
    assert not (tmp_path / "harmed").exists()


@pytest.mark.parametrize("before", [None, "0"])
def test_only_weights_are_read_within_the_block_and_then_as_before(monkeypatch, before):
    monkeypatch.delenv(ONLY_WEIGHTS, raising=False)
    if before:
        monkeypatch.setenv(ONLY_WEIGHTS, before)
    with only_weights():
        assert os.environ[ONLY_WEIGHTS] == "1"
    assert os.environ.get(ONLY_WEIGHTS) == before
