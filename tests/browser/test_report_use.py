"""The report as people use it: pointer, finger, keys, a phone, the dark, paper, a screen reader."""

import itertools
import re
from pathlib import Path

import pytest
from chromium import Tab

pytestmark = pytest.mark.slow

TIP = "document.querySelector('.tip.on')?.innerText"
FIRST_MARK = """(() => {
  const box = document.querySelector("#figure-attribution .marks rect");
  box.scrollIntoView({ block: "center", behavior: "instant" });
  const at = box.getBoundingClientRect();
  return [at.x + at.width / 2, at.y + at.height / 2];
})()"""
TEXTS = """(() => {
  const channels = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => {
    const [r, g, b] = channels(color).map((c) => c / 255)
      .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const paper = (element) => {
    const patch = element.closest('svg g[id*="text_"]')?.querySelector("path");
    if (patch && getComputedStyle(patch).fill !== "none") return getComputedStyle(patch).fill;
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if ((channels(color)[3] ?? 1) > 0) return color;
    }
    return "rgb(255, 255, 255)";
  };
  document.querySelectorAll("details").forEach((folded) => { folded.open = true; });
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement, style = getComputedStyle(element);
    const isSeen = node.data.trim() && !element.closest("script, style, title, .tip")
      && element.checkVisibility();
    if (!isSeen) continue;
    const ink = element.closest("svg") ? style.fill : style.color;
    const [a, b] = [light(ink), light(paper(element))].sort((x, y) => y - x);
    found.push([(a + 0.05) / (b + 0.05), node.data.trim().slice(0, 40), ink, paper(element)]);
  }
  return found;
})()"""


def middle_of_first_mark(tab: Tab) -> tuple[float, float]:
    """Return where in the window the first mark of the first figure is."""
    x, y = tab.run(FIRST_MARK)
    return float(x), float(y)


def test_a_mark_under_the_pointer_tells_its_value_and_number(tab: Tab, report: Path) -> None:
    tab.open(report.as_uri())

    tab.point(*middle_of_first_mark(tab))

    name, value, number = tab.wait_for(TIP).split("\n")
    assert name == "pooled, λ 10 · class term"
    assert value == "+1.50 points"
    assert number == "n = 2 seeds"
    tab.point(5, 5)
    tab.wait_for(f"!({TIP})")


def test_a_finger_tells_a_mark_and_hides_it_again(tab: Tab, report: Path) -> None:
    tab.size(390, 844, is_phone=True)
    tab.open(report.as_uri())

    tab.tap(*middle_of_first_mark(tab))

    assert "class term" in tab.wait_for(TIP)
    tip = tab.run("document.querySelector('.tip').getBoundingClientRect().toJSON()")
    assert tip["left"] >= 0
    assert tip["right"] <= 390
    tab.tap(200, 5)
    tab.wait_for(f"!({TIP})")


def test_keys_walk_over_the_marks_of_a_figure(tab: Tab, report: Path) -> None:
    tab.open(report.as_uri())
    tab.run("document.querySelector('#figure-attribution .scroll').focus()")

    told = []
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "End", "Home"):
        tab.press(key)
        told.append(tab.wait_for(TIP))

    assert told[0] == told[2] == told[4]
    assert len({told[0], told[1], told[3]}) == 3
    tab.press("Escape")
    tab.wait_for(f"!({TIP})")


def test_every_figure_has_marks_and_says_what_it_shows_with_numbers(tab: Tab, report: Path) -> None:
    tab.open(report.as_uri())

    figures = tab.run("""[...document.querySelectorAll("figure svg")].map((svg) =>
      [svg.getAttribute("role"), svg.getAttribute("aria-label"),
       svg.querySelectorAll(".marks rect").length])""")

    assert len(figures) == 6
    for role, label, num_marks in figures:
        assert role == "img"
        assert re.search(r"\d", label)
        assert len(label) > 60
        assert num_marks > 5


