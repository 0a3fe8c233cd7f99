import threading
import time
from pathlib import Path

import pytest
import torch

from benchmark.downloads import one_at_a_time

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
