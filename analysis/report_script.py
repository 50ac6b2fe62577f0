"""The report's one script: it makes tables sortable. Without scripts the page says the same.

It stands in the page, which fetches nothing; the page's policy allows this script by its hash and
no other.
"""

import base64
import hashlib

SCRIPT = """
"use strict";
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


def hash_of(script: str) -> str:
    """Return a script's hash as a content security policy names it (CSP Level 3, section 2.3.1)."""
    digest = hashlib.sha256(script.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
