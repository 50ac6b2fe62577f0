import json
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from rlp_sweeps import __version__
from rlp_sweeps.cli import main, sweeping
from rlp_sweeps.cli.options import parse_group_size, parse_settings, resolve_space, say
from rlp_sweeps.cli.printing import in_bytes, print_json
from rlp_sweeps.errors import ArgumentError, SchemaError
from rlp_sweeps.orchestration.planner import SweepPlan
from rlp_sweeps.orchestration.progress import FailedTrial, RunOptions, SweepOutcome
from rlp_sweeps.tracking.mlflow_gap import TrackingGap

COMMANDS = (
    *(
        "spaces",
        "new",
        "plan",
        "run",
        "resume",
        "follow-up",
        "extend",
        "cancel",
        "status",
        "list",
        "clean",
        "doctor",
    ),
    *("probe", "analyze", "show", "query", "export", "compare", "sync", "ui"),
)
Capture = pytest.CaptureFixture[str]


def outcome_of(directory: Path, **changes: Any) -> SweepOutcome:
    values: dict[str, Any] = {"directory": directory, "num_planned": 3, "counts": {"completed": 3}}
    return SweepOutcome(**{**values, **changes})


class FakeSweep:
    """Stands for orchestration and analysis; remembers what they were asked for."""

    def __init__(self) -> None:
        self.changes: dict[str, Any] = {}
        self.interrupts = False
        self.asked: list[dict[str, Any]] = []
        self.analyzed: list[Path] = []
        self.shown: list[tuple[Path, str | None]] = []
        self.analysis_error: Exception | None = None
        self.gap: TrackingGap | None = None

    def run_sweep(self, plan: SweepPlan, *, output: Path, **asked: Any) -> SweepOutcome:
        self.asked.append({"plan": plan, "output": output, **asked})
        return self._end(output)

    def resume_sweep(self, directory: Path, **asked: Any) -> SweepOutcome:
        self.asked.append({"output": directory, **asked})
        return self._end(directory)

    def _end(self, directory: Path) -> SweepOutcome:
        if self.interrupts:
            raise KeyboardInterrupt
        return outcome_of(directory, **self.changes)

    def analyze(self, directories: list[Path]) -> Any:
        self.analyzed += directories
        if self.analysis_error is not None:
            raise self.analysis_error
        print("the verdict")
        return SimpleNamespace(to_json=lambda: {"verdict": "in words"})

    def sync_within(
        self, seconds: float, directory: Path, tracking_uri: str | None
    ) -> TrackingGap | None:
        self.shown.append((directory, tracking_uri))
        return self.gap


@pytest.fixture
def sweep(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeSweep:
    fake = FakeSweep()
    module = ModuleType("rlp_sweeps.orchestration.sweep")
    module.__dict__.update(run_sweep=fake.run_sweep, resume_sweep=fake.resume_sweep)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr("rlp_sweeps.cli.reading.analyze_and_print", fake.analyze)
    monkeypatch.setattr("rlp_sweeps.orchestration.room.check_address", lambda _: [{"CPU": 6.0}])
    monkeypatch.setattr("rlp_sweeps.tracking.mlflow_tracker.sync_within", fake.sync_within)
    monkeypatch.setattr("rlp_sweeps.tracking.run_directory.RunDirectory.open", Path)
    monkeypatch.chdir(tmp_path)
    return fake


def run(*options: str) -> int:
    return main(["run", "quickstart", "--device", "cpu", *options])


# --- help, version, weight ------------------------------------------------------------------------


def test_help_lists_every_command_and_the_exit_statuses(capsys: Capture) -> None:
    assert main(["--help"]) == 0

    text = capsys.readouterr().out
    assert all(f"\n  {command} " in text for command in COMMANDS)
    assert "3 the budget is used up and trials are left; 130 interrupted" in " ".join(text.split())


def test_no_command_prints_the_help(capsys: Capture) -> None:
    assert main([]) == 0

    assert capsys.readouterr().out.startswith("Usage: rlp-sweeps")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: Capture) -> None:
    assert main([command, "--help"]) == 0

    assert f"Usage: rlp-sweeps {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "options"),
    {
        "run": "--output --address --device --engine --group-size --max-concurrent "
        "--cpus-per-group --gpus-per-group --tracking-uri --num-seeds --set --reuse --no-analyze",
        "plan": "--device --engine --group-size --num-seeds --set --json",
        "resume": "--address --device --max-concurrent --tracking-uri --max-hours --max-trials "
        "--no-analyze",
        "extend": "--set --num-seeds --num-points --dry-run --json --max-hours --no-analyze",
        "cancel": "--now --no-wait",
        "status": "--json",
        "analyze": "--outcome --diverged --json",
        "query": "--format",
        "sync": "--tracking-uri",
        "ui": "--port",
    }.items(),
)
def test_command_has_the_options_of_the_manual(command: str, options: str, capsys: Capture) -> None:
    main([command, "--help"])

    text = capsys.readouterr().out
    assert [option for option in options.split() if f"  {option} " not in text] == []