def test_every_mark_lies_within_its_drawing(tab: Tab, report: Path) -> None:
    tab.open(report.as_uri())

    outside = tab.run("""[...document.querySelectorAll("figure svg")].flatMap((svg) => {
      const frame = svg.getBoundingClientRect();
      return [...svg.querySelectorAll(".marks rect")].map((box) => box.getBoundingClientRect())
        .filter((box) => box.left < frame.left - 9 || box.right > frame.right + 9
          || box.top < frame.top - 9 || box.bottom > frame.bottom + 9).map((box) => box.toJSON());
    })""")

    assert outside == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_of_its_paper(tab: Tab, report: Path, scheme: str) -> None:
    tab.show(scheme=scheme)
    tab.open(report.as_uri())

    texts = tab.run(TEXTS)

    assert len(texts) > 300
    assert [text for text in texts if text[0] < 4.5] == []


def test_a_pale_text_is_caught(tab: Tab, report: Path) -> None:
    tab.open(report.as_uri())
    tab.run("document.querySelector('h1').style.color = '#7f8894'")

    assert [text[1] for text in tab.run(TEXTS) if text[0] < 4.5] == [
        "Less memorization, or another learning r"
    ]


@pytest.mark.parametrize("width", [390, 320])
def test_a_narrow_page_scrolls_in_one_direction_only(tab: Tab, report: Path, width: int) -> None:
    tab.size(width, 844, is_phone=True)
    tab.open(report.as_uri())
    tab.run("document.querySelectorAll('details').forEach((folded) => { folded.open = true; })")

    assert tab.run("document.documentElement.scrollWidth") <= width
    captions = tab.run("""[...document.querySelectorAll("caption span")].map((span) =>
      span.getBoundingClientRect().right)""")
    assert max(captions) <= width


def test_headings_descend_in_order_and_the_page_can_be_skipped(tab: Tab, report: Path) -> None:
    tab.open(report.as_uri())

    levels = tab.run("""[...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].map((heading) =>
      Number(heading.tagName[1]))""")
    tab.press("Tab")

    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert tab.run("document.documentElement.lang") == "en"
    assert tab.run("document.activeElement.textContent") == "Skip to the verdict"
    assert tab.run("document.activeElement.getBoundingClientRect().top") >= 0


def test_tables_are_sorted_by_the_keyboard(tab: Tab, report: Path) -> None:
    tab.open(report.as_uri())
    tab.run("document.querySelector('#tables thead button').focus()")

    for _ in range(3):
        tab.press("Tab")
    tab.press("Enter")

    head = "document.activeElement.closest('th')"
    assert tab.run(f"{head}.getAttribute('aria-sort')") == "ascending"
    column = tab.run(f"""[...{head}.closest("table").tBodies[0].rows].map((row) =>
      Number(row.cells[{head}.cellIndex].textContent.replace("\\u2212", "-")))""")
    assert column == sorted(column)
    assert column[0] < column[-1]


def test_paper_is_white_whatever_the_scheme_with_all_opened_and_no_controls(
    tab: Tab, report: Path
) -> None:
    tab.show(scheme="dark", media="print")
    tab.open(report.as_uri())

    is_seen = "[...document.querySelectorAll('{}')].map((element) => element.checkVisibility())"
    assert tab.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    for control in ("nav", ".skip", ".hint", "figcaption a[download]"):
        assert set(tab.run(is_seen.format(control))) == {False}
    heights = tab.run("""[...document.querySelectorAll("details:not([open]) table")].map((table) =>
      table.getBoundingClientRect().height)""")
    assert len(heights) >= 3
    assert min(heights) > 20
    assert min(texts[0] for texts in tab.run(TEXTS)) >= 4.5


def test_the_page_prints_and_folds_again(tab: Tab, report: Path, tmp_path: Path) -> None:
    tab.open(report.as_uri())
    folded = "document.querySelectorAll('details:not([open])').length"
    before = tab.run(folded)

    tab.print_to(tmp_path / "report.pdf")

    printed = (tmp_path / "report.pdf").read_bytes()
    assert printed.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) >= 4
    assert tab.run(folded) == before > 0


def test_nothing_moves_for_who_prefers_less_motion(tab: Tab, report: Path) -> None:
    tab.show(motion="reduce")
    tab.open(report.as_uri())

    assert tab.run("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    assert tab.run("getComputedStyle(document.querySelector('.tip')).transitionDuration") == "0s"


def test_the_console_stays_empty_and_nothing_is_asked_for(tab: Tab, report: Path) -> None:
    tab.open(report.as_uri())
    tab.point(*middle_of_first_mark(tab))
    tab.wait_for(TIP)

    assert tab.complaints == []
    assert {url for url in tab.requests if not url.startswith("data:")} == {report.as_uri()}
