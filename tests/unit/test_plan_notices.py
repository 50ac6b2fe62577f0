"""What a plan allows and a reader of its results must know."""

import pytest

from rlp_sweeps.cli import main
from rlp_sweeps.orchestration.plan_notices import plan_notices
from rlp_sweeps.orchestration.planner import plan_sweep
from rlp_sweeps.spaces import ChoiceAxis, SearchSpace


def _plan(*num_random_labels, **fixed):
    shared = {"dataset": "synthetic:1,4,4,2,96", "backbone": "mlp", "batch_size": 8}
    space = SearchSpace(
        axes={
            "lr": ChoiceAxis(choices=(0.1, 0.2)),
            "num_random_labels": ChoiceAxis(choices=num_random_labels),
        },
        arms=("control",),
        num_seeds=1,
        fixed={"rlp_lambda": 1.0, **shared, "num_epochs": 1, "train_samples": 32, **fixed},
    )
    return plan_sweep(space, name="tiny", device="cpu")


@pytest.mark.parametrize(("head", "floor"), [("nested_joint", "0.062"), ("single", "0.031")])
def test_more_random_labels_than_samples_are_told_once_with_the_floor_of_recall(head, floor):
    (notice,) = plan_notices(_plan(10, 100, head=head))

    assert notice.startswith("num_random_labels=100 is more than the 32 training samples: most")
    assert f"recalls {floor} of them or more, while chance, the 0 of `mem" in notice


def test_random_labels_that_several_samples_share_need_no_notice():
    assert plan_notices(_plan(2, 32)) == ()


def test_plan_says_its_notices_on_stderr(capsys):
    settings = ["num_random_labels=200", "train_samples=128", "backbone=mlp", "num_epochs=1"]

    assert main(["plan", "quickstart", "--json", *(f"--set={text}" for text in settings)]) == 0

    assert "num_random_labels=200 is more than the 128 training samples" in capsys.readouterr().err
