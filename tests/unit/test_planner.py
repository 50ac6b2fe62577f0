import dataclasses
import json
import subprocess
import sys

import pytest
import torch
from torch import nn

from rlp_sweeps.errors import (
    BackboneError,
    ConfigError,
    DatasetError,
    DeviceError,
    RunDirectoryError,
)
from rlp_sweeps.orchestration import evidence, planner
from rlp_sweeps.orchestration.calibration import Calibration, CalibrationEntry
from rlp_sweeps.orchestration.engine_choice import Room
from rlp_sweeps.orchestration.planner import (
    Group,
    check_plan,
    plan_from_manifest,
    plan_sweep,
    point_group,
    remaining_groups,
)
from rlp_sweeps.spaces import ChoiceAxis, LinearAxis, LogAxis, Search, SearchSpace
from rlp_sweeps.tracking.run_directory import build_manifest
from rlp_sweeps.training.backbones import Backbone
from rlp_sweeps.training.image_arrays import ImageArrays

FIXED = {"dataset": "digits", "train_samples": 200, "backbone": "mlp", "num_epochs": 2}


class Odd(nn.Module):
    """A layer that only its author knows how to stack."""

    def __init__(self) -> None:
        super().__init__()
        self.weight_DD = nn.Parameter(torch.eye(64))

    def forward(self, images_NCHW):
        features_ND = images_NCHW.flatten(1) @ self.weight_DD
        return features_ND if float(features_ND.detach().sum()) > 0 else 2 * features_ND


def build_odd(*, image_shape, num_classes, depth, width, dropout):
    """Build a backbone whose forward pass reads a number back, which no stack can."""
    extractor = nn.Sequential(Odd())
    return Backbone(extractor=extractor, classifier=nn.Linear(64, num_classes), attach_points=["0"])


TABLE = Calibration(
    entries=(
        CalibrationEntry(
            net="any on vectors",
            config={},
            kind="vectors",
            precision="fp32",
            work=1e7,
            speed_ups={"grouped": {4: 3.0, 8: 4.0, 16: 5.0}},
        ),
    )
)


@pytest.fixture(autouse=True)
def calibration(monkeypatch):
    """Choose by a table of one network, whatever was measured."""
    monkeypatch.setattr(evidence, "stored_calibration", lambda: TABLE)


def _space(**changes):
    space = SearchSpace(
        axes={
            "lr": LogAxis(low=0.01, high=0.1, num_points=2),
            "rlp_lambda": LogAxis(low=1.0, high=10.0, num_points=2, control=0.0),
        },
        arms=("control", "full"),
        num_seeds=2,
        fixed=FIXED,
    )
    return dataclasses.replace(space, **changes)


def _plan(space=None, **options):
    return plan_sweep(space or _space(), name="tiny", **{"device": "cpu", **options})


def _manifest_of(plan):
    manifest = build_manifest(
        plan_id=plan.plan_id,
        sweep_name=plan.name,
        space=plan.space.to_dict(),
        configs=plan.trials,
        settings=plan.settings(),
    )
    return json.loads(json.dumps(manifest))


def test_plan_trains_every_trial_of_the_grid_once():
    plan = _plan()

    members = [trial.trial_id for group in plan.groups for trial in group.trials]

    assert members == [trial.trial_id for trial in plan.trials]
    assert len(set(members)) == plan.num_trials == 12
    assert plan.trials_by_arm == {"control": 4, "full": 8}


def test_plan_groups_trials_that_share_all_but_scalars_by_seed():
    axes = {**_space().axes, "batch_size": ChoiceAxis(choices=(32, 64))}

    plan = _plan(_space(axes=axes), group_size=5)

    assert [len(group.trials) for group in plan.groups] == [3] * 8
    for group in plan.groups:
        assert len({(t.group_key, t.seed) for t in group.trials}) == 1
    assert [group.trials[0].seed for group in plan.groups] == [0] * 4 + [1] * 4


