import re
from pathlib import Path

import polars as pl
import pytest

from analysis.claims import check_claims
from analysis.origin import Origin, Plan
from rlp_sweeps.config import TrialConfig
from rlp_sweeps.recipes import list_recipes, load_space
from rlp_sweeps.training.augmentation import build_augmentation

NAMES = list_recipes()
SEPARATING = [
    name
    for name in NAMES
    if "rlp_lambda" in load_space(name).space.axes
    and load_space(name).space.search is None
    and load_space(name).space.fixed.get("head") != "single"
]
SIZES = [f"{name}:{size}" for name in NAMES for size in load_space(name).sizes[1:]]
SOURCE = r"arXiv:\d{4}\.\d{5}|ICLR \d{4}"
OUTCOMES = ("train_accuracy", "val_accuracy", "test_accuracy", "changed_label_accuracy")
ARMS = ("control", "full", "class_term", "uniform_term", "sham")


def test_the_recipes_are_the_studies_of_the_papers_and_a_quickstart() -> None:
    assert set(NAMES) >= {
        "quickstart",
        "fashion_mnist_lr_lambda",
        "cifar100_lr_lambda",
        "cifar100_label_smoothing_lambda",
        "cifar100_optuna",
    }


@pytest.mark.parametrize("name", [*NAMES, *SIZES])
def test_every_grid_point_is_a_valid_trial_config_and_no_two_are_alike(name: str) -> None:
    configs = [TrialConfig.from_dict(trial) for trial in load_space(name).space.grid()]

    assert len({config.trial_id for config in configs}) == len(configs) > 0


@pytest.mark.parametrize("name", [*NAMES, *SIZES])
def test_every_recipe_has_a_control_arm(name: str) -> None:
    space = load_space(name).space

    assert "control" in space.arms
    assert any(trial["arm"] == "control" for trial in space.grid())


@pytest.mark.parametrize("name", SEPARATING)
def test_every_grid_over_lambda_separates_the_effects_over_three_seeds(name: str) -> None:
    space = load_space(name).space

    assert set(space.arms) >= set(ARMS)
    assert space.num_seeds >= 3


@pytest.mark.parametrize("name", [*NAMES, *SIZES])
def test_claims_over_trials_alone_are_measured_on_the_recipes_grid(
    name: str, tmp_path: Path
) -> None:
    space = load_space(name).space
    claims = tuple(c for c in space.claims if not re.search("probes|epochs|score_comp", c.measure))
    rows = [
        TrialConfig.from_dict({**trial, "seed": seed}) for trial in space.grid() for seed in (0, 1)
    ]
    configs = {config.trial_id: config for config in rows}
    trials = pl.DataFrame(
        [{"trial_id": i, "status": "completed", **c.to_dict()} for i, c in configs.items()],
        infer_schema_length=None,
    ).with_columns(
        (2 + pl.int_range(pl.len()).cast(pl.Float64).sin()).alias(metric)
        for metric in (*OUTCOMES, "memorization", "random_label_accuracy")
    )
    (tmp_path / "trials").mkdir()
    trials.write_parquet(tmp_path / "trials" / "a.parquet")
    plan = Plan(directory=tmp_path, claims=claims)

    checked = check_claims([tmp_path], trials, origin=Origin(plans=(plan,)), diverged="exclude")

    assert checked.table["num_replicates"].to_list() == [2] * len(claims)


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_states_claim_and_source(name: str) -> None:
    space = load_space(name).space

    assert space.claim.endswith(".")
    assert re.search(SOURCE, space.source)


@pytest.mark.parametrize("name", NAMES)
def test_every_recipes_docstring_names_claim_source_and_deviations(name: str) -> None:
    named = load_space(name)
    named_there = re.findall(rf"{SOURCE}|figures? A\.\d", named.space.source)

    assert [part for part in ("Claim:", "Source:", "Deviations:") if part in named.doc] == [
        "Claim:",
        "Source:",
        "Deviations:",
    ]
    assert named_there
    assert all(text in named.doc for text in named_there)


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_names_augmentations_that_exist(name: str) -> None:
    names = {TrialConfig.from_dict(t).augmentation for t in load_space(name).space.grid()}

    assert all(build_augmentation(augmentation) for augmentation in names)


def test_the_quickstart_is_as_small_as_promised_and_no_smaller() -> None:
    space = load_space("quickstart").space

    assert space.fixed["dataset"] == "digits"
    assert len(space.axes["lr"].values()) >= 3
    assert len(space.axes["rlp_lambda"].values()) >= 2


@pytest.mark.parametrize(
    "name", ["cifar100_lr_lambda", "cifar100_label_smoothing_lambda", "cifar100_optuna"]
)
def test_the_papers_recipes_keep_the_papers_setting(name: str) -> None:
    for trial in load_space(name).space.grid():
        config = TrialConfig.from_dict(trial)
        network = (config.backbone, config.backbone_depth, config.backbone_width)
        assert network == ("wide_resnet", 16, 4)
        assert (config.num_epochs, config.batch_size) == (200, 256)
        assert (config.optimizer, config.schedule, config.weight_decay) == ("sgd", "cosine", 0.0)


def test_the_first_figure_is_swept_with_and_without_augmentation() -> None:
    space = load_space("cifar100_lr_lambda").space

    assert set(space.axes) == {"augmentation", "lr", "rlp_lambda"}
    assert "none" in space.axes["augmentation"].values()
    assert len(space.axes["augmentation"].values()) == 2
