"""A run directory that somebody else has written makes nobody import or call what it names."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny_sweep import tiny_directory

from rlp_sweeps.cli import main
from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import RunDirectoryError
from rlp_sweeps.orchestration import sweep
from rlp_sweeps.orchestration.named_code import check_code, code_of, trust_code
from rlp_sweeps.orchestration.planner import SweepPlan, plan_from_manifest, plan_sweep
from rlp_sweeps.orchestration.points import AskedPoint, PointLog
from rlp_sweeps.orchestration.progress import RunOptions
from rlp_sweeps.spaces import ChoiceAxis, Search, SearchSpace
from rlp_sweeps.tracking.kept_weights import keep_weights
from rlp_sweeps.tracking.run_directory import RunDirectory
from rlp_sweeps.training.datasets import load_image_arrays
from rlp_sweeps.training.weights import TrainedWeights, save_weights

REFUSAL = r"names code to import and call: \['os\.system'\].* add --trust-code\."


def plan_of(data_dir: Path | str, **settings: str) -> SweepPlan:
    space = SearchSpace(
        axes={"lr": ChoiceAxis(choices=(0.1,))}, num_seeds=1, fixed=settings, data_dir=str(data_dir)
    )
    return plan_sweep(space, name="given", device="cpu", checks_data=False)


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """Return a run directory whose data set is a shell command, which leaves a file ``ran``."""
    plan = plan_of(tmp_path / f"x; touch {tmp_path / 'ran'}", dataset="os.system")
    return tiny_directory(plan, tmp_path / "given").path


@pytest.mark.parametrize("command", ["resume", "probe", "follow-up"])
def test_a_planted_command_does_not_run(
    planted: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = RunDirectory.open(planted)
    (trial,) = plan_from_manifest(directory.manifest).trials
    directory.write_trial({**trial.to_dict(), "trial_id": trial.trial_id, "status": "failed"}, [])
    keep_weights(directory)
    (planted / "weights" / f"{trial.trial_id}.pt").write_bytes(b"")
    more = ["--num-seeds", "2"] if command == "follow-up" else []

    status = main([command, str(planted), *more])

    assert status == 2
    assert "names code to import and call: ['os.system']" in capsys.readouterr().err
    assert not (planted.parent / "ran").exists()


@pytest.mark.parametrize("command", ["status", "query", "analyze"])
def test_commands_that_read_alone_import_nothing(planted: Path, command: str) -> None:
    directory = RunDirectory.open(planted)
    (trial,) = plan_from_manifest(directory.manifest).trials
    row = {**trial.to_dict(), "trial_id": trial.trial_id, "status": "completed"}
    directory.write_trial({**row, "test_accuracy": 0.5, "train_accuracy": 0.5}, [])

    main([command, str(planted), *(["SELECT 1 FROM trials"] if command == "query" else [])])

    assert not (planted.parent / "ran").exists()


def test_code_that_kept_weights_alone_name_is_refused(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    directory = tiny_directory(plan, tmp_path / "given")
    foreign = TrialConfig(arm="control", lr=0.1, rlp_lambda=0, seed=9, dataset="os.system")
    keep_weights(directory)
    weights = TrainedWeights(config=foreign, epoch=1, network={"w": torch.zeros(1)})
    save_weights(directory.path / "weights", weights)

    with pytest.raises(RunDirectoryError, match=REFUSAL):
        check_code(directory, plan, further=[foreign])


def test_code_that_a_searchs_points_alone_name_is_refused(tmp_path: Path) -> None:
    search = Search(num_points=2, objective_arm="control")
    space = SearchSpace(axes={"lr": ChoiceAxis(choices=(0.1, 0.2))}, num_seeds=1, search=search)
    plan = plan_sweep(space, name="given", device="cpu", checks_data=False)
    directory = tiny_directory(plan, tmp_path / "given")
    points = PointLog.of(directory.path)
    points.extend([AskedPoint(0, {"lr": 0.1, "dataset": "os.system"})])

    with pytest.raises(RunDirectoryError, match=REFUSAL):
        check_code(directory, plan)


def test_code_of_a_follow_up_in_a_directory_of_ones_own_plan_is_refused(tmp_path: Path) -> None:
    directory = tiny_directory(plan_of(tmp_path), tmp_path / "given")
    foreign = TrialConfig(arm="control", lr=0.1, rlp_lambda=0, seed=9, backbone="os.system")
    directory.add_trials([foreign], why="to harm")

    with pytest.raises(RunDirectoryError, match=REFUSAL):
        check_code(directory, plan_from_manifest(directory.manifest))


def test_what_this_user_has_begun_goes_on_and_with_other_code_does_not(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, dataset="my_data.load")
    directory = tiny_directory(plan, tmp_path / "own")

    trust_code(directory, plan.trials)
    check_code(directory, plan)

    with pytest.raises(RunDirectoryError, match=r"my_data\.load', 'os\.system"):
        check_code(directory, plan, further=plan_of(tmp_path, dataset="os.system").trials)


def test_what_a_recipe_has_begun_is_resumed_without_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(tmp_path, dataset="my_data.load")
    images = load_image_arrays("synthetic:1,8,8,10,300", data_dir=".")
    monkeypatch.setitem(sys.modules, "my_data", SimpleNamespace(load=lambda folder: images))
    monkeypatch.setattr(sweep._Sweep, "run", lambda self: None)

    sweep.run_sweep(plan, output=tmp_path / "own", options=RunOptions(num_cpus=1))

    check_code(RunDirectory.open(tmp_path / "own"), plan)


def test_a_recipe_run_in_a_foreign_directory_of_its_plan_runs_no_code_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(tmp_path)
    directory = tiny_directory(plan, tmp_path / "given")
    foreign = TrialConfig(arm="control", lr=0.1, rlp_lambda=0, seed=9, dataset="os.system")
    directory.add_trials([foreign], why="to harm")
    monkeypatch.setattr(sweep._Sweep, "run", lambda self: None)

    with pytest.raises(RunDirectoryError, match=REFUSAL):
        sweep.run_sweep(plan, output=directory.path, options=RunOptions(num_cpus=1))


def test_another_sweep_with_the_same_code_is_not_trusted(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, dataset="my_data.load")
    trust_code(tiny_directory(plan, tmp_path / "own"), plan.trials)

    with pytest.raises(RunDirectoryError, match="add --trust-code"):
        check_code(tiny_directory(plan, tmp_path / "given"), plan)


def test_trust_is_remembered(tmp_path: Path, state_of_its_own: Path) -> None:
    plan = plan_of(tmp_path, dataset="my_data.load")
    directory = tiny_directory(plan, tmp_path / "given")

    check_code(directory, plan, is_trusted=True)
    check_code(directory, plan)

    folder = state_of_its_own / "rlp-sweeps" / "trusted-code"
    assert folder.stat().st_mode & 0o077 == 0


def test_names_of_the_package_are_no_code() -> None:
    config = TrialConfig(arm="control", lr=0.1, rlp_lambda=0, seed=0, dataset="synthetic:3,8,8,2,9")

    assert code_of([config]) == frozenset()
