"""Notes on the estimators: where one has no value and why, and which are missing altogether."""

from collections.abc import Iterator, Mapping

from analysis.effects import FAMILY_ESTIMATOR, Estimates

_FOLLOW_UPS = {"matched": "", "replayed": " --replay"}
"""The estimators whose arms `rlp-sweeps follow-up` trains, and the option that it takes."""


def estimator_notes(estimates: Estimates) -> Iterator[str]:
    """Yield the estimators' own remarks, then one sentence on those that are missing altogether.

    Where not even a total effect is there, what is missing is the separation's to say.
    """
    yield from estimates.remarks
    if estimates.absent and FAMILY_ESTIMATOR not in estimates.absent:
        yield f"Not estimated: {'; '.join(_reasons(estimates.absent))}."


def _reasons(absent: Mapping[str, str]) -> Iterator[str]:
    for name, why in absent.items():
        way_out = ""
        if name in _FOLLOW_UPS:
            way_out = f", which `rlp-sweeps follow-up DIR{_FOLLOW_UPS[name]}` adds"
        yield f"{name} ({why}{way_out})"
