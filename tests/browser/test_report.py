"""The report in a real browser: figures are drawn, in light and dark, and nothing is fetched."""

import base64
import http.server
import json
import re
import subprocess
import threading
from pathlib import Path
from typing import ClassVar

import polars as pl
import pytest
from chromium import QUIET
from report_frames import LEVELS

from analysis.canvas import ARM_COLORS

pytestmark = pytest.mark.slow


@pytest.fixture
def browse(tmp_path, chromium):
    """Return a function that opens a page in Chromium with further flags; gives its stdout."""

    def open_page(page: str, *flags: str) -> str:
        profile = f"--user-data-dir={tmp_path / 'profile'}"
        command = [chromium, *QUIET, profile, *flags, page]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        return done.stdout

    return open_page


def count_pixels(path, color: str) -> int:
    """Return how many pixels of a PNG have this colour, up to one level in 32."""
    from matplotlib.image import imread

    wanted = [int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    return int((abs(imread(path)[..., :3] - wanted).max(axis=-1) < 1 / 32).sum())


def test_report_is_parsed_with_all_its_figures_and_sections(report, browse):
    page = browse(report.as_uri(), "--dump-dom")

    assert page.count("<figure id=") == page.count("<svg ") == 6
    for section in ("verdict", "trials", "figures", "tables", "methods", "reading", "terms"):
        assert f'<section id="{section}"' in page


@pytest.mark.parametrize(
    ("scheme", "paper"), [("light", "#fdfefe"), ("dark", "#171b21")], ids=["light", "dark"]
)
def test_report_draws_every_arm_on_its_paper(report, browse, tmp_path, scheme, paper):
    screenshot = tmp_path / "report.png"
    setting = f"--blink-settings=preferredColorScheme={int(scheme == 'light')}"

    browse(report.as_uri(), setting, f"--screenshot={screenshot}", "--window-size=1100,5000")

    for color in (ARM_COLORS[arm] for arm in LEVELS):
        assert count_pixels(screenshot, color) > 200
    assert count_pixels(screenshot, paper) > 1_000_000


@pytest.fixture
def serve():
    """Return a function that serves pages on loopback by path; gives its address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Pages) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()

        def start(pages: dict[str, bytes]) -> str:
            _Pages.pages = pages
            return f"http://127.0.0.1:{server.server_port}"

        yield start
        server.shutdown()
        thread.join()


class _Pages(http.server.BaseHTTPRequestHandler):
    pages: ClassVar[dict[str, bytes]] = {}

    def do_GET(self) -> None:
        content = self.pages.get(self.path, b"")
        self.send_response(200 if content else 404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


def requested(browse, address: str, log: Path) -> set[str]:
    """Return the addresses that the page asked for, as Chromium's network log has them."""
    flags = (f"--log-net-log={log}", "--dump-dom", "--dns-over-https-mode=off")
    browse(f"{address}/page.html", *flags)
    record = json.loads(log.read_text())
    start = record["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    began = [event.get("params", {}) for event in record["events"] if event["type"] == start]
    requests = [params for params in began if "url" in params]
    return {
        request["url"]
        for request in requests
        if request["url"].startswith(address) or request["initiator"] == address
    }


def test_report_sends_no_request(report, browse, serve, tmp_path):
    address = serve({"/page.html": report.read_bytes()})

    urls = requested(browse, address, tmp_path / "net.json")

    assert urls - {f"{address}/favicon.ico"} == {f"{address}/page.html"}


CLICKS = """<script>
for (const [column, times] of [[2, 1], [3, 2]]) {
  const table = document.querySelector("table.sortable");
  for (let i = 0; i < times; i++) table.tHead.rows[0].cells[column].querySelector("button").click();
  const texts = [...table.tBodies[0].rows].map((row) => row.cells[column].textContent);
  table.insertAdjacentHTML("afterend", `<output>${JSON.stringify(texts)}</output>`);
}
</script>"""


def without_policy(page: str) -> str:
    """Return the page as it is where any script may run."""
    return re.sub(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", "", page)


def test_tables_are_sorted_by_a_click_up_and_down_numbers_by_value(report, browse, serve):
    page = without_policy(report.read_text()).replace("</body>", f"{CLICKS}</body>")
    address = serve({"/page.html": page.encode()})

    dom = browse(f"{address}/page.html", "--dump-dom")

    found = [json.loads(text) for text in re.findall(r"<output>(\[.*?)</output>", dom)]
    estimates, effects = found  # the later one stands first
    assert effects == sorted(effects)
    assert effects[0] != effects[-1]
    numbers = [float(text.replace("−", "-")) for text in estimates]
    assert numbers == sorted(numbers, reverse=True)
    assert numbers[0] > numbers[-1]
    assert 'aria-sort="descending"' in dom


def test_policy_lets_the_reports_own_script_run_and_no_other(report, browse, serve):
    foreign = "<script>document.title = 'owned';</script></body>"
    page = report.read_text().replace("</body>", foreign)
    address = serve({"/page.html": page.encode()})

    dom = browse(f"{address}/page.html", "--dump-dom")

    assert '<button type="button">estimator</button>' in dom
    assert "<title>owned</title>" not in dom


def test_data_of_a_figure_can_be_saved_as_it_was_drawn(report, browse):
    dom = browse(report.as_uri(), "--dump-dom")

    links = re.findall(r'<a download="([^"]+)\.csv" href="data:[^,]*;base64,([^"]+)"', dom)
    assert len(links) == 6
    for name, content in links:
        saved = pl.read_csv(base64.b64decode(content))
        drawn = pl.read_parquet(report.parent / "figures" / f"{name}.parquet")
        assert (saved.columns, len(saved)) == (drawn.columns, len(drawn))


def test_a_page_that_fetches_is_caught(browse, serve, tmp_path):
    address = serve({"/page.html": b"<img src='/a.png'><img src='http://nowhere.invalid/b.png'>"})

    urls = requested(browse, address, tmp_path / "net.json")

    assert {f"{address}/a.png", "http://nowhere.invalid/b.png"} <= urls
