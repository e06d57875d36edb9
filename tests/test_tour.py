"""The notebook of the tour runs, and finds the numbers that it shows."""

import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

TOUR = Path(__file__).parents[1] / "docs" / "tour.ipynb"


def shown(cell):
    """The text that a cell has printed or returned, and whether it drew a picture."""
    text = "".join(
        output.get("text", "") or output.get("data", {}).get("text/plain", "")
        for output in cell.outputs
        if "image/png" not in output.get("data", {})
    )
    return text, sum("image/png" in output.get("data", {}) for output in cell.outputs)


@pytest.fixture(scope="module")
def tour():
    return nbformat.read(TOUR, as_version=4)


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """The notebook as it runs here, in an empty folder."""
    folder = tmp_path_factory.mktemp("tour")
    copy = nbformat.read(shutil.copy(TOUR, folder), as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        patch.setenv("JUPYTER_PLATFORM_DIRS", "1")
        # Raises where a cell errs.
        NotebookClient(copy, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return copy


def test_every_cell_says_what_is_committed(tour, executed):
    pairs = [
        (was, now) for was, now in zip(tour.cells, executed.cells, strict=True)
        if was.cell_type == "code"
    ]  # fmt: skip
    assert len(pairs) >= 10
    for was, now in pairs:
        assert shown(now) == shown(was), was.source


def test_what_is_committed_was_run_from_top_to_bottom(tour):
    cells = [cell for cell in tour.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert sum(shown(cell)[1] for cell in cells) == 1
    assert not [cell for cell in cells if "execution" in cell.metadata]  # no times of day
    text = "".join(shown(cell)[0] for cell in cells)
    assert "GridWorld, 4 clients, 5 seeds" in text
    assert "\n mine:rule " in text
    assert TOUR.stat().st_size < 100_000
