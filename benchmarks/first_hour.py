"""Walk as a new user does, from a fresh clone to an own model, and print each step's seconds.

    python -m benchmarks.first_hour [FOLDER] [--source REPOSITORY]

Every command is one that README tells. FOLDER is made, a temporary one by default, and kept. It
stops at the first step that does not end as README says, and prints what that step wrote. Seconds
are wall time; run it on a machine that does nothing else.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.options import ROOT

TIMEOUT_S = 1800
_POLL_S = 0.2
SMALL = ("--set", "num_epochs=2", "--num-seeds", "2")
OWN_MODEL = """from torch import nn
from rlp_sweeps.training.backbones import Backbone


def build_linear(*, image_shape, num_classes, depth, width, dropout):
    channels, height, side = image_shape
    hidden = nn.Linear(channels * height * side, width or 64)
    extractor = nn.Sequential(nn.Flatten(), hidden, nn.ReLU())
    head = nn.Linear(hidden.out_features, num_classes)
    return Backbone(extractor=extractor, classifier=head, attach_points=["2"])
"""
"""From the docstring of `rlp_sweeps/training/backbones`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Walk:
    """A clone and what a user's shell would know.

    Attributes:
        clone: The clone's folder, in which every command is given.
        log: What the commands wrote.
    """

    clone: Path
    log: Path

    def environment(self) -> dict[str, str]:
        """Return that of a shell in which the clone's environment is active."""
        bare = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "VIRTUAL_ENV"}}
        return {**bare, "PATH": f"{self.clone / '.venv' / 'bin'}{os.pathsep}{bare['PATH']}"}

    def start(self, *command: str) -> "subprocess.Popen[bytes]":
        """Start a command of the user's in the clone."""
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"$ {' '.join(command)}\n")
            log.flush()
            return subprocess.Popen(
                command,
                cwd=self.clone,
                env=self.environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def do(self, *command: str, exit_status: int = 0) -> None:
        """Give a command and wait for its end.

        Raises:
            RuntimeError: It ended with another exit status.
        """
        self.end(self.start(*command), exit_status)

    def end(self, process: "subprocess.Popen[bytes]", exit_status: int) -> None:
        """Wait for a command's end.

        Raises:
            RuntimeError: It ended with another exit status.
        """
        status = process.wait(TIMEOUT_S)
        if status != exit_status:
            tail = self.log.read_text(encoding="utf-8")[-3000:]
            msg = f"the exit status must be {exit_status}, but is {status}:\n{tail}"
            raise RuntimeError(msg)

    def query(self, sql: str) -> str:
        """Return the last line of a query of the demo, as CSV."""
        command = ["rlp-sweeps", "query", "runs/demo", sql, "--format", "csv"]
        done = subprocess.run(
            command, cwd=self.clone, env=self.environment(), check=True, capture_output=True
        )
        return done.stdout.decode().splitlines()[-1]


def wait_until(holds: Callable[[], bool]) -> None:
    """Return once something holds.

    Raises:
        TimeoutError: It does not within `TIMEOUT_S`.
    """
    deadline = time.monotonic() + TIMEOUT_S
    while not holds():
        if time.monotonic() > deadline:
            msg = f"what is waited for must come within {TIMEOUT_S} s, but did not."
            raise TimeoutError(msg)
        time.sleep(_POLL_S)


def look_at_the_ui(walk: Walk) -> None:
    """Open the MLflow UI until its page answers."""

    def answers() -> bool:
        try:
            with urllib.request.urlopen(address, timeout=5) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    address = "http://127.0.0.1:5123"
    process = walk.start("rlp-sweeps", "ui", "runs/demo", "--port", "5123")
    try:
        wait_until(answers)
    finally:
        os.killpg(process.pid, signal.SIGINT)
        process.wait(60)


def interrupt(walk: Walk) -> None:
    """Press Ctrl-C once a trial has its row."""
    output = walk.clone / "runs" / "stopped"
    process = walk.start("rlp-sweeps", "run", "my_study.py", "--output", "runs/stopped")
    wait_until(lambda: any(output.glob("trials/*.parquet")) or process.poll() is not None)
    os.killpg(process.pid, signal.SIGINT)
    walk.end(process, 130)


def write_own_model(walk: Walk) -> None:
    """Write the model's module and train it."""
    (walk.clone / "my_nets.py").write_text(OWN_MODEL, encoding="utf-8")
    own = ("--set", "backbone=my_nets.build_linear", "--output", "runs/own_model")
    walk.do("rlp-sweeps", "run", "my_study.py", *SMALL, *own)


def steps(walk: Walk, source: str) -> dict[str, Callable[[], None]]:
    """Return what a new user does, by its name, in order."""
    do = walk.do
    sql = "SELECT arm, avg(test_accuracy) FROM trials GROUP BY arm"
    small = ("--output", "runs/small")
    return {
        "git clone": lambda: (
            subprocess.run(["git", "clone", "-q", source, walk.clone], check=True) and None
        ),
        "make setup": lambda: do("make", "setup"),
        "make demo": lambda: do("make", "demo"),
        "spaces": lambda: do("rlp-sweeps", "spaces"),
        "new": lambda: do("rlp-sweeps", "new", "my_study"),
        "plan": lambda: do("rlp-sweeps", "plan", "my_study.py"),
        "run, a rehearsal": lambda: do("rlp-sweeps", "run", "my_study.py", *SMALL, *small),
        "status": lambda: do("rlp-sweeps", "status", "runs/small"),
        "show": lambda: do(
            "rlp-sweeps", "show", "runs/demo", walk.query("SELECT trial_id FROM trials LIMIT 1")
        ),
        "query": lambda: do("rlp-sweeps", "query", "runs/demo", sql),
        "export": lambda: do("rlp-sweeps", "export", "runs/demo", "--format", "latex"),
        "compare": lambda: do("rlp-sweeps", "compare", "runs/demo", "runs/small"),
        "ui, until its page": lambda: look_at_the_ui(walk),
        "Ctrl-C": lambda: interrupt(walk),
        "resume": lambda: do("rlp-sweeps", "resume", "runs/stopped"),
        "own model": lambda: write_own_model(walk),
    }


def main() -> None:
    """Walk, and print a row a step."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument(
        "--source", default=str(ROOT), help="what is cloned; default: this checkout"
    )
    parser.add_argument("--json", action="store_true", help="print the seconds as JSON")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="first-hour-"))
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    walk = Walk(clone=folder / "clone", log=folder / "log.txt")
    seconds: dict[str, float] = {}
    for name, step in steps(walk, arguments.source).items():
        started = time.perf_counter()
        step()
        seconds[name] = time.perf_counter() - started
        print(f"{seconds[name]:7.1f} s  {name}", file=sys.stderr, flush=True)
    if arguments.json:
        print(json.dumps(seconds))
        return
    rows = [f"| {name} | {value:.1f} |" for name, value in seconds.items()]
    print("\n".join(["| step | s |", "|---|---|", *rows, f"| all | {sum(seconds.values()):.1f} |"]))


if __name__ == "__main__":
    main()
