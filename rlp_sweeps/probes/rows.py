"""One row of the table ``probes``: one probe at one attach point of one network."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from rlp_sweeps.errors import ProbeError
from rlp_sweeps.misspelling import advice

PROBES = ("rlp_online", "rlp_offline", "knn", "masc", "class_mean", "lda", "linear")
"""All probes, by name."""

Source = Literal["trained", "random_init", "gaussian", "pixels"]
"""What gives the features: the network, itself before training, chance, the images."""

LabelSet = Literal["true", "trained", "random"]
"""Labels that a probe was fitted to: true classes, those trained on, random labels."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeRow:
    """What one probe found; units and meanings stand in ``schema.PROBES``.

    Columns that a probe does not have are None.
    """

    source: Source
    attach_point: str
    layer: int
    pooling: str
    probe: str
    label_set: LabelSet
    num_features: int
    num_train_samples: int
    num_val_samples: int
    num_test_samples: int
    chance_accuracy: float
    train_accuracy: float | None = None
    val_accuracy: float | None = None
    test_accuracy: float | None = None
    memorization: float | None = None
    probe_loss: float | None = None
    converged: bool | None = None
    num_iterations: int | None = None
    max_gradient: float | None = None
    inverse_penalty: float | None = None
    mean_num_components: float | None = None
    probe_time_s: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the values by column name."""
        return asdict(self)


def check_probes(names: tuple[str, ...]) -> None:
    """Refuse names that are no probe.

    Raises:
        ProbeError: A name is unknown, or there is none.
    """
    known = f"the probes are {list(PROBES)}."
    if not names:
        msg = f"at least one probe must be named; {known}"
        raise ProbeError(msg)
    unknown = [name for name in names if name not in PROBES]
    if unknown:
        msg = f"unknown probe(s) {unknown}; {advice(unknown[0], PROBES, otherwise=known)}"
        raise ProbeError(msg)
