"""Places (a cell and a seed) that lack a control, named so that a reader can train them."""

from collections.abc import Sequence

import polars as pl

from analysis.pairing import CONTROL, REGULARIZED_ARMS, cell_columns
from analysis.wording import format_value

MAX_CELLS_NAMED = 4
"""Cells up to which each is named; the rest is a number."""

MAX_SEEDS_NAMED = 6
"""Seeds of a cell up to which each is named."""

_TRAINED = ("completed", "diverged")


def without_control(trials: pl.DataFrame) -> pl.DataFrame:
    """Return the places of regularized trials that lack a control trained to its end.

    One row a place: the cell columns without λ (a control serves every λ), and `seed`.
    """
    base = [name for name in cell_columns(trials) if name != "rlp_lambda"]
    is_regularized = pl.col("arm").is_in(REGULARIZED_ARMS) & (pl.col("rlp_lambda") > 0)
    is_control = (pl.col("arm") == CONTROL) & pl.col("status").is_in(_TRAINED)
    wanted, controls = (
        trials.lazy().filter(which).select(*base, "seed").unique().collect()
        for which in (is_regularized, is_control)
    )
    lacking = wanted.join(controls, on=[*base, "seed"], how="anti", nulls_equal=True)
    return lacking.sort(*base, "seed", nulls_last=True)


def name_places(places: pl.DataFrame) -> str:
    """Return "lr=0.1, label_smoothing=0, seeds 2, 3; …", cell by cell, long lists cut short.

    Args:
        places: One row a cell and seed: cell columns, and `seed`.
    """
    cell = [name for name in places.columns if name != "seed"]
    cells = places.group_by(cell, maintain_order=True).agg("seed")
    named = [
        f"{_name_cell(row, cell)}, {_name_seeds(row['seed'])}"
        for row in cells.head(MAX_CELLS_NAMED).iter_rows(named=True)
    ]
    num_hidden = len(cells) - len(named)
    if num_hidden:
        named.append(f"and {num_hidden:,} further cell{'s' * (num_hidden != 1)}")
    return "; ".join(named)


def _name_cell(row: dict[str, object], cell: Sequence[str]) -> str:
    return ", ".join(f"{name}={format_value(row[name])}" for name in cell)


def _name_seeds(seeds: Sequence[int]) -> str:
    named = ", ".join(str(seed) for seed in seeds[:MAX_SEEDS_NAMED])
    num_hidden = len(seeds) - MAX_SEEDS_NAMED
    further = f" and {num_hidden:,} more" if num_hidden > 0 else ""
    return f"seed{'s' * (len(seeds) != 1)} {named}{further}"
