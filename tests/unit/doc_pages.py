"""The pages that people read, and what stands in them: links, headings, code, command lines."""

import re
from collections.abc import Iterator
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
GUIDES = sorted((ROOT / "docs/guides").glob("*.md"))
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
    ROOT / "deploy/README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]


def name_of(page: Path) -> str:
    """Return a page's path in the repository."""
    return page.relative_to(ROOT).as_posix()


def tokens(page: Path) -> Iterator[Token]:
    """Yield the parts of a page, those within lines included."""
    for token in MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8")):
        yield token
        yield from token.children or ()


def links(page: Path) -> list[str]:
    """Return the targets of a page's links and images that lead to files of the repository."""
    found = (token.attrGet("href") or token.attrGet("src") for token in tokens(page))
    return [str(link) for link in found if link and not re.match(r"[a-z]+:", str(link))]


def anchors(page: Path) -> set[str]:
    """Return the names by which a code host reaches a page's headings."""
    parts = list(tokens(page))
    headings = [
        parts[index + 1].content
        for index, token in enumerate(parts)
        if token.type == "heading_open"
    ]
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def command_lines(page: Path) -> list[tuple[str, bool]]:
    """Return calls of `rlp-sweeps` on a page, and whether each is to be typed as it stands.

    Those within a sentence may leave arguments out. Remarks behind a line are cut off, and what
    the shell does with its output.
    """
    found = []
    for token in tokens(page):
        is_block = token.type == "code_block" or (token.type == "fence" and not token.info)
        if is_block or token.type == "code_inline":
            lines = _whole_lines(token.content)
            found += [(_cut(line), is_block) for line in lines if _CALL.match(line)]
    return found


def _whole_lines(text: str) -> list[str]:
    """Return lines as a shell reads them: a backslash or an open quote goes on in the next."""
    return [
        match[0].replace("\\\n", " ").replace("\n", " ")
        for match in re.finditer(r'(?:"[^"]*"|\\\n|[^"\n])+', text)
    ]


_CALL = re.compile(r"(\s*|while )rlp-sweeps [a-z]")


def _cut(line: str) -> str:
    line = line[line.index("rlp-sweeps ") :]
    return re.split(r"\s{2,}(?!--)|\s[#|>&]|;", line)[0].strip()
