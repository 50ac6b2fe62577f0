"""Read the table ``probes`` of one or several run directories into one typed frame."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from analysis.border import DTYPES, PartFiles, check_columns, collect, find_parts, scan
from analysis.duplicates import DIRECTORY
from rlp_sweeps.probe_columns import PROBES

KEY = ("trial_id", "source", "attach_point", "pooling", "probe", "label_set")
"""What tells rows of ``probes`` apart."""


def load_probes(directories: Sequence[Path], *, kept: pl.DataFrame | None = None) -> pl.DataFrame:
    """Return one row a trial, source, attach point, pooling, probe and label set (`schema.PROBES`).

    Args:
        directories: Run directories; those without probes add nothing.
        kept: Which directory's row of each trial was kept (`Origin.kept`): its probes are read
            there and nowhere else. Default: those of the first directory that holds a row.

    Raises:
        RunDirectoryError: A directory does not exist.
        SchemaError: A file is unreadable, a key is missing, or a column is mistyped.
    """
    schema = {column.name: DTYPES[column.dtype] for column in PROBES} | {DIRECTORY: pl.Int32()}
    frames, groups, required = [pl.LazyFrame(schema=schema)], list[PartFiles](), (*KEY, "layer")
    for number, directory in enumerate(directories):
        for part in find_parts(directory, "probes"):
            check_columns(part, PROBES, where=str(directory), table="probes", required=required)
            frames.append(scan(part, PROBES).with_columns(pl.lit(number).alias(DIRECTORY)))
            groups.append(part)
    probes = collect(frames, groups)
    if kept is not None:
        place = kept.with_columns(pl.col(DIRECTORY).cast(probes.schema[DIRECTORY]))
        probes = probes.join(place, on=["trial_id", DIRECTORY], how="semi", maintain_order="left")
    return probes.unique(KEY, keep="first", maintain_order=True).drop(DIRECTORY)
