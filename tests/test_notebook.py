"""The notebook runs from its first cell to its last, and is stored without outputs."""

import re
from pathlib import Path

import nbformat
import pytest

NOTEBOOK = Path(__file__).parent.parent / "notebooks" / "quickstart.ipynb"
SETTINGS = "ROWS, SETTINGS = 5000, CTGAN()"
FEW = "ROWS, SETTINGS = 600, CTGAN(critic_steps=2, warm_steps=2, generator_width=16)"


def test_the_notebook_runs(tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))  # nobody's own settings
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (cell,) = [cell for cell in notebook.cells if SETTINGS in cell.source]
    cell.source = cell.source.replace(SETTINGS, FEW)
    client = nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    written = "".join(
        str(output.get("text", "")) + str(output.get("data", ""))
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )
    assert "600 SIMULATED clinic visits" in written
    assert "independent columns" in written
    assert "epsilon" in written
    assert "UserWarning" not in written
    (shown,) = re.findall(r"<iframe title=.tabsynth inside report. srcdoc=(.*?)></iframe>", written)
    for heading in ("INSIDE: do not publish.", "Who was in it: the attacks in full", "All numbers"):
        assert heading in shown


def test_the_notebook_is_stored_bare():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