def test_plan_groups_a_small_network_and_keeps_every_slot_busy():
    plan = _plan(room=Room(slots=4), engine="auto")

    assert plan.engine == "grouped"
    assert [len(group.trials) for group in plan.groups] == [3] * 4
    assert plan.trials_by_choice == {next(iter(plan.choices.values())): 12}


def test_plan_chooses_for_each_kind_of_trial():
    axes = {**_space().axes, "backbone": ChoiceAxis(choices=("mlp", "vgg16"))}
    fixed = {"dataset": "synthetic:3,32,32,10,256", "num_epochs": 2, "batch_size": 16}

    plan = _plan(_space(axes=axes, fixed=fixed), room=Room(slots=1))

    engines = {trial.backbone: plan.engine_of(trial) for trial in plan.trials}
    assert engines == {"mlp": "grouped", "vgg16": "sequential"}
    sizes = {group.trials[0].backbone: len(group.trials) for group in plan.groups}
    assert sizes == {"mlp": 12, "vgg16": 1}
    assert sum(plan.trials_by_choice.values()) == plan.num_trials


def test_plan_id_is_the_same_whatever_the_engine_and_group_size():
    plans = [_plan(), _plan(engine="sequential"), _plan(engine="vmap", group_size=3)]

    assert len({plan.plan_id for plan in plans}) == 1
    assert len({str(plan.settings()) for plan in plans}) == 3


def test_plan_refuses_an_engine_that_cannot_train_the_backbone():
    fixed = {**FIXED, "backbone": f"{__name__}.build_odd"}

    with pytest.raises(BackboneError, match=r"engine 'grouped' .*'sequential'"):
        _plan(_space(fixed=fixed), engine="grouped")


def test_plan_trains_a_users_backbone_one_by_one_where_no_engine_can():
    fixed = {**FIXED, "backbone": f"{__name__}.build_odd"}

    plan = _plan(_space(fixed=fixed), room=Room(slots=1), engine="auto")

    (choice,) = plan.choices.values()
    assert choice.engine != "grouped"
    assert "'grouped' cannot" in choice.why


def test_plan_of_a_search_halves_enough_points_in_a_group():
    search = Search(num_points=30, early_stopping=True)

    plan = _plan(_space(search=search), engine="sequential", room=Room(slots=2))

    assert plan.group_size == 9 * plan.trials_per_point


def test_plan_of_a_search_leaves_its_sampler_points_to_learn_from():
    plan = _plan(_space(search=Search(num_points=30)), engine="auto", room=Room(slots=2))

    assert plan.engine == "grouped"
    assert plan.trials_per_point == 4
    assert plan.group_size == 3 * 4


def test_plan_is_the_same_twice_and_another_with_other_seeds():
    first, second, other = _plan(), _plan(), _plan(_space(num_seeds=3))

    assert first == second
    assert first.plan_id != other.plan_id
    assert first.groups[0].group_id == other.groups[0].group_id


