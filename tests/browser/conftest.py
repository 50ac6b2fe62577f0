"""What every browser test needs: Chromium, a tab of it, and a report to look at."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import Tab, find_chromium, open_tab
from report_frames import write_sweep

from analysis.tables import analyze


@pytest.fixture(scope="session")
def chromium() -> str:
    """Return where Chromium is."""
    found = find_chromium()
    if found is None:
        pytest.skip("there is no Chromium to open a page in")
    return found


@pytest.fixture
def tab(chromium: str, tmp_path: Path) -> Iterator[Tab]:
    """Return a tab of a browser of its own, 1200 pixels wide."""
    with open_tab(chromium, tmp_path / "profile") as opened:
        opened.size(1200)
        yield opened


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the report of a small sweep with epochs."""
    directory = tmp_path_factory.mktemp("sweep")
    write_sweep(directory)
    analyze([directory])
    return directory / "analysis" / "report.html"
