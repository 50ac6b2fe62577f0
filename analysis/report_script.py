"""The report's one script: tables that sort, marks that tell their values, a whole page in print.

It stands in the page, which fetches nothing; the page's policy allows this script by its hash and
no other. Without scripts the page says the same: tables stand in their order, marks tell their
values as titles, and the printed page opens what is folded by its style.
"""

import base64
import hashlib

SORTING = """
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const read = (row, column) => row.cells[column].textContent.trim();
  const number = (text) => {
    const found = /^[<>≤≥ ]*([+-]?[0-9.]+(e[+-]?[0-9]+)?)/i.exec(
      text.replaceAll("\\u2212", "-").replaceAll(",", ""));
    return found ? Number(found[1]) : NaN;
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      const rows = [...body.rows];
      const filled = rows.filter((row) => read(row, column) !== "–");
      const numeric = filled.every((row) => !Number.isNaN(number(read(row, column))));
      const compare = (a, b) => numeric
        ? number(read(a, column)) - number(read(b, column))
        : read(a, column).localeCompare(read(b, column), undefined, { numeric: true });
      filled.sort((a, b) => sign * compare(a, b));
      const empty = rows.filter((row) => read(row, column) === "–");
      body.append(...filled, ...empty);
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
    });
  });
}
"""
"""Puts a button into every column's head: ascending, then descending; "–" stays last."""

TELLING = """
const tip = document.body.appendChild(document.createElement("div"));
tip.className = "tip";
tip.setAttribute("role", "status");
let told = null;
const place = () => {
  if (!told) return;
  const at = told.box.getBoundingClientRect(), size = tip.getBoundingClientRect();
  const left = at.left + at.width / 2 - size.width / 2;
  const above = at.top - size.height - 6;
  tip.style.left = `${Math.max(8, Math.min(left, innerWidth - size.width - 8))}px`;
  tip.style.top = `${above < 8 ? at.bottom + 6 : above}px`;
};
const tell = (mark) => {
  if (mark === told) return;
  if (told) told.box.classList.remove("told");
  told = mark;
  tip.classList.toggle("on", Boolean(mark));
  tip.replaceChildren(...(mark ? mark.text.split("\\n") : []).map((line) => {
    const element = document.createElement("div");
    element.textContent = line;
    return element;
  }));
  if (mark) mark.box.classList.add("told");
  place();
};
const gap = (at, low, high) => Math.max(low - at, at - high, 0);
for (const layer of document.querySelectorAll("figure .marks")) {
  const svg = layer.ownerSVGElement, frame = svg.closest(".scroll");
  const marks = [...layer.querySelectorAll("rect")].map((box) => {
    const [x, y, width, height] =
      ["x", "y", "width", "height"].map((name) => box[name].baseVal.value);
    const title = box.querySelector("title"), text = title.textContent;
    title.remove();
    return { box, text, left: x + 5, right: x + width - 5, top: y + 5, bottom: y + height - 5 };
  });
  const nearest = (event) => {
    const to = new DOMPoint(event.clientX, event.clientY)
      .matrixTransform(svg.getScreenCTM().inverse());
    let found = null, least = 14;
    for (const mark of marks) {
      const away = Math.hypot(
        gap(to.x, mark.left, mark.right), gap(to.y, mark.top, mark.bottom));
      const off = Math.hypot(
        to.x - (mark.left + mark.right) / 2, to.y - (mark.top + mark.bottom) / 2);
      if (away < 14 && away + off / 1000 < least) [found, least] = [mark, away + off / 1000];
    }
    return found;
  };
  svg.addEventListener("pointermove", (event) => {
    if (event.pointerType !== "touch") tell(nearest(event));
  });
  svg.addEventListener("pointerdown", (event) => tell(nearest(event)));
  svg.addEventListener("pointerleave", (event) => {
    if (event.pointerType !== "touch") tell(null);
  });
  frame.addEventListener("keydown", (event) => {
    const last = marks.length - 1, here = marks.indexOf(told);
    const next = {
      ArrowRight: Math.min(here + 1, last), ArrowDown: Math.min(here + 1, last),
      ArrowLeft: Math.max(here - 1, 0), ArrowUp: Math.max(here - 1, 0), Home: 0, End: last,
    }[event.key];
    if (next === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    tell(marks[next]);
    marks[next].box.scrollIntoView({ block: "nearest", inline: "nearest" });
    place();
  });
  frame.addEventListener("blur", () => tell(null));
}
document.addEventListener("keydown", (event) => { if (event.key === "Escape") tell(null); });
document.addEventListener("pointerdown", (event) => {
  if (!event.target.closest("figure svg")) tell(null);
});
document.addEventListener("scroll", place, { capture: true, passive: true });
for (const hint of document.querySelectorAll(".hint")) hint.hidden = false;
"""
"""Shows the values of the mark nearest to the pointer, to a finger, or where the keys have gone."""

PRINTING = """
const opened = [];
addEventListener("beforeprint", () => {
  tell(null);
  for (const folded of document.querySelectorAll("details:not([open])")) {
    folded.open = true;
    opened.push(folded);
  }
});
addEventListener("afterprint", () => {
  for (const folded of opened.splice(0)) folded.open = false;
});
"""
"""Opens what is folded while the page is printed."""

SCRIPT = f'\n"use strict";{SORTING}{TELLING}{PRINTING}'


def hash_of(script: str) -> str:
    """Return a script's hash as a content security policy names it (CSP Level 3, section 2.3.1)."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