def test_plan_of_a_search_states_an_upper_bound_of_trials():
    plan = _plan(_space(search=Search(num_points=30)))

    assert (plan.num_points, plan.num_trials) == (30, 120)
    assert plan.num_groups == -(-30 // (plan.group_size // 4))
    assert plan.trials_by_arm == {"control": 60, "full": 60}
    assert plan.trials == plan.groups == ()


def test_plan_id_of_a_search_depends_on_its_settings():
    plans = [_plan(_space(search=Search(num_points=n))) for n in (3, 4)]

    assert plans[0].plan_id != plans[1].plan_id


def test_remaining_groups_keep_their_name_and_lose_finished_members():
    plan = _plan(group_size=12)
    finished = {trial.trial_id for trial in plan.trials[:7]}

    (group,) = remaining_groups(plan, finished)

    assert group.group_id == plan.groups[0].group_id
    assert group.trials == plan.trials[7:]


def test_remaining_groups_are_none_when_every_trial_is_finished():
    plan = _plan()

    assert remaining_groups(plan, {trial.trial_id for trial in plan.trials}) == []


@pytest.mark.parametrize("search", [None, Search(num_points=4, objectives=("val_loss",))])
def test_plan_from_manifest_is_the_plan_that_was_written(search):
    axes = {**_space().axes, "weight_decay": LinearAxis(low=0.0, high=0.1, num_points=2)}
    plan = _plan(_space(search=search, axes=axes), group_size=3)

    read = plan_from_manifest(_manifest_of(plan))

    assert read.groups == plan.groups
    assert read.plan_id == plan.plan_id
    assert read.settings() == plan.settings()


def test_plan_from_manifest_takes_the_choice_that_was_made(monkeypatch):
    plan = _plan(engine="vmap", room=Room(slots=4))
    monkeypatch.setattr(planner, "choose_engines", lambda *_, **__: pytest.fail("chosen again"))

    read = plan_from_manifest(_manifest_of(plan))

    assert read == plan
    assert {read.engine_of(trial) for trial in read.trials} == {"vmap"}


def test_plan_from_manifest_without_choices_groups_as_it_was_done_then():
    manifest = _manifest_of(_plan(group_size=5, engine="sequential"))
    del manifest["settings"]["choices"], manifest["settings"]["slots"]

    read = plan_from_manifest(manifest)

    assert [len(group.trials) for group in read.groups] == [5, 5, 2]
    assert [trial for group in read.groups for trial in group.trials] == list(read.trials)
    assert read.engine_of(read.trials[0]) == "sequential"


def test_plan_from_manifest_refuses_a_space_that_plans_something_else():
    manifest = _manifest_of(_plan())
    manifest["space"]["num_seeds"] = 5

    with pytest.raises(RunDirectoryError, match="must plan what was planned"):
        plan_from_manifest(manifest)


def test_plan_from_manifest_refuses_one_without_settings():
    manifest = _manifest_of(_plan())
    del manifest["settings"]["engine"]

    with pytest.raises(RunDirectoryError, match="lacks 'engine'"):
        plan_from_manifest(manifest)


def test_group_is_the_same_after_a_trip_through_text():
    group = point_group(_space(), {"lr": 0.1, "rlp_lambda": 2.0}, point=3)

    assert Group.from_text(group.to_text()) == group


@pytest.mark.parametrize(
    ("fixed", "error", "match"),
    [
        ({"dataset": "digit"}, DatasetError, "unknown data set"),
        ({"dataset": "cifar10"}, DatasetError, "cifar"),
        ({"backbone": "small_cn"}, BackboneError, "small_cn"),
        ({"augmentation": "flop"}, ConfigError, "flop"),
        ({"train_samples": 10**6}, DatasetError, "train_samples"),
        ({"train_fraction": 0.1}, DatasetError, "batch_size=128 with 20 training samples"),
        ({"imbalance_factor": 1e9}, DatasetError, "every class must keep at least one"),
    ],
)
def test_plan_refuses_what_cannot_be_had(fixed, error, match, tmp_path):
    space = _space(fixed={**FIXED, **fixed}, data_dir=str(tmp_path))

    with pytest.raises(error, match=match):
        _plan(space)


def load_noise(data_dir):
    """Stand for a user's loader."""
    del data_dir
    images_NCHW = torch.randint(256, (600, 1, 4, 4)).byte()
    return ImageArrays(
        train_images_NCHW=images_NCHW,
        train_labels_N=torch.arange(600) % 3,
        test_images_NCHW=None,
        test_labels_N=None,
        num_classes=3,
    )


@pytest.mark.parametrize("engine", ["auto", "sequential"])
@pytest.mark.parametrize(
    ("fixed", "error", "match"),
    [
        ({"attach_points": "conv9"}, BackboneError, r"no attach point\(s\) \['conv9'\]"),
        ({"copy_depth": 9}, BackboneError, "copy_depth"),
        ({"train_samples": 1000}, DatasetError, "train_samples"),
        ({"backbone": "resnet18", "backbone_depth": 3}, BackboneError, "depth"),
    ],
)
def test_plan_refuses_what_cannot_be_had_with_a_loader_of_the_users_own(
    fixed, error, match, engine
):
    space = _space(fixed={**FIXED, "dataset": f"{__name__}.load_noise", **fixed})

    with pytest.raises(error, match=match):
        _plan(space, engine=engine)


def test_plan_checks_every_backbone_of_a_search():
    axes = {**_space().axes, "backbone": ChoiceAxis(choices=("mlp", "nonsense"))}
    fixed = {name: value for name, value in FIXED.items() if name != "backbone"}

    with pytest.raises(BackboneError, match="nonsense"):
        _plan(_space(axes=axes, fixed=fixed, search=Search(num_points=2)))


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"device": "tpu"}, DeviceError, "device in"),
        ({"engine": "magic"}, ConfigError, "unknown engine 'magic'"),
        ({"group_size": 0}, ConfigError, "1 <= group_size"),
    ],
)
def test_plan_refuses_unknown_ways_to_train(options, error, match):
    with pytest.raises(error, match=match):
        _plan(**options)


