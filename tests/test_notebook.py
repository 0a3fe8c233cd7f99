"""The example notebook runs, and shows what it says."""

import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent


def test_the_notebook_runs_and_shows_a_figure_and_the_stored_scores(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    notebook = nbformat.read(ROOT / "docs" / "example.ipynb", as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(ROOT)}}).execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = [set().union(*(each.get("data", {}) for each in cell.outputs)) for cell in code]
    assert "digit" in code[0].outputs[-1].data["text/plain"]
    assert "'integrated_gradients': (1, 224, 224)" in code[1].outputs[0].text
    assert "image/png" in shown[2], "heatmaps and curves are drawn"
    assert "text/html" in shown[3], "the stored run is a table"
    assert "mean" in code[4].outputs[-1].data["text/plain"]
