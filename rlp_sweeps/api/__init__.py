"""Sweeps from Python: in a notebook, in a script, from another program.

- ``sweeping``: run and resume a sweep, with lines of progress;
- ``results``: what is left of one, as a value that shows itself;
- ``reading``: effects, trials, and whatever SQL asks for, as polars frames;
- ``requests``: what is asked for, made into a plan;
- ``telling``: how a sweep ended, in sentences.

The command line calls the same functions. Wrong requests raise an error of ``rlp_sweeps.errors``.
"""

from rlp_sweeps.api.reading import analyze, describe_tables, load_epochs, load_trials, query
from rlp_sweeps.api.results import SweepResult
from rlp_sweeps.api.sweeping import RunSettings, resume_sweep, run_sweep

__all__ = [
    "RunSettings",
    "SweepResult",
    "analyze",
    "describe_tables",
    "load_epochs",
    "load_trials",
    "query",
    "resume_sweep",
    "run_sweep",
]