def test_version_is_the_packages(capsys: Capture) -> None:
    assert main(["--version"]) == 0

    assert capsys.readouterr().out == f"rlp-sweeps {__version__}\n"


def test_importing_the_command_line_loads_nothing_heavy() -> None:
    code = (
        "import sys, rlp_sweeps, rlp_sweeps.cli; "
        "print(sorted({'torch', 'ray', 'mlflow', 'optuna', 'polars', 'pyarrow', 'analysis', "
        "'matplotlib', 'sklearn', 'scipy'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def test_planning_a_sweep_starts_without_what_runs_one() -> None:
    code = (
        "import sys; from rlp_sweeps.cli import main; "
        "main(['plan', 'quickstart', '--set', 'train_samples=64', '--json']); "
        "print(sorted({'ray', 'mlflow', 'optuna', 'pandas'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.endswith("}\n[]\n")


def test_module_is_the_command() -> None:
    command = [sys.executable, "-m", "rlp_sweeps", "rn"]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "rlp-sweeps: no such command 'rn'. Did you mean 'run'? See `rlp-sweeps --help`.\n"
    )


# --- spaces, plan ---------------------------------------------------------------------------------


def test_spaces_prints_name_claim_trials_and_arms(capsys: Capture) -> None:
    assert main(["spaces"]) == 0

    text = " ".join(capsys.readouterr().out.split())
    assert "cifar100_optuna Once learning rate and label smoothing are tuned" in text
    assert "trials at 60 sampled points over 3 seeds; arms: control, full" in text


@pytest.fixture
def estimate(monkeypatch: pytest.MonkeyPatch) -> list[RunOptions]:
    """Stands for the timing of real steps; holds the options it was asked with."""
    asked: list[RunOptions] = []
    module = ModuleType("rlp_sweeps.orchestration.estimates")

    def estimate_sweep(plan: SweepPlan, *, options: RunOptions) -> Any:
        asked.append(options)
        return SimpleNamespace(time_s=125.0, disk_bytes=2_500_000, basis="Timed on 3 steps.")

    module.__dict__["estimate_sweep"] = estimate_sweep
    module.__dict__["estimate_without_data"] = None  # not called
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return asked


def test_plan_prints_trials_groups_time_and_disk(
    estimate: list[RunOptions], capsys: Capture
) -> None:
    assert main(["plan", "quickstart", "--device", "cpu", "--num-seeds", "2"]) == 0

    text = " ".join(capsys.readouterr().out.split())
    assert "trials 54 over 2 seed(s)" in text
    assert "by arm control 6, full 12, class_term 12, uniform_term 12, sham 12" in text
    assert "time about 2 min 5 s disk about 2.5 MB basis Timed on 3 steps." in text


def test_plan_prints_engine_and_group_size_with_their_reason(
    estimate: list[RunOptions], capsys: Capture
) -> None:
    command = ["plan", "quickstart", "--device", "cpu", "--max-concurrent", "1"]
    assert main([*command, "--engine", "vmap", "--group-size", "9"]) == 0

    text = " ".join(capsys.readouterr().out.split())
    assert "groups 15 of up to 9 trial(s) on cpu" in text
    assert "engine vmap, 9 trials a group: as asked for" in text
    assert "(135 trials)" in text


