"""Every text that a run directory can hold reaches report and terminal as text, whatever it is."""

import json
import re
import warnings
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest
from analysis_frames import make_epochs, make_trials, where_arm, write_directory
from test_analysis_probes import make_probes

from analysis.canvas import Figure, inline_svg
from analysis.export import to_latex, to_markdown
from analysis.report_tables import Table
from analysis.tables import analyze
from rlp_sweeps.cli import main
from rlp_sweeps.cli.options import say

f = pl.col
VOID = {"meta", "br", "path", "use", "line"}
ATTACK = (
    "</script></style></title></svg>-->]]><script>alert(1)</script><img src=x onerror=alert(1)>"
)
QUOTED = (
    '"\' onmouseover=alert(1) x="javascript:alert(1)" {{7*7}} {%x%} $\\href{a}{b}$ url(#a) id="q"'
)
HOSTILE = f"{ATTACK}{QUOTED}&lt;b&gt;&amp; font: 9px x xmlns:a="
"""Ends every context that a page has, and opens a script in it."""


class Page(HTMLParser):
    """A page as a browser reads it: its elements, their attributes, its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: Counter[str] = Counter()
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements[tag] += 1
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements[tag] += 1
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    """Return the report of a directory in which every free text is hostile."""
    trials = make_trials(
        lrs=(0.1, 0.2),
        lambdas=(1.0, 10.0),
        seeds=(0, 1, 2),
        trial_id=pl.concat_str(pl.lit(HOSTILE), "arm", "lr", "rlp_lambda", "seed", separator="-"),
        status=where_arm("sham", "status", "failed"),
        error=f"Traceback\n\nValueError: {HOSTILE}\n",
        dataset=HOSTILE + f("lr").cast(str),
        backbone=HOSTILE,
        code_version=HOSTILE + f("seed").cast(str),
        hostname=HOSTILE,
        **{f"config_{HOSTILE}": HOSTILE + f("lr").cast(str)},
    )
    directory = write_directory(
        tmp_path_factory.mktemp("hostile") / "run", trials, epochs=make_epochs(trials)
    )
    probes = make_probes(trials.filter(f("status") == "completed"))
    (directory / "probes").mkdir()
    probes.with_columns(attach_point=HOSTILE + f("layer").cast(str)).write_parquet(
        directory / "probes" / "p.parquet"
    )
    claim = {"text": HOSTILE, "source": HOSTILE, "quantity": HOSTILE, "expects": "above"}
    bad, good = HOSTILE, "SELECT seed, AVG(test_accuracy) AS value FROM trials GROUP BY seed"
    plan = {
        "schema_version": 1,
        "sweep_name": HOSTILE,
        "trials": [{"trial_id": HOSTILE, "config": {"arm": HOSTILE, "seed": 9}}],
        "space": {"claims": [{**claim, "measure": m} for m in (bad, good)]},
    }
    (directory / "manifest.json").write_text(json.dumps(plan))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="constrained_layout not applied")  # long names
        analyze([directory])
    return Page((directory / "analysis" / "report.html").read_text(encoding="utf-8"))


def test_a_hostile_text_opens_no_element(page: Page) -> None:
    harmful = {
        "script",
        "img",
        "b",
        "iframe",
        "object",
        "embed",
        "link",
        "base",
        "form",
        "foreignobject",
    }

    assert harmful & set(page.elements) - {"b"} == {"script"}
    assert page.elements["script"] == 1  # the report's own
    assert page.open == []
    assert page.elements["html"] == page.elements["style"] - page.elements["svg"] == 1


def test_a_hostile_text_makes_no_attribute(page: Page) -> None:
    names = {name for name, _ in page.attributes}
    values = [value or "" for _, value in page.attributes]

    assert not [name for name in names if name.startswith("on") or name in {"src", "srcdoc"}]
    addresses = [v for v in values if v.lower().startswith(("javascript:", "data:"))]
    own = re.compile(r"data:text/csv;charset=utf-8;base64,[A-Za-z0-9+/]+=*")  # data of figures
    assert all(own.fullmatch(address) for address in addresses)


@pytest.mark.parametrize("around", ["ValueError: {}", "{}-sham-0.1", "config_{}"])
def test_a_hostile_text_is_shown_as_it_is(page: Page, around: str) -> None:
    assert around.format(HOSTILE) in "".join(page.texts)


def test_a_hostile_text_within_a_drawing_leaves_the_drawing_whole() -> None:
    escaped = HOSTILE.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    svg = (
        f'<?xml version="1.0"?><svg xmlns="x"><g id="a"><text>{escaped}</text></g><g id="b"/></svg>'
    )
    figure = Figure(name="n", title="", caption="", alt=HOSTILE, svg=svg, data=pl.DataFrame())

    drawing = Page(inline_svg(figure))

    assert drawing.elements == {"svg": 1, "g": 2, "text": 1}
    assert drawing.open == []


def test_a_hostile_text_is_a_cell_in_markdown_and_latex() -> None:
    table = Table(
        caption="c", header=("x", f"a|{ATTACK}"), rows=((f"{ATTACK}\n|", r"\input{/etc/passwd}$"),)
    )

    markdown, latex = to_markdown(table), to_latex(table, label="t")

    assert set(Page(markdown).elements) == set()
    assert [line.replace(r"\|", "").count("|") for line in markdown.splitlines()[2:]] == [3, 3, 3]
    assert r"\input" not in latex
    assert r"\textbackslash input\{/etc/passwd\}\$" in latex


HARMFUL = "\x1b]52;c;cm0gLXJm\x07\x1b[2J\x9b31m\u202e"
"""Writes to the clipboard, clears the screen, colours, and turns the direction of writing."""


@pytest.mark.parametrize(
    "command", [["query", "DIR", "SELECT error FROM trials"], ["show", "DIR", "t1"]]
)
def test_a_hostile_text_does_not_command_the_terminal(
    tmp_path: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    trials = make_trials(arms=("control",), seeds=(0,)).with_columns(
        trial_id=pl.lit("t1"), status=pl.lit("failed"), error=pl.lit(f"ValueError: {HARMFUL}")
    )
    directory = write_directory(tmp_path / "run", trials)

    status = main([str(directory) if word == "DIR" else word for word in command])

    shown = capsys.readouterr().out
    assert status == 0
    assert "ValueError: \\x1b]52" in shown
    assert not set(HARMFUL) & set(shown) - set("]52;c;cm0gLXJm[2J31m")


def test_a_sentence_does_not_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"λ {HARMFUL}")

    assert capsys.readouterr().err == (
        "rlp-sweeps: λ \\x1b]52;c;cm0gLXJm\\x07\\x1b[2J\\x9b31m\\u202e\n"
    )
