"""The command that a user has run when a sweep ends: a mail, a webhook, the next step.

It is told what the sweep came to by its environment and, as JSON, on its stdin. It is not run by a
shell, so that nothing in a name of a directory or a message of an error is taken for a command.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from rlp_sweeps.cli.options import say
from rlp_sweeps.cli.output import json_text
from rlp_sweeps.errors import ArgumentError

TIME_LIMIT_S = 60.0
"""A hook that takes longer is ended."""

_PREFIX = "RLP_SWEEPS_"
_COUNTED = {"DONE": "completed", "FAILED": "failed", "DIVERGED": "diverged"}


@dataclass(frozen=True, slots=True)
class FinishHook:
    """A command with its arguments.

    Attributes:
        argv: As it is executed.
    """

    argv: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> "FinishHook":
        """Return the hook that a command line names.

        Raises:
            ArgumentError: It is empty, its quotes do not match, or there is no such program.
        """
        try:
            argv = shlex.split(text)
        except ValueError as error:
            msg = (
                f"`--on-finish` must be a command with matching quotes, but got {text!r}: {error}."
            )
            raise ArgumentError(msg) from error
        if not argv:
            msg = "`--on-finish` must name a command, but got ''."
            raise ArgumentError(msg)
        if shutil.which(argv[0]) is None:
            msg = (
                f"`--on-finish` must name a program, but there is no {argv[0]!r}; a command for a "
                "shell is given as \"sh -c '…'\"."
            )
            raise ArgumentError(msg)
        return cls(tuple(argv))

    def run(self, ending: dict[str, Any], *, time_limit_s: float = TIME_LIMIT_S) -> None:
        """Run it once; what it prints goes to stderr, and how it fails is said in a sentence.

        Args:
            ending: As `Ending.to_json` returns it.
            time_limit_s: Seconds after which it is ended, with all that it has started.
        """
        try:
            process = subprocess.Popen(
                self.argv,
                stdin=subprocess.PIPE,
                stdout=sys.stderr if _has_descriptor() else subprocess.DEVNULL,
                env=os.environ | environment_of(ending),
                start_new_session=True,  # ended as one, and not by the Ctrl-C that ended the sweep
            )
        except OSError as error:
            say(f"the command of --on-finish could not be started: {error}.")
            return
        said = json_text(ending).encode() + b"\n"
        try:
            process.communicate(said, timeout=time_limit_s)
        except subprocess.TimeoutExpired:
            _end(process)
            say(f"the command of --on-finish was ended after {time_limit_s:g} s.")
            return
        except KeyboardInterrupt:
            _end(process)
            say("the command of --on-finish was interrupted.")
            return
        if process.returncode:
            say(f"the command of --on-finish failed with status {process.returncode}.")


def environment_of(ending: dict[str, Any]) -> dict[str, str]:
    """Return the variables that tell a hook what a sweep came to."""
    values = {
        "DIR": ending["directory"] or "",
        "STATUS": ending["status"],
        "EXIT_STATUS": ending["exit_status"],
        "SUMMARY": ending["summary"],
        **{name: ending["counts"].get(status, 0) for name, status in _COUNTED.items()},
    }
    return {f"{_PREFIX}{name}": str(value).replace("\0", "") for name, value in values.items()}


def _has_descriptor() -> bool:
    """Return whether stderr is a file of the process; a test's or a notebook's is not."""
    try:
        return sys.stderr.fileno() >= 0
    except (OSError, ValueError, AttributeError):
        return False


def _end(process: "subprocess.Popen[bytes]") -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