@pytest.mark.parametrize("command", ["plan", "run"])
def test_unknown_engine_is_a_wrong_request_with_a_suggestion(
    command: str, sweep: FakeSweep, capsys: Capture
) -> None:
    assert main([command, "quickstart", "--device", "cpu", "--engine", "goruped"]) == 2

    assert "unknown engine 'goruped'; did you mean 'grouped'?" in capsys.readouterr().err
    assert sweep.asked == []


@pytest.mark.parametrize("engine", ["graph", "grouped_graph"])
def test_engine_that_needs_another_device_is_a_wrong_request(
    engine: str, sweep: FakeSweep, capsys: Capture
) -> None:
    assert run("--engine", engine) == 2

    assert f"engine '{engine}' needs a CUDA device, but got 'cpu'; use" in capsys.readouterr().err
    assert sweep.asked == []


def test_plan_prints_only_json_when_asked(estimate: list[RunOptions], capsys: Capture) -> None:
    main(["plan", "quickstart", "--device", "cpu", "--json", "--max-concurrent", "3"])

    out, err = capsys.readouterr()
    plan = json.loads(out)
    assert (plan["num_trials"], plan["estimated_time_s"], plan["device"]) == (135, 125.0, "cpu")
    assert sum(plan["trials_by_arm"].values()) == plan["num_trials"]
    (choice,) = plan["engine_choices"]
    assert (choice["engine"], choice["num_trials"]) == (plan["engine"], 135)
    assert choice["group_size"] == plan["group_size"] <= 45
    assert err == ""
    assert [options.max_concurrent for options in estimate] == [3]


def test_plan_says_which_effects_its_seeds_can_see(
    estimate: list[RunOptions], capsys: Capture
) -> None:
    command = ["plan", "quickstart", "--device", "cpu", "--seed-spread", "0.004"]
    assert main(command) == 0
    text = " ".join(capsys.readouterr().out.split())
    main([*command, "--json"])
    power = json.loads(capsys.readouterr().out)["power"]

    assert "power with 5 seeds and a seed spread of 0.0040, effects of 0.0067 on test_ac" in text
    assert power["smallest_effect"] == pytest.approx(0.006728, abs=1e-6)


def test_plan_says_how_its_power_is_had_in_units_of_accuracy(
    estimate: list[RunOptions], capsys: Capture
) -> None:
    assert main(["plan", "quickstart", "--device", "cpu"]) == 0

    text = " ".join(capsys.readouterr().out.split())
    assert "seed SDs are seen" in text
    assert "in units of test accuracy with --pilot DIR" in text


def test_a_pilot_that_is_not_analyzed_is_a_wrong_request(tmp_path: Path, capsys: Capture) -> None:
    assert main(["plan", "quickstart", "--pilot", str(tmp_path)]) == 2

    assert "a pilot must be an analyzed run" in capsys.readouterr().err


# --- run, resume ----------------------------------------------------------------------------------


def test_run_hands_every_option_on(sweep: FakeSweep) -> None:
    run(
        *("--output", "out", "--address", "10.0.0.1:6379", "--group-size", "4"),
        *("--max-concurrent", "3", "--cpus-per-group", "2", "--gpus-per-group", "0"),
        *("--engine", "grouped"),
        *("--tracking-uri", "sqlite:///x.db", "--num-seeds", "2", "--set", "lr=0.1,0.2"),
        "--tracking-may-be-away",
        *(
            "--set",
            "num_epochs=3",
            "--reuse",
            "a",
            "--reuse",
            "b",
            "--keep-weights",
            "--probe",
            "knn,lda",
        ),
        *("--keep-samples", "--log-models"),
    )

    (asked,) = sweep.asked
    assert asked["output"] == Path("out")
    assert asked["options"] == RunOptions(
        address="10.0.0.1:6379",
        device="cpu",
        max_concurrent=3,
        cpus_per_group=2.0,
        gpus_per_group=0.0,
        tracking_uri="sqlite:///x.db",
        tracking_may_be_away=True,
        reuse=(Path("a"), Path("b")),
        keep_weights=True,
        log_models=True,
        keep_samples=True,
        probes=("knn", "lda"),
    )
    plan = asked["plan"]
    assert (plan.name, plan.group_size, plan.space.num_seeds) == ("quickstart", 4, 2)
    assert (plan.engine, plan.slots) == ("grouped", 3)
    assert plan.space.axes["lr"].values() == (0.1, 0.2)
    assert plan.space.fixed["num_epochs"] == 3


