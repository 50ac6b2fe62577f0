"""Analyze run directories: read, estimate, write tables, figures and the report."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from analysis.benign import judge_memorization
from analysis.benign_words import tell_memorization
from analysis.border import read_manifest
from analysis.claims import check_claims
from analysis.figure_curves import drawn_trials
from analysis.load import load_epochs, load_sweep
from analysis.load_probes import load_probes
from analysis.memorization import with_memorization
from analysis.methods import packages_of
from analysis.mirror import local_directories
from analysis.origin import Origin
from analysis.output import write_analysis
from analysis.pairing import Diverged, check_outcomes
from analysis.probes import with_probes
from analysis.query import PART_TABLES
from analysis.result import EPOCH_COLUMNS, Analysis, build_analysis
from analysis.samples import find_samples
from analysis.secondary import with_secondary
from rlp_sweeps.benign_columns import MEMORIZED_ABOVE
from rlp_sweeps.containment import check_links
from rlp_sweeps.stores import as_path

__all__ = ["Analysis", "analyze", "build_analysis"]


def analyze(
    directories: Sequence[Path | str],
    *,
    output: Path | str | None = None,
    outcome: str = "test_accuracy",
    diverged: Diverged = "chance",
    margin: float | None = None,
    memorized_above: float = MEMORIZED_ABOVE,
) -> Analysis:
    """Analyze run directories together, and write tables, figures and the report.

    Args:
        directories: Run directories; trials that stand in several are read once.
        output: Folder to write to. Default: ``analysis/`` of the first directory.
        outcome: The primary outcome, a metric column of trials.
        diverged: What a diverged trial scores in effects: ``chance``, its ``last`` finite
            evaluation, or nothing (``exclude``).
        margin: Largest effect that counts as none, in units of the outcome. Default: half a point
            of an accuracy, none for other outcomes.
        memorized_above: Share of random class labels above which they count as memorized.

    Raises:
        ArgumentError: The outcome or the treatment of divergence is unknown, the margin is not
            above 0, or the bound is no share.
        RunDirectoryError: A directory is absent, empty or of a newer version, or the output cannot
            be written or is a link that leads out of its directory.
        SchemaError: A table breaks the schema.
    """
    paths = [as_path(directory) for directory in directories]
    if output is None:
        check_links(paths[0])
    result = read_analysis(
        paths, outcome=outcome, diverged=diverged, margin=margin, memorized_above=memorized_above
    )
    write_analysis(result, paths[0] / "analysis" if output is None else as_path(output))
    return result


def read_analysis(
    directories: Sequence[Path | str],
    *,
    outcome: str = "test_accuracy",
    diverged: Diverged = "chance",
    margin: float | None = None,
    memorized_above: float = MEMORIZED_ABOVE,
) -> Analysis:
    """Analyze run directories together; nothing is written.

    Arguments and errors as of `analyze`.
    """
    with local_directories(directories, tables=PART_TABLES) as paths:
        return _read(
            paths,
            [as_path(directory) for directory in directories],
            outcome=outcome,
            diverged=diverged,
            margin=margin,
            memorized_above=memorized_above,
        )


def _read(
    paths: Sequence[Path],
    given: Sequence[Path],
    *,
    outcome: str,
    diverged: Diverged,
    margin: float | None,
    memorized_above: float,
) -> Analysis:
    """Return the analysis of directories on this machine, which were given under these names."""
    trials, origin = load_sweep(paths)
    plans = zip(origin.plans, given, strict=True)
    origin = replace(origin, plans=tuple(replace(plan, directory=name) for plan, name in plans))
    check_outcomes(trials, [outcome], diverged=diverged)
    columns = list(dict.fromkeys([*EPOCH_COLUMNS, outcome]))
    drawn = drawn_trials(trials)["trial_id"]
    epochs = load_epochs(paths, columns=columns, kept=origin.kept, trial_ids=drawn)
    result = with_secondary(
        build_analysis(trials, epochs, outcome=outcome, diverged=diverged, origin=origin),
        margin=margin,
    )
    probes = load_probes(paths, kept=origin.kept)
    benign = judge_memorization(trials, probes, memorized_above=memorized_above)
    said = (*result.further_paragraphs, *tell_memorization(benign))
    result = replace(result, benign=benign, further_paragraphs=said)
    result = with_probes(result, probes)
    result = with_memorization(result, find_samples(paths, trials, origin.kept))
    packages = packages_of([read_manifest(path) for path in paths])
    return _with_claims(replace(result, packages=packages), paths, origin)


def _with_claims(analysis: Analysis, directories: Sequence[Path], origin: Origin) -> Analysis:
    """Return the analysis with what the recipes' claims came to; as it is where there are none."""
    if not origin.claims:
        return analysis
    checked = check_claims(
        directories,
        analysis.trials,
        origin=origin,
        diverged=analysis.diverged,
        results=analysis.tables(),
    )
    return replace(analysis, claims=checked.table, claim_values=checked.values)
