import subprocess
import sys
import threading
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

import polars as pl
import pytest
from analysis_frames import make_epochs, make_trials, write_directory

import rlp_sweeps
from rlp_sweeps import ChoiceAxis, SearchSpace, SweepResult, analyze, load_epochs, load_trials
from rlp_sweeps.api import RunSettings, query, resume_sweep, run_sweep
from rlp_sweeps.errors import (
    ArgumentError,
    BackboneError,
    ConfigError,
    QueryError,
    RunDirectoryError,
    SearchSpaceError,
)
from rlp_sweeps.orchestration.progress import FailedTrial, RunOptions, SilentProgress, SweepOutcome

SPACE = SearchSpace(
    axes={"lr": ChoiceAxis(choices=(0.1, 0.2))},
    num_seeds=2,
    fixed={"dataset": "digits", "backbone": "mlp", "num_epochs": 1, "train_samples": 128},
    probes=("knn",),
)


class FakeSweep:
    """Stands for orchestration; remembers what it was asked for, and ends as it is told."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}
        self.end: dict[str, Any] = {}
        self.error: BaseException | None = None

    def run_sweep(self, plan: Any, *, output: Path, **asked: Any) -> SweepOutcome:
        self.asked = {"plan": plan, **asked}
        return self._outcome(output)

    def resume_sweep(self, directory: Path, **asked: Any) -> SweepOutcome:
        self.asked = asked
        return self._outcome(directory)

    def _outcome(self, directory: Path) -> SweepOutcome:
        if self.error is not None:
            raise self.error
        values: dict[str, Any] = {"num_planned": 4, "counts": {"completed": 4, "failed": 0}}
        return SweepOutcome(directory=directory, **{**values, **self.end})


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeSweep:
    fake = FakeSweep()
    module = ModuleType("rlp_sweeps.orchestration.sweep")
    module.__dict__.update(run_sweep=fake.run_sweep, resume_sweep=fake.resume_sweep)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.chdir(tmp_path)
    return fake


def test_run_sweep_plans_a_space_that_no_module_holds(fake: FakeSweep) -> None:
    result = run_sweep(SPACE, output="runs/a", device="cpu", max_hours=2, progress=False)

    plan, options = fake.asked["plan"], fake.asked["options"]
    assert (plan.name, plan.num_trials) == ("sweep", 4)
    assert (options.max_hours, options.probes) == (2, ("knn",))
    assert (result.directory, result.is_complete) == (Path("runs/a"), True)


def test_run_sweep_takes_overrides_as_values_of_python(fake: FakeSweep) -> None:
    overrides = {"lr": [0.3, 0.4, 0.5], "num_epochs": 2, "train_samples": None, "momentum": "0.5"}

    run_sweep(SPACE, overrides=overrides, num_seeds=1, device="cpu", probes=(), progress=False)

    trials = fake.asked["plan"].trials
    assert [trial.lr for trial in trials] == [0.3, 0.4, 0.5]
    assert {(t.num_epochs, t.train_samples, t.momentum) for t in trials} == {(2, None, 0.5)}


def test_run_sweep_names_its_directory_after_the_sweep(fake: FakeSweep) -> None:
    named = run_sweep("quickstart", name="mine", num_seeds=1, device="cpu", progress=False)
    recipe = run_sweep("quickstart", num_seeds=1, device="cpu", progress=False)

    assert named.directory.name.startswith("mine-2")
    assert recipe.directory.name.startswith("quickstart-2")


def test_options_of_a_run_are_those_of_the_orchestration() -> None:
    known = {field.name for field in fields(RunOptions)}

    assert set(RunSettings.__annotations__) == known
    wider = {"reuse", "probes"}
    hints = get_type_hints(RunSettings)
    assert {n: h for n, h in hints.items() if n not in wider} == {
        n: h for n, h in get_type_hints(RunOptions).items() if n not in wider
    }


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"max_hour": 1}, ArgumentError, "unknown option 'max_hour' of a sweep; did you mean"),
        ({"zzz": 1}, ArgumentError, "the options are"),
        ({"max_hours": -1}, ArgumentError, "`0 < max_hours < inf` must hold"),
        ({"overrides": {"lamda": 1}}, ConfigError, "unknown setting 'lamda'"),
        ({"overrides": {"lr": []}}, ConfigError, "one value or several, but got lr="),
        ({"overrides": {"lr": ["x"]}}, ConfigError, "`lr` must be a number, but got lr='x'"),
        ({"num_seeds": 0}, SearchSpaceError, "1 <= num_seeds"),
        ({"name": "a/b"}, ArgumentError, "the name of a sweep must be of letters"),
        ({"output": "gs://a/b"}, RunDirectoryError, "s3://BUCKET/PREFIX"),
        ({"overrides": {"backbone": "__main__.net"}}, BackboneError, "'my_code.net'"),
    ],
)
def test_run_sweep_refuses_before_anything_starts(
    fake: FakeSweep, changes: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        run_sweep(SPACE, **{"device": "cpu", **changes})

    assert not fake.asked


@pytest.mark.parametrize("end", [{"interrupted": True, "missing": ("a",)}, {}])
def test_interrupted_sweep_raises_with_the_call_that_goes_on(
    fake: FakeSweep, end: dict[str, Any]
) -> None:
    fake.end, fake.error = end, None if end else KeyboardInterrupt()

    with pytest.raises(KeyboardInterrupt, match=r"is kept, and `resume_sweep\('runs/a'\)` goes on"):
        resume_sweep("runs/a", progress=False)


def test_sweep_whose_budget_is_used_up_returns_and_says_how_it_goes_on(
    fake: FakeSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    stopped = {"interrupted": True, "missing": ("a",), "stopped_by": "trials"}
    fake.end = {**stopped, "counts": {"completed": 3}}

    result = resume_sweep("runs/a", max_trials=3)

    assert not result.is_complete
    assert repr(result).splitlines() == [
        "sweep runs/a: 3 of 4 trials (3 completed)",
        "the budget of trials is used up; 1 of 4 trials are left, what is finished is kept, and "
        "`resume_sweep('runs/a')` goes on from there.",
    ]
    assert "the budget of trials is used up" in capsys.readouterr().out


def test_result_names_failed_trials_and_escapes_them_in_a_notebook(fake: FakeSweep) -> None:
    failed = FailedTrial(trial_id="id0", arm="full", seed=1, error="ValueError: <b>")
    fake.end = {"failed": (failed,), "counts": {"completed": 3, "failed": 1}}

    result = resume_sweep("runs/a", progress=False)

    assert "trial id0 (full, seed 1) failed: ValueError: <b>" in repr(result)
    assert "ValueError: &lt;b&gt;" in result._repr_html_()


def test_progress_is_printed_to_stdout_or_told_to_a_listener(
    fake: FakeSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    listener = SilentProgress()

    resume_sweep("runs/a", progress=listener)
    quiet = capsys.readouterr()
    resume_sweep("runs/a")

    assert (quiet.out, quiet.err) == ("", "")
    assert type(fake.asked["progress"]).__name__ == "LogView"


def test_sweep_runs_in_a_thread_other_than_the_main_one(fake: FakeSweep) -> None:
    found: list[SweepResult] = []

    thread = threading.Thread(target=lambda: found.append(resume_sweep("runs/a")))
    thread.start()
    thread.join(60)

    assert found[0].counts["completed"] == 4


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    trials = make_trials()
    return write_directory(tmp_path / "run", trials, epochs=make_epochs(trials))


def test_frames_are_those_of_the_directory(directory: Path) -> None:
    result = SweepResult(SweepOutcome(directory=directory, num_planned=10, counts={}), Path("run"))

    assert result.trials().equals(load_trials(directory))
    assert result.epochs().equals(load_epochs(str(directory)))
    assert result.query("SELECT count(*) AS n FROM trials").item() == len(load_trials(directory))


def test_analyze_says_its_verdict_and_holds_frames(directory: Path) -> None:
    found = analyze(directory)

    assert isinstance(found.effects, pl.DataFrame)
    assert repr(found).startswith(found.verdict)
    assert f"<b>{found.paragraphs[0].lead}:</b>" in found._repr_html_()
    assert (directory / "analysis" / "report.html").is_file()


def test_analyze_without_writing_leaves_the_directory_as_it_was(directory: Path) -> None:
    found = analyze(directory, write=False)

    assert found.effects_pooled.equals(analyze(directory).effects_pooled)
    with pytest.raises(RunDirectoryError, match="at least one run directory"):
        analyze()


def test_reading_raises_the_errors_of_the_project(directory: Path) -> None:
    with pytest.raises(QueryError, match="test_accuracy"):
        query(directory, "SELECT test_acuracy FROM trials")
    with pytest.raises(RunDirectoryError, match="must exist"):
        load_trials(directory / "nowhere")


def test_import_of_the_package_and_its_api_stays_light() -> None:
    code = (
        "import sys, rlp_sweeps; from rlp_sweeps import run_sweep, analyze, SearchSpace; "
        "print([m for m in ('torch', 'ray', 'mlflow', 'polars', 'typer') if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def test_package_lists_and_has_the_names_of_the_api() -> None:
    missing = [name for name in rlp_sweeps.__all__ if not hasattr(rlp_sweeps, name)]

    assert missing == []
    assert set(rlp_sweeps.__all__) <= set(dir(rlp_sweeps))
    with pytest.raises(AttributeError, match="no attribute 'run_swep'"):
        rlp_sweeps.run_swep  # noqa: B018


def test_type_checkers_see_every_name_of_the_package() -> None:
    stub = Path(rlp_sweeps.__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    typed = {line.rpartition(" as ")[2] for line in stub.splitlines() if " as " in line}

    assert typed == set(rlp_sweeps.__all__) - {"__version__"}
