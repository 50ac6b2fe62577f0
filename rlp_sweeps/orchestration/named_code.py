"""Code that a run directory names: a user's own data set or backbone, by its dotted path.

A recipe is code that its user has chosen; a run directory is data, which may come from somebody
else. What it names is imported and called only where the sweep was begun by this user, or where
``--trust-code`` says so. What this user has begun is remembered in the folder of their state, one
empty file a sweep, named after the sweep and the code; a directory that names other code than it
began with is another one.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Collection, Iterable
from pathlib import Path

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import RunDirectoryError
from rlp_sweeps.orchestration.planner import SweepPlan, group_representatives
from rlp_sweeps.orchestration.points import asked_trials
from rlp_sweeps.tracking.run_directory import RunDirectory
from rlp_sweeps.training.dotted_paths import is_dotted_path


def code_of(trials: Iterable[TrialConfig]) -> frozenset[str]:
    """Return the dotted paths that trials name."""
    named = {name for trial in trials for name in (trial.dataset, trial.backbone)}
    return frozenset(name for name in named if is_dotted_path(name))


def trust_code(directory: RunDirectory, trials: Iterable[TrialConfig]) -> None:
    """Remember that this user trusts the code that these trials name, in this sweep.

    Where the folder of the user's state cannot be written, nothing is remembered, and a resumed
    sweep asks for ``--trust-code``.
    """
    names = code_of(trials)
    if not names:
        return
    mark = _mark(directory, names)
    with contextlib.suppress(OSError):
        mark.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        mark.touch(mode=0o600)


def check_code(
    directory: RunDirectory,
    plan: SweepPlan,
    *,
    is_trusted: bool = False,
    further: Iterable[TrialConfig] = (),
) -> None:
    """Refuse to run code that only a run directory names; nothing is imported.

    Args:
        directory: The run directory.
        plan: What its manifest plans.
        is_trusted: The user says that the directory may be trusted, which is remembered.
        further: Trials that are told by other files of the directory.

    Raises:
        RunDirectoryError: It names code, and this user neither began it nor trusts it.
    """
    asked = asked_trials(plan, directory.path) if plan.is_search else []
    trials = [*group_representatives(plan), *plan.trials, *asked, *further]
    if is_trusted:
        trust_code(directory, trials)
        return
    names = code_of(trials)
    if names and not _mark(directory, names).is_file():
        msg = (
            f"a run directory is data, but {directory.path} names code to import and call: "
            f"{sorted(names)}; where it is yours, or its maker is to be trusted, add --trust-code."
        )
        raise RunDirectoryError(msg)


def _mark(directory: RunDirectory, names: Collection[str]) -> Path:
    said = json.dumps([directory.manifest.get("sweep_id"), sorted(names)])
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    folder = Path(state).expanduser() / "rlp-sweeps" / "trusted-code"
    return folder / hashlib.sha256(said.encode()).hexdigest()
