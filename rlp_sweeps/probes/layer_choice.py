"""The layer that a probe is reported at: chosen on the validation split, never on test."""

from collections.abc import Iterable

from rlp_sweeps.errors import ProbeError
from rlp_sweeps.probes.rows import LabelSet, ProbeRow, Source


def best_layer(
    rows: Iterable[ProbeRow], *, probe: str, label_set: LabelSet, source: Source = "trained"
) -> ProbeRow:
    """Return the row with the best validation accuracy, that of the lowest layer among equal ones.

    Args:
        rows: Of one network.
        probe: One of `PROBES` that has a validation accuracy.
        label_set: Labels it was fitted to.
        source: What gives the features.

    Raises:
        ProbeError: No such row has a validation accuracy.
    """
    wanted = [
        row
        for row in rows
        if (row.probe, row.label_set, row.source) == (probe, label_set, source)
        and row.val_accuracy is not None
    ]
    if not wanted:
        msg = (
            "a layer is chosen by validation accuracy, but there is none for "
            f"probe={probe!r}, label_set={label_set!r}, source={source!r}; random labels have "
            "no validation split."
        )
        raise ProbeError(msg)
    return max(wanted, key=lambda row: (row.val_accuracy or 0.0, -row.layer))
