"""What the logs hold of one trial: found, printed, followed, named where it failed, removed."""

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

import rlp_sweeps
from rlp_sweeps.api.telling import tell_flaws
from rlp_sweeps.cli import main
from rlp_sweeps.cli import trial_log as printed
from rlp_sweeps.errors import RunDirectoryError
from rlp_sweeps.orchestration.planner import plan_from_manifest
from rlp_sweeps.orchestration.progress import FailedTrial, SweepOutcome
from rlp_sweeps.orchestration.status import sweep_status
from rlp_sweeps.orchestration.trial_log import find_log, unfinished_groups
from rlp_sweeps.tracking.group_log import GroupLog
from rlp_sweeps.tracking.run_directory import RunDirectory

GOLDEN = Path(__file__).parents[1] / "contract" / "golden_v1"
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    """A sweep of four trials, of which the last has no row."""
    return RunDirectory.open(shutil.copytree(GOLDEN, tmp_path / "run"))


@pytest.fixture
def log(directory: RunDirectory) -> GroupLog:
    """The log of the group of the first trial."""
    return GroupLog(directory.log_path(group_of(directory, 0)))


def trial_ids(directory: RunDirectory) -> list[str]:
    return [trial["trial_id"] for trial in directory.manifest["trials"]]


def group_of(directory: RunDirectory, number: int) -> str:
    groups = plan_from_manifest(directory.manifest).groups
    wanted = trial_ids(directory)[number]
    (group,) = [g for g in groups if wanted in {trial.trial_id for trial in g.trials}]
    return group.group_id


def write_starts(log: GroupLog, trial: str, *, other: str = "other") -> None:
    """Write a start that trains both, and one after the trial had ended."""
    log.write_all(
        [
            ("group", "start 1: 2 trial(s)"),
            *[(i, "member: arm=control") for i in (trial, other)],
            ("stdout", "building"),
            *[(i, "epoch 1/2: val_accuracy=0.5") for i in (trial, other)],
            (trial, "completed after epoch 2, 0.1 s"),
            ("group", "its process was lost; it is started again"),
            ("group", "start 2: 1 trial(s)"),
            (other, "member: arm=control"),
            ("stdout", "building again"),
        ]
    )


def test_a_trial_has_its_own_lines_and_those_of_the_starts_that_trained_it(
    directory: RunDirectory, log: GroupLog
) -> None:
    trial = trial_ids(directory)[0]
    write_starts(log, trial)

    found = find_log(directory.path, trial[:6])

    lines = found.lines()
    assert found.trial_id == trial
    assert [line.text.partition(":")[0] for line in lines] == [
        "start 1",
        "member",
        "building",
        "epoch 1/2",
        "completed after epoch 2, 0.1 s",
        "its process was lost; it is started again",
    ]
    assert {line.source for line in lines} == {"group", "stdout", trial}
    assert found.has_ended(lines)


def test_a_trial_that_was_started_again_has_not_ended(
    directory: RunDirectory, log: GroupLog
) -> None:
    trial = trial_ids(directory)[0]
    for ends in (["failed after epoch 1: OSError: gone"], []):
        log.write("group", "start 1: 1 trial(s)")
        for text in ("member: arm=control", *ends):
            log.write(trial, text)
        found = find_log(directory.path, trial)

        assert found.has_ended(found.lines()) == bool(ends)


def test_show_prints_the_lines_of_a_trial_without_a_row(
    directory: RunDirectory, capsys: Capture
) -> None:
    trial = trial_ids(directory)[3]
    log = GroupLog(directory.log_path(group_of(directory, 3)))
    write_starts(log, trial)

    assert main(["show", str(directory.path), trial, "--log"]) == 0

    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 6
    assert shown[2].endswith("Z stdout           building")


def test_show_prints_a_log_as_json(directory: RunDirectory, log: GroupLog, capsys: Capture) -> None:
    trial = trial_ids(directory)[0]
    write_starts(log, trial)

    assert main(["show", str(directory.path), trial, "--log", "--json"]) == 0

    shown = json.loads(capsys.readouterr().out)
    path = directory.log_path(group_of(directory, 0))
    assert (shown["trial_id"], shown["files"]) == (trial, [str(path)])
    assert (shown["lines"][2]["source"], shown["lines"][2]["text"]) == ("stdout", "building")
    assert shown["lines"][2]["time"].endswith("+00:00")


def test_show_names_the_log_among_a_trial_s_files(
    directory: RunDirectory, log: GroupLog, capsys: Capture
) -> None:
    trial = trial_ids(directory)[0]
    log.write("group", "start 1: 1 trial(s)")
    row = next(r for r in directory.read_trials().to_pylist() if r["trial_id"] == trial)
    path = directory.log_path(row["group_id"])
    log.close()
    directory.log_path(group_of(directory, 0)).rename(path)

    main(["show", str(directory.path), trial])

    assert f"kept: {path}" in capsys.readouterr().out


