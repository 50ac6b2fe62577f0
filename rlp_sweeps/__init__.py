"""Sweeps with random-label-prediction heads: memorization apart from the implicit learning rate.

Importing this package stays light: neither torch nor Ray is loaded. The parts are

- ``rlp_sweeps.spaces``: search spaces, stated once, rendered as a grid and for Optuna;
- ``rlp_sweeps.training``: trains one group of trials (torch only);
- ``rlp_sweeps.tracking``: Parquet, the truth, and MLflow, a view of it;
- ``rlp_sweeps.orchestration``: Ray Tune and Optuna;
- ``rlp_sweeps.api``: sweeps from Python; its functions are names of this package as well, imported
  where they are first used (``from rlp_sweeps import run_sweep, analyze``);
- ``rlp_sweeps.cli``: the command line.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_API = (
    *("RunSettings", "SweepResult", "analyze", "cancel_sweep", "describe_tables", "extend_sweep"),
    *("follow_up", "load_epochs", "load_log", "load_model", "load_trials", "query"),
    *("resume_sweep", "run_sweep", "sweep_status"),
)
_SPACES = ("ChoiceAxis", "LinearAxis", "LogAxis", "Search", "SearchSpace")
_HOMES = dict.fromkeys(_API, "rlp_sweeps.api") | dict.fromkeys(_SPACES, "rlp_sweeps.spaces")

__all__ = ["__version__", *_HOMES]  # noqa: PLE0604  # names


def __getattr__(name: str) -> Any:
    """Return a name of the API, and import where it stands."""
    if name not in _HOMES:
        msg = f"module 'rlp_sweeps' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return the names that there are, those of the API among them."""
    return sorted({*globals(), *_HOMES})
