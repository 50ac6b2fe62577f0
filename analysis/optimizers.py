"""Optimizers under which κ is no learning rate: they divide a step by the gradient's own size."""

import polars as pl


def normalizing_optimizers(trials: pl.DataFrame) -> tuple[str, ...]:
    """Return the names of the trials' optimizers that do so, Adam and its kin; reads `optimizer`.

    A constant scale of the whole loss leaves their steps as they are, so that a κ measured on
    gradients says nothing on how much a step grew.
    """
    if "optimizer" not in trials.columns:
        return ()
    names = map(str, trials["optimizer"].drop_nulls().unique().sort())
    return tuple(name for name in names if name.lower().startswith("adam"))
