import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlp_sweeps.errors import SearchSpaceError
from rlp_sweeps.recipes import find_reference, list_recipes, load_space

SPACE = """\"\"\"My study.\"\"\"
from rlp_sweeps.spaces import ChoiceAxis, SearchSpace

SPACE = SearchSpace(
    axes={"lr": ChoiceAxis(choices=(0.1,)), "rlp_lambda": ChoiceAxis(choices=(1,), control=0.0)},
    num_seeds=1,
)
"""


@pytest.fixture(autouse=True)
def _unchanged_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PYTHONPATH", "")
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith(("_search_space_", "studies", "helper")):
            del sys.modules[name]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_list_recipes_names_every_module_of_the_folder() -> None:
    folder = Path(__file__).parents[2] / "search_spaces"

    assert list_recipes() == sorted(p.stem for p in folder.glob("*.py") if p.stem != "__init__")


def test_load_space_finds_a_recipe_by_its_bare_name() -> None:
    named = load_space("quickstart")

    assert named.name == "quickstart"
    assert named.doc.startswith("Digits")
    assert named.num_trials == len(list(named.space.grid()))


def test_number_of_trials_of_a_search_is_points_times_arms_times_seeds() -> None:
    named = load_space("cifar100_optuna")

    assert named.space.search is not None
    assert named.num_trials == named.space.search.num_points * 2 * named.space.num_seeds


def test_load_space_finds_a_dotted_module() -> None:
    assert load_space("search_spaces.quickstart").space == load_space("quickstart").space


def test_load_space_finds_a_dotted_module_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "studies" / "first.py", SPACE)
    monkeypatch.chdir(tmp_path)

    named = load_space("studies.first")

    assert (named.name, named.doc) == ("first", "My study.")


def test_load_space_finds_a_file_and_what_stands_beside_it(tmp_path: Path) -> None:
    write(tmp_path / "helper_of_first.py", "NUM_SEEDS = 7\n")
    text = SPACE.replace("num_seeds=1", "num_seeds=NUM_SEEDS")
    path = write(tmp_path / "first.py", "from helper_of_first import NUM_SEEDS\n" + text)

    named = load_space(str(path))

    assert (named.name, named.space.num_seeds) == ("first", 7)
    assert os.environ["PYTHONPATH"] == str(tmp_path)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("quickstat", r"^no recipe 'quickstat'; did you mean 'quickstart'\?$"),
        ("zzz", r"^no recipe 'zzz'; `rlp-sweeps spaces` lists the recipes\.$"),
        ("nowhere.to.be.found", r"^no module 'nowhere\.to\.be\.found' can be imported"),
        ("rlp_sweeps.config.inner", r"^no module 'rlp_sweeps\.config\.inner' can be imported"),
        (
            "absent/first.py",
            r"^no search space at 'absent/first\.py', the file does not exist; `rlp-sweeps new",
        ),
        (
            "studies/first",
            r"^a search space's file must end in \.py, but got 'studies/first'; `rlp-sweeps",
        ),
        (
            "a b",
            r"^a search space is named by a recipe, a dotted module or a path .* got 'a b'; `rlp-",
        ),
        ("..first", r"^a search space is named by .* but got '\.\.first'; `rlp-sweeps spaces`"),
        ("", r"^a search space is named by .* but got ''; `rlp-sweeps spaces` lists"),
        (
            "rlp_sweeps.config",
            r"must define `SPACE = SearchSpace\(…\)`, but '.*config\.py' does not; ",
        ),
    ],
)
def test_load_space_refuses_a_reference_to_nothing(reference: str, message: str) -> None:
    with pytest.raises(SearchSpaceError, match=message):
        load_space(reference)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\nSPACE = unknown\n", r"first\.py, line 2: NameError: name 'unknown' is not define"),
        ("x = 1\nSPACE = (\n", r"first\.py, line 2: SyntaxError: '\(' was never closed\.$"),
        ("import absent_library\n", r"first\.py, line 1: ModuleNotFoundError: No module named"),
        ("import sys\nsys.exit(3)\n", r"first\.py, line 2: SystemExit: 3\.$"),
        ("import json\njson.loads('')\n", r"first\.py, line 2: JSONDecodeError: Expecting value"),
        ("assert False\n", r"first\.py, line 1: AssertionError\.$"),
        ("SPACE = {}\n", r"`SPACE` must be a SearchSpace of rlp_sweeps\.spaces, .* is a dict\.$"),
        ("", r"must define `SPACE = SearchSpace\(…\)`, but '.*first\.py' does not; "),
        (
            "from rlp_sweeps.spaces import LogAxis\n\nLogAxis(low=0, high=1.0, num_points=3)\n",
            r"first\.py, line 3: `0 < low <= high` must hold on a log axis, but got low=0, "
            r"high=1\.0\. For an arm at 0, set `control=0\.0`\.$",
        ),
        (
            SPACE.replace("num_seeds=1", "num_seeds=1, arms=('full',)"),
            r"first\.py, line 4: `'control' in arms` must hold, because every effect",
        ),
    ],
)
def test_load_space_names_file_and_line_of_the_users_mistake(
    tmp_path: Path, text: str, message: str
) -> None:
    path = write(tmp_path / "first.py", text)

    with pytest.raises(SearchSpaceError, match=message):
        load_space(str(path))