def test_run_names_its_folder_after_space_and_time(sweep: FakeSweep) -> None:
    run()

    output = sweep.asked[0]["output"]
    assert output.parent == Path("runs")
    assert output.name.startswith("quickstart-20")


def test_run_that_is_done_is_analyzed_and_shown(sweep: FakeSweep, capsys: Capture) -> None:
    assert run("--output", "out", "--tracking-uri", "sqlite:///x.db") == 0

    out, err = capsys.readouterr()
    assert sweep.analyzed == [Path("out")]
    assert sweep.shown == [(Path("out"), "sqlite:///x.db")]
    assert "results: out (3 completed)" in out
    assert "rlp-sweeps ui out" in out
    assert err == ""


def test_run_is_not_analyzed_when_told_so(sweep: FakeSweep) -> None:
    assert run("--no-analyze") == 0

    assert (sweep.analyzed, sweep.shown) == ([], [])


def test_run_names_every_trial_that_failed(sweep: FakeSweep, capsys: Capture) -> None:
    failed = tuple(
        FailedTrial(trial_id=f"id{i}", arm="full", seed=i, error="RuntimeError: no memory")
        for i in range(2)
    )
    sweep.changes = {"counts": {"completed": 1, "failed": 2}, "failed": failed}

    assert run("--output", "out") == 1
    assert capsys.readouterr().err.splitlines() == [
        "rlp-sweeps: trial id0 (full, seed 0) failed: RuntimeError: no memory",
        "rlp-sweeps: trial id1 (full, seed 1) failed: RuntimeError: no memory",
    ]
    assert sweep.analyzed == [Path("out")]


def test_run_names_ten_of_many_trials_that_failed_alike(sweep: FakeSweep, capsys: Capture) -> None:
    errors = ["RuntimeError: no memory"] * 12 + ["OSError: gone"]
    failed = tuple(
        FailedTrial(trial_id=f"id{i}", arm="full", seed=i, error=error)
        for i, error in enumerate(errors)
    )
    sweep.changes = {"counts": {"failed": 13}, "failed": failed}

    assert run("--output", "out") == 1

    said = capsys.readouterr().err.splitlines()
    assert len(said) == 12
    assert "trial id12 (full, seed 12) failed: OSError: gone" in said[10]
    assert "2 more trials failed alike; `rlp-sweeps query out" in said[11]


def test_run_names_groups_that_were_lost_and_trials_without_row(
    sweep: FakeSweep, capsys: Capture
) -> None:
    sweep.changes = {"lost": ("group x was lost.",), "missing": ("id0", "id1")}

    assert run() == 1
    assert capsys.readouterr().err.splitlines() == [
        "rlp-sweeps: group x was lost.",
        "rlp-sweeps: 2 planned trial(s) have no row: id0, id1.",
    ]


@pytest.mark.parametrize("raises", [True, False])
def test_interrupted_run_says_how_to_resume(
    sweep: FakeSweep, capsys: Capture, raises: bool
) -> None:
    sweep.interrupts = raises
    sweep.changes = {"interrupted": True, "missing": ("id0",)}

    assert run("--output", "out") == 130
    assert capsys.readouterr().err.splitlines() == [
        "rlp-sweeps: interrupted; what is finished is kept, and `rlp-sweeps resume out` goes on "
        "from there."
    ]
    assert sweep.analyzed == []


def test_run_whose_analysis_fails_keeps_its_results(sweep: FakeSweep, capsys: Capture) -> None:
    sweep.analysis_error = SchemaError("trials break the schema.")

    assert run() == 1
    assert capsys.readouterr().err == (
        "rlp-sweeps: the trials are kept, but their analysis failed: trials break the schema.\n"
    )


