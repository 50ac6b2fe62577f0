import signal
from pathlib import Path

import pytest
import sweep_cases as cases

from rlp_sweeps import load_trials, resume_sweep, run_sweep
from rlp_sweeps.cli import main

STUDY = """
from rlp_sweeps.spaces import ChoiceAxis, SearchSpace

SPACE = SearchSpace(
    axes={
        "lr": ChoiceAxis(choices=(0.05, 0.2)),
        "rlp_lambda": ChoiceAxis(choices=(1.0,), control=0.0),
    },
    arms=("control", "full"),
    num_seeds=1,
    fixed={"dataset": "digits", "train_samples": 128, "backbone": "mlp", "num_epochs": 1},
)
"""


@pytest.mark.slow
def test_sweep_from_python_equals_that_of_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cell: dict[str, object] = {"__name__": "__main__"}
    exec(STUDY, cell)  # as a notebook does
    (tmp_path / "study.py").write_text(STUDY)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGUSR1)]

    first = run_sweep(
        cell["SPACE"], output=tmp_path / "called", device="cpu", group_size=2, max_trials=2
    )
    second = resume_sweep(first.directory)
    typed = f"run {tmp_path}/study.py --output {tmp_path}/typed --device cpu --group-size 2"
    status = main([*typed.split(), "--no-analyze"])

    assert (first.is_complete, second.is_complete, status) == (False, True, 0)
    for table in ("trials", "epochs"):
        called, typed_in = (cases.read_table(tmp_path / n, table) for n in ("called", "typed"))
        assert called.equals(typed_in)
    assert second.analyze().trials.equals(load_trials(tmp_path / "called"))
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGUSR1)] == handlers
    assert "trials 4 of 4 done" in capsys.readouterr().out
