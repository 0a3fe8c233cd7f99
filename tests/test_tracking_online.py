"""What is sent to Weights & Biases, and what becomes of it where the server does not answer."""

import json
import socket

import cells
import pandas as pd
import pytest
import wandb
from wandb_server import Server

from benchmark import tracking
from benchmark.show import Screen
from benchmark.tracking import Mode, Tracking, log_run


@pytest.fixture
def account(monkeypatch):
    """Sets whom runs are sent to; wandb reads it once in a process."""

    def choose(url):
        monkeypatch.setenv("WANDB_BASE_URL", url)
        monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
        wandb.teardown()

    yield choose
    wandb.teardown()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("online")
    cells.make_images(folder / "images", count=4)
    cells.make_conf(folder / "conf")
    return folder


def sync(folder, *more):
    return ["tracking", "--sync", str(folder), "wandb.mode=online", *more]


def table_of(server, name):
    (file,) = (each for each in server.uploads if each.startswith(f"media/table/{name}_"))
    told = json.loads(server.uploads[file])
    return pd.DataFrame(told["data"], columns=told["columns"])


def test_an_online_run_reaches_the_server_with_settings_means_and_tables(
    place, account, tmp_path, monkeypatch, capsys
):
    started, _ = cells.start(place, "res=8", "metric=[deletion,insertion,pointing]")
    with Server() as server:
        account(server.url)
        options = ["wandb.project=mine", "wandb.tags=[first]", f"wandb.folder='{tmp_path}'"]
        monkeypatch.setattr("sys.argv", sync(started.folder.path, *options))
        assert tracking.main() == 0
        ((name, run),) = server.runs.items()
        assert f"Weights & Biases: {server.url}/me/mine/runs/{name}" in capsys.readouterr().out
        assert (run["project"], run["displayName"], run["tags"], run["jobType"]) == (
            "mine",
            "toy at 8 x 8",
            ["first"],
            "cell",
        )
        config = json.loads(run["config"])
        assert config["settings"]["value"]["method"]["_target_"] == "cells.Toy"
        assert config["weights"]["value"] == "seed 0"
        rows = started.folder.stage(started.stages["deletion"]).rows
        mean = json.loads(server.streamed["wandb-summary.json"][-1])["deletion"]
        assert mean["mean"] == pytest.approx(sum(row["value"] for row in rows.values()) / 4)
        assert mean["low"] < mean["mean"] < mean["high"] and mean["n"] == 4
        assert table_of(server, "per_image").set_index("id")["deletion"].to_dict() == {
            image_id: row["value"] for image_id, row in rows.items()
        }
        assert f"records-{started.folder.path.name}" in server.artifacts
        before = dict(server.uploads)
        monkeypatch.setattr("sys.argv", sync(started.folder.path, *options))
        assert tracking.main() == 0
        assert "logged already to Weights & Biases: http" in capsys.readouterr().out
        assert server.uploads == before


def test_a_server_that_cannot_be_reached_costs_no_result_and_is_made_good_later(
    place, account, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(tracking, "ANSWER", 1)
    with socket.socket() as nobody:  # a port that no server listens at
        nobody.bind(("127.0.0.1", 0))
        account(f"http://127.0.0.1:{nobody.getsockname()[1]}")
        more = ["res=7", "wandb.mode=online", f"wandb.folder='{tmp_path}'"]
        Screen().run(cells.settings(place, *more))
    said = capsys.readouterr().out
    (run,) = (place / "results").glob("*/*/toy-7-*")
    assert "written to" in said and (run / "per_image.csv").exists()
    (line,) = (each for each in said.splitlines() if "Weights & Biases" in each)
    assert line.startswith("not logged to Weights & Biases: CommError: ")
    with Server() as server:
        account(server.url)
        monkeypatch.setattr(tracking, "ANSWER", 30)
        monkeypatch.setattr("sys.argv", sync(run, f"wandb.folder='{tmp_path}'"))
        assert tracking.main() == 0
        assert "Weights & Biases: http" in capsys.readouterr().out
        assert len(table_of(server, "per_image")) == 4


def test_a_server_that_goes_away_meanwhile_is_not_waited_for_for_ever(
    place, account, tmp_path, monkeypatch
):
    started, _ = cells.start(place, "res=6", "metric=[pointing]")
    monkeypatch.setattr(tracking, "UPLOAD", 1)
    given = {"mode": Mode.online, "project": "p", "entity": None, "group": None, "name": None}
    given |= {"tags": [], "images": 0, "folder": str(tmp_path)}
    with Server() as server:
        account(server.url)

        def leave(*_):
            server.gone = True

        monkeypatch.setattr("benchmark.tracked.log_cell", leave)
        line = log_run(Tracking(**given), started.folder, *started.folder.starts()[-1])
    assert line.startswith("not logged to Weights & Biases: TimeoutError: ")