def test_load_log_is_a_frame_of_times_sources_and_texts(
    directory: RunDirectory, log: GroupLog
) -> None:
    trial = trial_ids(directory)[0]
    write_starts(log, trial)

    frame = rlp_sweeps.load_log(directory.path, trial)

    assert frame.columns == ["time", "source", "text"]
    assert frame["source"].to_list()[:3] == ["group", trial, "stdout"]
    assert frame["time"].max() - frame["time"].min() < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("trial", "sentence"),
    [
        ("zz", "a trial must be planned to have a log, but none of"),
        ("", "one trial must begin with '', but 4 do"),
        (0, "has none; perhaps it waits for its turn, was taken over"),
    ],
)
def test_a_log_that_is_not_there_is_said_in_a_sentence(
    directory: RunDirectory, trial: str | int, sentence: str
) -> None:
    name = trial_ids(directory)[trial] if isinstance(trial, int) else trial

    with pytest.raises(RunDirectoryError, match=sentence):
        find_log(directory.path, name)


@pytest.mark.parametrize(
    ("place", "further", "sentence"),
    [("DIR", "--json", "leave one out"), ("s3://bucket/run", "--log", "leave `--follow` out")],
)
def test_what_cannot_be_followed_is_refused(
    directory: RunDirectory, capsys: Capture, place: str, further: str, sentence: str
) -> None:
    where = place.replace("DIR", str(directory.path))

    assert main(["show", where, "d4", "--follow", further]) == 2

    assert sentence in capsys.readouterr().err


def test_a_log_is_followed_until_its_trial_has_ended(
    directory: RunDirectory, log: GroupLog, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = trial_ids(directory)[0]
    log.write("group", "start 1: 1 trial(s)")
    log.write(trial, "member: arm=control")
    further = iter([[], [("stdout", "one")], [(trial, "completed after epoch 2, 0.1 s")]])
    monkeypatch.setattr(printed.time, "sleep", lambda _: log.write_all(next(further)))

    with directory.held():
        assert main(["show", str(directory.path), trial, "--follow"]) == 0

    shown = [line[42:] for line in capsys.readouterr().out.splitlines()]
    assert shown == [
        "start 1: 1 trial(s)",
        "member: arm=control",
        "one",
        "completed after epoch 2, 0.1 s",
    ]


def test_following_ends_where_nobody_is_at_work(
    directory: RunDirectory, log: GroupLog, capsys: Capture
) -> None:
    log.write("group", "start 1: 1 trial(s)")
    log.write(trial_ids(directory)[0], "member: arm=control")

    assert main(["show", str(directory.path), trial_ids(directory)[0], "--follow"]) == 0


def test_new_lines_of_a_log_that_was_cut_are_those_behind_the_last_that_is_known() -> None:
    assert printed.new_lines([1, 2, 3], [1, 2, 3, 4]) == [4]
    assert printed.new_lines([1, 2, 3], [1, 9, 3, 4, 5]) == [4, 5]
    assert printed.new_lines([1, 2, 3], [1, 9]) == [1, 9]
    assert printed.new_lines([], [1]) == [1]


def failed_row(directory: RunDirectory, trial_id: str, group_id: str) -> None:
    row = {**directory.read_trials().to_pylist()[0], "trial_id": trial_id, "group_id": group_id}
    directory.write_trial({**row, "status": "failed", "error": "Trace\nOSError: gone"}, [])


def test_status_names_the_log_of_a_failed_trial(directory: RunDirectory, capsys: Capture) -> None:
    trial, group_id = trial_ids(directory)[3], group_of(directory, 3)
    failed_row(directory, trial, group_id)
    assert sweep_status(directory.path).failed[0].log is None
    GroupLog(directory.log_path(group_id)).write("group", "start 1: 1 trial(s)")

    assert main(["status", str(directory.path)]) == 0

    assert f"OSError: gone (log: {directory.log_path(group_id)})" in capsys.readouterr().out


def test_the_end_of_a_run_names_the_log_of_one_trial_of_each_failure() -> None:
    def failed(name: str, error: str) -> FailedTrial:
        return FailedTrial(trial_id=name, arm="full", seed=0, error=error, log=f"logs/{name}.log")

    outcome = SweepOutcome(
        directory=Path("runs/a"),
        num_planned=3,
        counts={"failed": 3},
        failed=(failed("a", "E: 1"), failed("b", "E: 1"), failed("c", "E: 2")),
    )

    named = [said for said in tell_flaws(outcome) if said.startswith("what led to it")]

    assert named == [
        f"what led to it stands in logs/{name}.log; `rlp-sweeps show runs/a {name} --log` "
        "prints it."
        for name in ("a", "c")
    ]


def test_clean_removes_the_logs_of_groups_that_have_ended_and_no_others(
    directory: RunDirectory, capsys: Capture
) -> None:
    done, left = (group_of(directory, number) for number in (0, 3))
    assert done != left
    for group_id in (done, left):
        GroupLog(directory.log_path(group_id)).write("group", "start 1: 1 trial(s)")

    assert main(["clean", str(directory.path), "--logs", "--yes"]) == 0

    said = capsys.readouterr()
    assert [p.name for p in (directory.path / "logs").iterdir()] == [f"{left}.log"]
    assert "1 log(s) of" in said.err
    assert "in 1 files" in said.out
    assert unfinished_groups(directory) == {left}
