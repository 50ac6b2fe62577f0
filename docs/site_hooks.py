"""What mkdocs cannot know by itself: pages and files of the repository that lie outside docs/.

Links are written as a code host reads them, from file to file. A page outside docs/ joins the site
under its path in the repository, and so does a file that a page links to.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PAGES = ("SECURITY.md", "CHANGELOG.md", "CONTRIBUTING.md", "deploy/README.md")
"""Pages outside docs/ that are part of the site."""

LINK = re.compile(r"(\]\()([^)\s]+)(\))")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages outside docs/."""
    for path in PAGES:
        files.append(File.generated(config, path, content=(_root(config) / path).read_text()))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links between files of the repository lead to their places in the site."""

    def place(match: re.Match[str]) -> str:
        return match[1] + _link_in_site(match[2], page, config, files) + match[3]

    return LINK.sub(place, markdown)


def _link_in_site(link: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    path, hash_, anchor = link.partition("#")
    if not path or ":" in path:
        return link
    source = page.file.src_uri
    folder = posixpath.dirname(source if source in PAGES else f"docs/{source}")
    target = posixpath.normpath(posixpath.join(folder, path))
    in_site = "index.md" if target == "README.md" else target.removeprefix("docs/")
    if files.get_file_from_path(in_site) is None:
        outside = _root(config) / target
        if target.startswith("docs/") or not outside.is_file():
            return link
        files.append(File.generated(config, in_site, abs_src_path=str(outside)))
    return posixpath.relpath(in_site, posixpath.dirname(source) or ".") + hash_ + anchor


def _root(config: MkDocsConfig) -> Path:
    return Path(config.docs_dir).parent
