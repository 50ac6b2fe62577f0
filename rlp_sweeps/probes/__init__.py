"""Probes of a trained network: what its features hold, attach point by attach point.

- ``features``: features of all splits at attach points, of pixels, of no network at all;
- ``offline_head``: a fresh RLP head, trained to convergence;
- ``knn``, ``class_mean``, ``lda``, ``masc``, ``linear_probe``: what is told of the classes;
- ``network_probes``: all of them on one network, one row each;
- ``layer_choice``: the layer that validates best.

Probes read features; they never train a network, and leave the one they read as it was.
"""

from rlp_sweeps.probes.layer_choice import best_layer
from rlp_sweeps.probes.network_probes import (
    ProbeOptions,
    data_key,
    probe_network,
    probe_references,
    probe_trained,
    reference_key,
    unfit_probes,
)
from rlp_sweeps.probes.rows import PROBES, ProbeRow

__all__ = [
    "PROBES",
    "ProbeOptions",
    "ProbeRow",
    "best_layer",
    "data_key",
    "probe_network",
    "probe_references",
    "probe_trained",
    "reference_key",
    "unfit_probes",
]
