"""The documentation: links lead somewhere, code runs, command lines are those of this version."""

import shlex
import shutil
import subprocess
import sys
from urllib.parse import unquote

import matplotlib as mpl
import pytest
import typer
from doc_pages import GUIDES, PAGES, ROOT, anchors, command_lines, links, name_of, tokens
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

from analysis.tables import analyze
from rlp_sweeps.cli import app

PROGRAM = typer.main.get_command(app)
EXAMPLES = ROOT / "docs/examples"
PAGES_WITH_CODE = [ROOT / "README.md", *GUIDES, *sorted((ROOT / "docs/reference").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_and_headings(page):
    for link in links(page):
        path, _, anchor = unquote(link).partition("#")
        target = page.parent / path if path else page

        assert target.resolve().is_relative_to(ROOT), link
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Return a folder in which runs/first is an analyzed sweep."""
    folder = tmp_path_factory.mktemp("study")
    shutil.copytree(ROOT / "tests/contract/golden_v1", folder / "runs/first")
    with mpl.rc_context():
        analyze([folder / "runs/first"])
    return folder


@pytest.mark.parametrize("page", PAGES_WITH_CODE, ids=name_of)
def test_python_blocks_run_one_after_the_other(page, study, monkeypatch, capsys):
    monkeypatch.chdir(study)
    document = Sybil([PythonCodeBlockParser(), SkipParser()]).parse(page)

    for example in document.examples():
        example.evaluate()

    if page.name == "querying.md":
        assert capsys.readouterr().out.count("control") >= 4


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_command_lines_parse(page):
    for line, is_whole in command_lines(page):
        check_command_line(line, is_whole=is_whole)


def check_command_line(line, *, is_whole):
    name, *arguments = shlex.split(line)[1:]
    command = PROGRAM.get_command(None, name)
    assert command is not None, line
    if "--help" in arguments:
        return
    refusal = ""
    try:
        command.make_context(name, arguments)
    except typer.TyperException as error:
        refusal = str(error)
    is_cut_short = "Missing parameter" in refusal or "requires an argument" in refusal
    assert not refusal or (is_cut_short and not is_whole), f"{line}: {refusal}"


def test_readme_and_first_study_show_command_lines_at_all():
    pages = [ROOT / "README.md", ROOT / "docs/guides/first_study.md"]

    assert min(sum(is_whole for _, is_whole in command_lines(page)) for page in pages) >= 10


@pytest.mark.parametrize(
    "line",
    ["rlp-sweeps run quickstart --num-sedes 3", "rlp-sweeps runn quickstart", "rlp-sweeps resume"],
)
def test_command_lines_of_another_version_are_noticed(line):
    with pytest.raises(AssertionError, match=line):
        check_command_line(line, is_whole=True)


def test_command_line_reference_is_up_to_date():
    module = [sys.executable, "-m", "typer", "rlp_sweeps.cli.app", "utils", "docs"]
    printed = subprocess.run(
        [*module, "--name", "rlp-sweeps"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout

    assert printed == (ROOT / "docs/reference/cli.md").read_text(), "run `make docs`"


def test_guide_shows_the_example_files_as_they_are():
    shown = [token.content for token in tokens(ROOT / "docs/guides/own_code.md")]

    for path in EXAMPLES.glob("*.py"):
        assert path.read_text() in shown, path.name
