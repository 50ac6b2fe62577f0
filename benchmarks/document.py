"""Write a measured table into docs/performance.md, between its markers.

    python -m benchmarks --output FILE
    python -m benchmarks.document FILE [FILE ...]

Several files (for example one of a CPU and one of a GPU) become one table each, in that order.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks.options import ROOT
from benchmarks.table import Table

PAGE = ROOT / "docs" / "performance.md"
BEGIN = "<!-- begin: python -m benchmarks.document -->"
END = "<!-- end: python -m benchmarks.document -->"


def with_tables(page: str, tables: Sequence[Table]) -> str:
    """Return the page with these tables between its markers, and nothing else there.

    Raises:
        ValueError: The page does not hold both markers once, in this order.
    """
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        msg = f"a page must hold {BEGIN!r} and then {END!r}, once each."
        raise ValueError(msg)
    head, _, rest = page.partition(BEGIN)
    tail = rest.partition(END)[2]
    content = "\n".join(table.to_markdown() for table in tables)
    return f"{head}{BEGIN}\n\n{content}\n{END}{tail}"


def main() -> None:
    """Rewrite the table section of the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--page", type=Path, default=PAGE)
    arguments = parser.parse_args()
    tables = [Table.from_json(path.read_text(encoding="utf-8")) for path in arguments.files]
    page = with_tables(arguments.page.read_text(encoding="utf-8"), tables)
    arguments.page.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
