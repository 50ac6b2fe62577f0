"""Sweeps with random-label-prediction heads: memorization apart from the implicit learning rate.

Importing this package stays light: neither torch nor Ray is loaded. The parts are

- ``rlp_sweeps.spaces``: search spaces, stated once, rendered as a grid and for Optuna;
- ``rlp_sweeps.training``: trains one group of trials (torch only);
- ``rlp_sweeps.tracking``: Parquet, the truth, and MLflow, a view of it;
- ``rlp_sweeps.orchestration``: Ray Tune and Optuna;
- ``rlp_sweeps.cli``: the command line.
"""

__version__ = "0.1.0"
