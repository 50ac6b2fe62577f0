"""Read the table ``samples``: what completed trials predict of every single sample."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from analysis.border import DTYPES, PartFiles, check_columns, find_parts, scan
from analysis.duplicates import DIRECTORY
from rlp_sweeps.errors import SchemaError
from rlp_sweeps.sample_columns import SAMPLES

POOL, TEST = "pool", "test"
"""Values of the column `split`."""

_REQUIRED = tuple(column.name for column in SAMPLES if column.required)
_SCHEMA = {column.name: DTYPES[column.dtype] for column in SAMPLES}
_KEY = ["trial_id", "split", "sample_id"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Samples:
    """The samples of several run directories, read only where they are asked for.

    Attributes:
        parts: Part files by the number of their directory.
        trials: Completed trials: `trial_id`, and `DIRECTORY` that the trial's row was kept from.
    """

    parts: tuple[tuple[int, PartFiles], ...]
    trials: pl.DataFrame

    def scan(self, trial_ids: Collection[str] | None = None) -> pl.LazyFrame:
        """Return one row a completed trial and sample, in the schema's columns, lazily.

        Args:
            trial_ids: Trials to read; files that are named after another one are left out. Default:
                all.
        """
        known = set(self.trials["trial_id"])
        wanted = known if trial_ids is None else known & set(trial_ids)
        frames = [pl.LazyFrame(schema=_SCHEMA)]
        for number, part in self.parts:
            paths = [p for p in part.paths if p.stem in wanted or p.stem not in known]
            if paths:
                kept = self.trials.filter(
                    (pl.col(DIRECTORY) == number) & pl.col("trial_id").is_in(list(wanted))
                )
                rows = scan(PartFiles(tuple(paths), part.schema), SAMPLES)
                frames.append(rows.join(kept.lazy().select("trial_id"), on="trial_id", how="semi"))
        return pl.concat(frames, how="diagonal_relaxed")

    def of_trials(self, trial_ids: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield the samples of one trial after another, those that have any.

        Raises:
            SchemaError: A sample of a trial stands twice, or a file cannot be read.
        """
        for trial_id in trial_ids:
            rows = collect(self.scan([trial_id]).filter(pl.col("trial_id") == trial_id))
            if len(rows):
                _check_once(rows, trial_id)
                yield rows


def find_samples(
    directories: Sequence[Path], trials: pl.DataFrame, kept: pl.DataFrame | None
) -> Samples | None:
    """Return the samples of these run directories; None where there are none.

    Args:
        directories: Run directories.
        trials: As `load_trials` returns them; only completed ones have samples that count.
        kept: Which directory's row of each trial was kept (`Origin.kept`): its samples are read
            there and nowhere else. Default: the first directory's.

    Raises:
        SchemaError: A file is unreadable, a required column is missing, a column is mistyped.
    """
    parts: list[tuple[int, PartFiles]] = []
    for number, directory in enumerate(directories):
        for part in find_parts(directory, "samples"):
            check_columns(
                part, SAMPLES, where=str(part.paths[0]), table="samples", required=_REQUIRED
            )
            parts.append((number, part))
    if not parts:
        return None
    completed = trials.filter(pl.col("status") == "completed").select("trial_id")
    place = pl.lit(0, pl.Int32).alias(DIRECTORY)
    where = completed.with_columns(place) if kept is None else completed.join(kept, on="trial_id")
    return Samples(parts=tuple(parts), trials=where)


def collect(frame: pl.LazyFrame) -> pl.DataFrame:
    """Return a lazy frame of samples as it comes out, piece by piece where it is large.

    Raises:
        SchemaError: A file cannot be read.
    """
    try:
        return frame.collect(engine="streaming")
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        msg = f"every part file of samples must be whole, but one cannot be read: {reason}."
        raise SchemaError(msg) from error


def _check_once(rows: pl.DataFrame, trial_id: str) -> None:
    if rows.select(_KEY).is_duplicated().any():
        msg = f"a sample must stand once a trial, but samples of trial {trial_id!r} stand twice."
        raise SchemaError(msg)
