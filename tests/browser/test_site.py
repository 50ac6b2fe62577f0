"""The documentation as pages: built strictly, fetching nothing, searched when opened from disk."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
OUTSIDE = re.compile(r"<(?:script|link|img|iframe)[^>]+(?:src|href)=\"?(?:https?:)?//[^>]*>")
"""What makes a browser fetch something from elsewhere."""

QUIET = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Return the folder of the built pages."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]

    built = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)

    assert built.returncode == 0, built.stderr
    return folder


def test_site_has_a_page_for_every_document_and_asks_nothing_from_outside(site):
    pages = list(site.rglob("*.html"))

    documents = {
        path.relative_to(ROOT / "docs").with_suffix("") for path in (ROOT / "docs").rglob("*.md")
    }
    assert documents <= {page.relative_to(site).with_suffix("") for page in pages}
    assert not [found for page in pages for found in OUTSIDE.findall(page.read_text("utf-8"))]


def test_site_links_to_files_outside_the_docs(site):
    for path in ("SECURITY.html", "deploy/index.html", "deploy/slurm/sweep.sbatch"):
        assert (site / path).is_file(), path

    assert 'href="../deploy/slurm/sweep.sbatch"' in (site / "guides/cluster.html").read_text(
        "utf-8"
    )


def test_site_is_searched_when_opened_from_disk(site, tmp_path):
    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = next(filter(None, map(shutil.which, names)), None)
    if chromium is None:
        pytest.skip("there is no Chromium to open the site in")
    flags = (*QUIET, f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=30000")
    address = f"{(site / 'index.html').as_uri()}?q=rescaled"

    command = [chromium, *flags, "--dump-dom", address]
    page = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout

    assert re.search(r"md-search-result__meta\">\d+ matching documents", page)
