"""Which trials of a sweep a probe fits: the others are not probed by it, in a sentence."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import DatasetError, ProbeError
from rlp_sweeps.orchestration.planner import SweepPlan, group_representatives
from rlp_sweeps.probes import ProbeOptions, unfit_probes
from rlp_sweeps.training.datasets import count_train_samples

Unfit = Mapping[str, str]
"""Why a trial cannot be probed, by the probe's name; none that fits is there."""


UNFIT_COLUMNS = ["trial_id", "num_train_samples", "view_labels"]
"""Columns of ``trials`` that `unfit_trials` reads."""


def left_out_of_plan(plan: SweepPlan, names: Sequence[str]) -> tuple[str, ...]:
    """Return which probes fit some planned trials alone, and why, one sentence each.

    Raises:
        ProbeError: One is unknown, or fits no planned trial.
    """
    asked = ProbeOptions(probes=tuple(names)).probes
    kinds = group_representatives(plan)
    found = [_unfit_config(config, asked, plan.data_dir) for config in kinds]
    return sentences_of(found, asked, of="kinds of trial")


def unfit_trials(rows: Iterable[Mapping[str, Any]], names: Sequence[str]) -> dict[str, Unfit]:
    """Return why finished trials cannot be probed, by id.

    Args:
        rows: Of the table ``trials``, `UNFIT_COLUMNS`.
        names: Probes that are asked for.
    """
    return {
        row["trial_id"]: unfit_probes(
            names, num_samples=row["num_train_samples"], view_labels=row["view_labels"] or "same"
        )
        for row in rows
    }


def sentences_of(found: Sequence[Unfit], names: Sequence[str], *, of: str) -> tuple[str, ...]:
    """Return for each probe that fits some alone how many it does not fit, and why.

    Args:
        found: Of every trial, or of one of each kind.
        names: Probes that are asked for.
        of: What is counted.

    Raises:
        ProbeError: One fits none of them.
    """
    sentences = []
    for name in names:
        reasons = [unfit[name] for unfit in found if name in unfit]
        if reasons and len(reasons) == len(found):
            raise ProbeError(reasons[0])
        if reasons:
            why = reasons[0].partition("; leave")[0]
            sentences.append(f"{len(reasons)} of {len(found)} {of} go without {name!r}: {why}.")
    return tuple(sentences)


def _unfit_config(config: TrialConfig, names: Sequence[str], data_dir: str) -> Unfit:
    num_samples = config.train_samples
    if "knn" in names:
        with contextlib.suppress(DatasetError):  # the data are elsewhere
            num_samples = count_train_samples(config, data_dir=data_dir) or num_samples
    return unfit_probes(names, num_samples=num_samples, view_labels=config.view_labels)