def test_planner_and_status_load_neither_ray_nor_optuna_nor_torch():
    code = (
        "import sys, rlp_sweeps.orchestration.planner, rlp_sweeps.orchestration.status, "
        "rlp_sweeps.orchestration.estimates; "
        "print([m for m in ('ray', 'optuna', 'torch', 'mlflow') if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_check_refuses_an_engine_that_this_device_lacks():
    plan = _plan(engine="sequential")
    choices = {
        key: dataclasses.replace(choice, engine="graph") for key, choice in plan.choices.items()
    }

    with pytest.raises(BackboneError, match="needs a CUDA device"):
        check_plan(dataclasses.replace(plan, choices=choices))


@pytest.mark.parametrize("engine", ["auto", "sequential", "grouped"])
def test_an_attach_point_that_the_backbone_has_not_is_refused_with_those_it_has(engine) -> None:
    space = SearchSpace(
        axes={"lr": LogAxis(low=0.01, high=0.1, num_points=2)},
        arms=("control",),
        num_seeds=1,
        fixed={**FIXED, "attach_points": "hidden1,hidden3"},
    )

    with pytest.raises(BackboneError, match=r"\['hidden3'\]; it has \['hidden1', 'hidden2'\]"):
        plan_sweep(space, name="demo", device="cpu", engine=engine)


@pytest.mark.parametrize(
    ("settings", "arms", "says"),
    [
        ({"copy_depth": 4}, ("control",), "`copy_depth <= 3` must hold .* has 3 layers"),
        ({"copy_depth": 3}, ("control", "full"), r"no layer below to act on.*\['full'\]"),
        ({"copy_depth": 2, "backbone": "resnet18"}, ("control",), "needs a plain network"),
    ],
)
def test_copies_that_the_backbone_has_not_are_refused_at_plan_time(settings, arms, says) -> None:
    axes = {"lr": LogAxis(low=0.01, high=0.1, num_points=2)}
    if "full" in arms:
        axes["rlp_lambda"] = ChoiceAxis(choices=(1.0,), control=0.0)
    space = SearchSpace(axes=axes, arms=arms, num_seeds=1, fixed={**FIXED, **settings})

    with pytest.raises(BackboneError, match=says):
        plan_sweep(space, name="demo", device="cpu")


def test_copies_are_planned_one_by_one_unless_another_engine_is_asked_for() -> None:
    space = SearchSpace(
        axes={"lr": LogAxis(low=0.01, high=0.1, num_points=8)},
        arms=("control",),
        num_seeds=4,
        fixed={**FIXED, "backbone_width": 8, "copy_depth": 2},
    )

    assert plan_sweep(space, name="demo", device="cpu").engine == "sequential"
    assert plan_sweep(space, name="demo", device="cpu", engine="grouped").engine == "grouped"
