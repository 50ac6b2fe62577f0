"""Sweeps from Python: in a notebook, in a script, from another program.

- ``sweeping``: run and resume a sweep, with lines of progress;
- ``going_on``: extend it, follow it up, stop it, ask how it stands;
- ``results``: what is left of one, as a value that shows itself;
- ``models``: a trial's network, as a torch module;
- ``reading``: effects, trials, logs, and whatever SQL asks for, as polars frames;
- ``requests``, ``extending``, ``following``, ``stopping``: what is asked for, planned and told;
- ``telling``: how a sweep ended, in sentences.

The command line calls the same functions. Wrong requests raise an error of ``rlp_sweeps.errors``.
"""

from rlp_sweeps.api.going_on import cancel_sweep, extend_sweep, follow_up, sweep_status
from rlp_sweeps.api.models import load_model
from rlp_sweeps.api.reading import (
    analyze,
    describe_tables,
    load_epochs,
    load_log,
    load_trials,
    query,
)
from rlp_sweeps.api.results import SweepResult
from rlp_sweeps.api.sweeping import RunSettings, resume_sweep, run_sweep

__all__ = [
    "RunSettings",
    "SweepResult",
    "analyze",
    "cancel_sweep",
    "describe_tables",
    "extend_sweep",
    "follow_up",
    "load_epochs",
    "load_log",
    "load_model",
    "load_trials",
    "query",
    "resume_sweep",
    "run_sweep",
    "sweep_status",
]
