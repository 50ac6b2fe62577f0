"""Named random streams: every use of chance has its own, so one draw more never shifts another.

A stream depends on the seed, its name and, where it has them, counters such as the epoch. Nothing
about a stream's state needs to be saved: a restarted trial opens the stream of its next epoch.
"""

import hashlib

from rlp_sweeps.errors import ConfigError

STREAMS = (
    "init",  # extractor's and class head's weights
    "projector_init",  # a class head's that has a hidden layer
    "head_init",  # the adversary's weights
    "observer_init",  # the observer's weights
    "order",  # order of training samples, per epoch
    "augment",  # augmentation's parameters, per epoch
    "dropout",  # dropout masks, per epoch
    "random_labels",  # the random label of each sample id; per epoch in the arm `sham`
    "split",  # train, validation, test
    "corruption",  # redrawn class labels, per view where each has its own
    "views",  # augmentation's parameters of fixed views, per view; which is shown first
    "subset",  # which training samples a trial is shown
    "mixup",  # share and partners of mixed batches, per epoch
    "probe",  # which samples a probe batch holds
    "dataset",  # generated data sets
    "node_loss",  # when machines of a simulated cluster are lost, per machine
    "simulation",  # results that a simulation makes up, per trial
    "gaussian_features",  # features without a network, the floor of what a head can fit
)


def stream_seed(seed: int, stream: str, *counters: int) -> int:
    """Return the seed of a named random stream.

    Args:
        seed: The replicate's number.
        stream: One of `STREAMS`.
        counters: Sub-stream numbers, for example the epoch.

    Returns:
        An integer in ``[0, 2**63)``, the same on every machine and Python version.

    Raises:
        ConfigError: `stream` is not one of `STREAMS`.
    """
    if stream not in STREAMS:
        msg = f"unknown random stream {stream!r}; the streams are {list(STREAMS)}."
        raise ConfigError(msg)
    key = ":".join(["rlp-sweeps", str(seed), stream, *map(str, counters)])
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1
