"""Start a tool on the study, watch it, and end it the way a user or a machine does."""

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.options import ROOT
from benchmarks.other_tools.study import LEDGER, LRS
from benchmarks.other_tools.tools import Tool

_POLL_S = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Ended:
    """What a tool's commands came to.

    Attributes:
        exit_status: Of the last command that ran; negative for a signal.
        wall_s: From the first start to the end.
        first_s: Until one trial's result could be read; None where there was none.
        at_signal: Trials that had ended when the signal was sent; None where none was sent.
        output: What it wrote to stdout and stderr.
    """

    exit_status: int
    wall_s: float
    first_s: float | None
    at_signal: int | None
    output: str


def run_tool(
    tool: Tool,
    directory: Path,
    *,
    python: str,
    lrs: tuple[float, ...] = LRS,
    end: tuple[int, signal.Signals] | None = None,
) -> Ended:
    """Run the study in a tool; its bytecode is kept, whatever the environment says, as everywhere.

    Args:
        tool: Which.
        directory: For its results; a second run there goes on, as the tool can.
        python: Interpreter that has the other tools.
        lrs: Learning rates of the grid.
        end: Signal to the first command's process (Ctrl-C: to its group), once so many trials
            ended.
    """
    directory.mkdir(parents=True, exist_ok=True)
    started, first_s, at_signal = time.perf_counter(), None, None
    log = directory.with_suffix(".log")
    status = 0
    for arguments in tool.commands(directory, lrs):
        with log.open("a", encoding="utf-8") as output:
            process = subprocess.Popen(
                [tool.run(python), *arguments],
                cwd=ROOT,
                env={
                    **{k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"},
                    "PYTHONPATH": str(ROOT),
                    "OMP_NUM_THREADS": "1",
                    LEDGER: str(directory.with_suffix(".ledger")),
                },
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            while process.poll() is None:
                ended = tool.num_ended(directory) if first_s is None or end else 0
                if ended and first_s is None:
                    first_s = time.perf_counter() - started
                if end is not None and at_signal is None and ended >= end[0]:
                    _send(process, end[1])
                    at_signal = ended
                time.sleep(_POLL_S)
        status = process.returncode
        if status or at_signal is not None:
            break
    return Ended(
        exit_status=status,
        wall_s=time.perf_counter() - started,
        first_s=first_s,
        at_signal=at_signal,
        output=log.read_text(encoding="utf-8"),
    )


def _send(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    """Send SIGINT to the whole group, as a terminal does, any other signal to the driver alone."""
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
    else:
        os.kill(process.pid, number)
