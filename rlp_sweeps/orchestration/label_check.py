"""Whether what networks say of every sample can be held against a label."""

from rlp_sweeps.errors import ArgumentError
from rlp_sweeps.orchestration.planner import SweepPlan


def check_labels(plan: SweepPlan) -> None:
    """Refuse to keep samples that have no one label.

    Raises:
        ArgumentError: Labels are drawn for every view.
    """
    axis = plan.space.axes.get("view_labels")
    labelled = {plan.space.fixed.get("view_labels"), *(axis.values() if axis else ())}
    if "random" in labelled:
        msg = (
            "`--keep-samples` holds a prediction against the one label of a sample, but with "
            "view_labels='random' every view has its own; leave one of the two out."
        )
        raise ArgumentError(msg)
