"""The file of a new study: it loads, plans, and says how to go on."""

import pytest

from rlp_sweeps.cli import main
from rlp_sweeps.errors import ArgumentError
from rlp_sweeps.new_study import write_study
from rlp_sweeps.recipes import load_space


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_new_study_loads_as_a_study_with_the_exact_split(tmp_path):
    path = write_study("my_study")

    named = load_space(str(path))
    assert named.name == "my_study"
    assert set(named.space.arms) == {"control", "full", "class_term", "uniform_term"}
    assert named.num_trials == 105


def test_new_study_can_be_planned_by_the_command_that_it_names(capsys):
    assert main(["new", "studies/first_try"]) == 0
    told = capsys.readouterr().out

    assert "`rlp-sweeps plan studies/first_try.py`" in told
    assert main(["plan", "studies/first_try.py"]) == 0
    assert "105 over 5 seed(s)" in capsys.readouterr().out


def test_new_study_begins_with_a_recipe_where_one_is_named():
    path = write_study("mine.py", recipe="depth_profile")

    assert load_space(f"{path}:paper").space == load_space("depth_profile:paper").space


@pytest.mark.parametrize(
    ("name", "recipe", "sentence"),
    [
        ("my-study", None, "must be named like a Python module"),
        ("class", None, "must be named like a Python module"),
        ("studies/", None, "must be named like a Python module"),
        ("s3://bucket/mine", None, "must be a file on this machine, but got 's3://bucket/mine';"),
        ("mine", "nope", "`--from` must name a recipe, but got 'nope'; `rlp-sweeps spaces` lists"),
        ("taken", None, "'taken.py' exists; choose another name"),
        ("taken.py/mine", None, "must be writable, but it is not"),
    ],
)
def test_new_study_is_refused_in_a_sentence_and_nothing_is_written(
    tmp_path, name, recipe, sentence
):
    (tmp_path / "taken.py").write_text("mine")

    with pytest.raises(ArgumentError, match=r".*") as refused:
        write_study(name, recipe=recipe)

    assert sentence in str(refused.value)
    assert [path.name for path in tmp_path.rglob("*")] == ["taken.py"]
    assert (tmp_path / "taken.py").read_text() == "mine"
