import signal
from pathlib import Path

import pytest
import sweep_cases as cases
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from rlp_sweeps import load_trials
from rlp_sweeps.cli import main

GUIDE = Path(__file__).parents[2] / "docs/guides/python.md"


@pytest.mark.slow
@pytest.mark.faults
def test_guide_to_python_runs_and_its_sweep_equals_that_of_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGUSR1)]
    blocks = list(Sybil([PythonCodeBlockParser()]).parse(GUIDE))
    Path("study.py").write_text(blocks[0].parsed)

    for block in blocks:
        block.evaluate()
    said = capsys.readouterr().out
    typed = ["--device", "cpu", "--no-analyze"]
    statuses = [
        main(["run", "study.py", "--output", "runs/typed", *typed]),
        main(["extend", "runs/typed", "--set", "lr=0.1", *typed]),
        main(["follow-up", "runs/typed", *typed]),
    ]

    assert statuses == [0, 0, 0]
    for table in ("trials", "epochs"):
        called, typed = (cases.read_table(Path("runs", n), table) for n in ("first", "typed"))
        assert called.equals(typed)
    assert len(load_trials("runs/first")) == 24 + 18  # three rescaled arms, 3 lr, 2 seeds
    shown = [
        line.strip() for line in GUIDE.read_text().splitlines() if line.startswith("    sweep ")
    ]
    assert shown == ["sweep runs/first: 8 of 16 trials (8 completed)"]
    assert shown[0] in said
    assert "`resume_sweep('runs/first')` goes on from there." in said
    assert "trials 16 of 16 done" in said
    assert "extension of runs/first: 8 trials: 2 control, 2 full" in said
    assert "follow-up of runs/first: 18 trials: 6 rescaled (κ " in said
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGUSR1)] == handlers