def test_run_is_done_when_only_mlflow_is_away(sweep: FakeSweep, capsys: Capture) -> None:
    sweep.gap = TrackingGap(0, "no answer.", "http://tracker")

    assert run("--output", "out") == 0
    assert capsys.readouterr().err == f"rlp-sweeps: {sweep.gap.sentence(Path('out'))}\n"


def test_run_that_mlflow_could_not_follow_does_not_wait_for_it_again(
    sweep: FakeSweep, capsys: Capture
) -> None:
    sweep.changes = {"tracking_error": "MLflow lacks a part of this sweep."}

    assert run("--output", "out") == 0
    assert (sweep.analyzed, sweep.shown) == ([Path("out")], [])
    assert capsys.readouterr().err == "rlp-sweeps: MLflow lacks a part of this sweep.\n"


def test_resume_goes_on_in_the_folder(sweep: FakeSweep) -> None:
    assert main(["resume", "out", "--max-concurrent", "1", "--no-analyze"]) == 0

    (asked,) = sweep.asked
    assert asked["output"] == Path("out")
    assert asked["options"] == RunOptions(max_concurrent=1)


def test_wrong_request_leaves_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def refuse(reference: str, **_: Any) -> None:
        raise ArgumentError("one rule\n  must hold.")

    monkeypatch.setattr(sweeping.opt, "resolve_space", refuse)

    assert run() == 2
    assert capsys.readouterr() == ("", "rlp-sweeps: one rule must hold.\n")


def test_keyboard_interrupt_elsewhere_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def interrupt(reference: str, **_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sweeping.opt, "resolve_space", interrupt)

    assert run() == 130
    assert "Traceback" not in capsys.readouterr().err


# --- options and printing -------------------------------------------------------------------------


def test_settings_are_split_at_the_first_equals_sign() -> None:
    assert parse_settings(["dataset=my.module:load=x", " lr = 0.1 "]) == {
        "dataset": "my.module:load=x",
        "lr": "0.1",
    }


def test_seeds_and_settings_replace_the_recipes() -> None:
    named = resolve_space("quickstart", settings=["num_epochs=2"], num_seeds=1)

    assert (named.space.fixed["num_epochs"], named.space.num_seeds) == (2, 1)


@pytest.mark.parametrize(("text", "size"), [("auto", None), ("1", 1), ("16", 16)])
def test_group_size_is_auto_or_a_count(text: str, size: int | None) -> None:
    assert parse_group_size(text) == size


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "all"])
def test_group_size_refuses_what_is_no_count(text: str) -> None:
    with pytest.raises(ArgumentError, match="`--group-size` must be 'auto' or at least 1"):
        parse_group_size(text)


def test_what_is_said_stands_on_one_line(capsys: Capture) -> None:
    say("one\n  two.")

    assert capsys.readouterr().err == "rlp-sweeps: one two.\n"


def test_json_holds_null_where_there_is_no_number(capsys: Capture) -> None:
    print_json({"a": [1.5, float("nan")], "b": (float("inf"), "λ")})

    assert json.loads(capsys.readouterr().out) == {"a": [1.5, None], "b": [None, "λ"]}


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2_500_000, "2.5 MB"), (3 * 10**12, "3 TB")],
)
def test_sizes_have_decimal_units(size: int, words: str) -> None:
    assert in_bytes(size) == words


def test_plan_counts_the_trials_of_a_study_whose_images_are_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    status = main(["plan", "cifar100_lr_lambda", "--json"])

    plan = json.loads(capsys.readouterr().out)
    assert status == 0
    assert plan["num_trials"] > 100
    assert plan["estimated_time_s"] is None
    assert str(tmp_path / "data") in plan["basis"]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_command_that_is_interrupted_anywhere_says_so_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture, sent: signal.Signals
) -> None:
    term = signal.getsignal(signal.SIGTERM)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore it behind &
    monkeypatch.setattr("rlp_sweeps.recipes.list_recipes", lambda: signal.raise_signal(sent))

    status = main(["spaces"])

    signal.signal(signal.SIGTERM, term)
    signal.signal(signal.SIGINT, before)
    assert status == 130
    assert capsys.readouterr().err == "rlp-sweeps: interrupted.\n"
