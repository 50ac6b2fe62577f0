"""The methods paragraph: what it says is in the trials, what they do not tell it leaves out."""

import re

import pytest
from analysis_frames import make_trials, where_arm, write_directory

from analysis.methods import REFERENCES, packages_of, write_methods
from analysis.tables import read_analysis

SETTINGS = {
    "dataset": "digits",
    "backbone": "mlp",
    "backbone_depth": 3,
    "num_parameters": 12345,
    "num_train_samples": 999,
    "optimizer": "sgd",
    "momentum": 0.9,
    "weight_decay": 0.0,
    "batch_size": 64,
    "num_epochs": 12,
    "head": "nested_joint",
}


def methods_of(tmp_path, **changes):
    trials = make_trials(lrs=(0.01, 0.1), lambdas=(1.0, 10.0), seeds=(0, 1, 2), **changes)
    return write_methods(read_analysis([write_directory(tmp_path / "run", trials)]))


def test_methods_say_what_the_trials_were(tmp_path):
    text = methods_of(tmp_path, **SETTINGS).text

    assert "a multilayer perceptron (depth 3, 12,345 parameters) on digits (999 training" in text
    assert "SGD, momentum 0.9, batch size 64, 12 epochs; the learning rate was 0.01 and 0.1" in text
    assert "weight decay" not in text  # it is 0
    assert "strength λ = 1 and 10 was split exactly" in text
    assert "with 3 seeds" in text


def test_methods_leave_out_what_a_foreign_table_does_not_tell(tmp_path):
    text = methods_of(tmp_path).text

    assert text.startswith("We trained networks in 54 trials.")
    assert "None" not in text
    assert "  " not in text
    assert "Ray Tune" not in text  # no manifest says so


def test_every_cited_work_is_in_the_references_and_no_other(tmp_path):
    methods = methods_of(tmp_path, **SETTINGS)

    cited = set(re.findall(r"\[(\w+)\]", methods.text))
    assert cited == {"becker2024learned", "holm1979simple"}
    assert set(re.findall(r"^@\w+\{(\w+),", methods.bibtex, flags=re.M)) == cited
    assert all(entry.startswith("@") and f"{{{key}," in entry for key, entry in REFERENCES.items())


def test_diverged_trials_are_counted_with_what_they_score(tmp_path):
    text = methods_of(tmp_path, status=where_arm("sham", "status", "diverged")).text

    assert "12 of 54 trials diverged and scored at chance" in text


@pytest.mark.parametrize(
    ("manifests", "packages"),
    [
        ([{"packages": {"torch": "2.15", "ray": "2.60"}}], {"torch": "2.15", "ray": "2.60"}),
        ([{"packages": {"torch": "2.15"}}, {"packages": {"torch": "2.14"}}], {}),
        ([{"packages": {"torch": "2.15"}}, None], {}),
        ([{"packages": "hostile"}], {}),
        ([{"packages": {"torch": None}}], {}),
    ],
)
def test_versions_are_those_on_which_all_manifests_agree(manifests, packages):
    assert packages_of(manifests) == packages