def test_load_space_names_the_file_that_a_dotted_module_breaks_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "studies_broken" / "helper.py", "\n\n1 / 0\n")
    write(tmp_path / "studies_broken" / "first.py", "import studies_broken.helper\n" + SPACE)
    monkeypatch.chdir(tmp_path)

    with pytest.raises(SearchSpaceError, match=r"helper\.py, line 3: ZeroDivisionError: division"):
        load_space("studies_broken.first")


def sized(name: str, *, num_seeds: int) -> str:
    """Return `SPACE` once more under another name, with other seeds."""
    again = SPACE[SPACE.index("SPACE = ") :]
    return again.replace("SPACE = ", f"{name} = ").replace("num_seeds=1", f"num_seeds={num_seeds}")


def test_a_study_is_loaded_at_each_size_that_it_defines(tmp_path: Path) -> None:
    sizes = sized("PAPER", num_seeds=7) + sized("FASHION", num_seeds=3)
    write(tmp_path / "study.py", SPACE + sizes + sized("_DRAFT", num_seeds=2) + "N = 4\n")

    found = [load_space(f"{tmp_path}/study.py{end}") for end in ("", ":paper", ":fashion")]

    assert [named.sizes for named in found] == [("small", "paper", "fashion")] * 3
    assert [named.name for named in found] == ["study", "study_paper", "study_fashion"]
    assert [named.space.num_seeds for named in found] == [1, 7, 3]


@pytest.mark.parametrize("size", ["huge", "paper", "Paper", "space", "_draft", "claims"])
def test_a_size_that_a_study_has_not_is_refused(size: str, tmp_path: Path) -> None:
    write(tmp_path / "study.py", SPACE + sized("_DRAFT", num_seeds=2))

    with pytest.raises(SearchSpaceError, match=f"the study 'study' has no size '{size}'; "):
        load_space(f"{tmp_path}/study.py:{size}")


def test_a_size_that_is_no_search_space_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "study.py", SPACE + "FASHION = 3\n")

    with pytest.raises(SearchSpaceError, match=r"`FASHION` must be a SearchSpace .* is a int"):
        load_space(f"{tmp_path}/study.py:fashion")


@pytest.mark.parametrize("reference", ["depth_profile", "depth_profile:paper"])
def test_a_sweeps_name_leads_back_to_its_recipe_and_size(reference: str) -> None:
    assert find_reference(load_space(reference).name) == reference


@pytest.mark.parametrize("name", ["depth_profile_huge", "my_study"])
def test_a_sweep_of_no_recipe_leads_nowhere(name: str) -> None:
    with pytest.raises(SearchSpaceError, match=f"must be named NAME or NAME_SIZE, but got '{name}"):
        find_reference(name)
