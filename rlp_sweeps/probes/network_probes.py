"""All probes of one network as rows, beside what the same probes find without training.

Shapes: N samples, D features, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rlp_sweeps.config import SCALARS, TrialConfig
from rlp_sweeps.errors import ProbeError
from rlp_sweeps.probes.features import (
    Pooling,
    check_pooling,
    gaussian_features,
    network_features,
    pixel_features,
    untrained_network,
)
from rlp_sweeps.probes.knn import NUM_NEIGHBOURS, check_neighbours
from rlp_sweeps.probes.place_probes import (
    Place,
    Samples,
    offline_row,
    probe_place,
)
from rlp_sweeps.probes.rows import PROBES, ProbeRow, Source, check_probes
from rlp_sweeps.training.datasets import SplitDataset
from rlp_sweeps.training.network import RLPNetwork
from rlp_sweeps.training.observing import online_rows
from rlp_sweeps.training.places import PIXELS
from rlp_sweeps.training.random_labels import random_labels_of

_ONLY_FOR_TRAINING = {
    *(set(SCALARS) - {"seed"}),
    *("attach_points", "observed_attach_points", "copy_depth", "copy_width", "mixup_alpha", "loss"),
    "projector_width",
    *("augmentation", "head_lr", "head_weight_decay", "optimizer", "nesterov", "schedule"),
    *("warmup_epochs", "num_epochs", "batch_size", "eval_every"),
}
"""Settings that change nothing before the first step."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeOptions:
    """What is probed.

    Attributes:
        probes: Out of `PROBES`.
        pooling: What becomes of maps and tokens.

    Raises:
        ProbeError: A probe or the pooling is unknown, or there is no probe.
    """

    probes: tuple[str, ...] = PROBES
    pooling: Pooling = "average"

    def __post_init__(self) -> None:
        check_probes(self.probes)
        check_pooling(self.pooling)


def probe_network(
    network: RLPNetwork,
    config: TrialConfig,
    data: SplitDataset,
    *,
    options: ProbeOptions | None = None,
) -> list[ProbeRow]:
    """Return every probe at every attach point of a network, and beside it what needs no training.

    Args:
        network: Read in eval mode and left as it was.
        config: The trial's.
        data: Its splits, on the network's device.
        options: What is probed.

    Returns:
        Pixels (layer 0), the network before training and Gaussian features first, then the network.

    Raises:
        ProbeError: A probe cannot be fitted to these samples, or a feature is not finite.
    """
    options = options or ProbeOptions()
    references = probe_references(config, data, options=options)
    trained = probe_trained(network, config, data, options=options)
    return [*references, *trained]


def probe_trained(
    network: RLPNetwork,
    config: TrialConfig,
    data: SplitDataset,
    *,
    options: ProbeOptions,
) -> list[ProbeRow]:
    """Return the rows of the network itself; see `probe_network`."""
    _check_fits(config, options, num_samples=len(data.train_labels_N))
    samples = _samples_of(config, data)
    rows = _probe_layers(network, data, samples, source="trained", options=options)
    if "rlp_online" in options.probes:
        rows += _online_rows(network, config, data)
    return rows


def probe_references(
    config: TrialConfig,
    data: SplitDataset,
    *,
    options: ProbeOptions,
) -> list[ProbeRow]:
    """Return the rows that need no training: pixels, the network before its first step, chance.

    Trials of one `reference_key` have the same. Gaussian features are read by the offline head
    alone, for which they are the floor: of classes they tell nothing.
    """
    _check_fits(config, options, num_samples=len(data.train_labels_N))
    samples = _samples_of(config, data)
    place = Place("pixels", PIXELS, 0, options.pooling)
    rows = probe_place(pixel_features(data), samples, place, options.probes)
    network = untrained_network(config, data, data.train_labels_N.device)
    rows += _probe_layers(network, data, samples, source="random_init", options=options)
    if "rlp_offline" in options.probes:
        rows += _gaussian_rows(network, config, data, samples, options)
    return rows


def reference_key(config: TrialConfig) -> tuple[object, ...]:
    """Return what tells trials apart before their first step."""
    return tuple(v for k, v in config.to_dict().items() if k not in _ONLY_FOR_TRAINING)


def data_key(config: TrialConfig) -> tuple[object, ...]:
    """Return what tells trials apart that are probed on different data.

    Fixed views are made by the augmentation, which references never see; observers read the views.
    """
    augmentation = config.augmentation if config.num_views else None
    return *reference_key(config), augmentation


def unfit_probes(
    names: Sequence[str], *, num_samples: int | None, view_labels: str = "same"
) -> dict[str, str]:
    """Return why a trial cannot be probed by some of these probes, by name; none that fits.

    ``knn`` takes as many training samples as neighbours, and RLP probes samples of one label, whose
    views have none, and so no blocks, of their own.

    Args:
        names: Probes that are asked for.
        num_samples: Samples that it is trained on; None where that is not known.
        view_labels: The trial's.
    """
    unfit = {}
    if "knn" in names and num_samples is not None:
        try:
            check_neighbours(num_samples, NUM_NEIGHBOURS)
        except ProbeError as error:
            unfit["knn"] = str(error)
    asked = [name for name in names if name.startswith("rlp_")]
    if view_labels == "random":
        msg = (
            f"the probes {asked} read the block of a sample's label, but with view_labels='random' "
            "a sample has one for each view; leave them out."
        )
        unfit |= dict.fromkeys(asked, msg)
    return unfit


def _check_fits(config: TrialConfig, options: ProbeOptions, *, num_samples: int) -> None:
    unfit = unfit_probes(options.probes, num_samples=num_samples, view_labels=config.view_labels)
    for reason in unfit.values():
        raise ProbeError(reason)


def _samples_of(config: TrialConfig, data: SplitDataset) -> Samples:
    random_labels_N = random_labels_of(config, pool_size=data.pool_size)
    random_labels_N = random_labels_N.to(data.train_ids_N.device)[data.train_ids_N]
    return Samples(
        labels_N=data.train_labels_N,
        true_labels_N=data.true_labels_N,
        random_labels_N=random_labels_N,
        val_labels_N=data.val_labels_N,
        test_labels_N=data.test_labels_N,
        num_classes=data.num_classes,
        num_random_labels=config.num_random_labels,
        has_one_label=config.view_labels == "same",
        head=config.head,
    )


def _probe_layers(
    network: RLPNetwork,
    data: SplitDataset,
    samples: Samples,
    *,
    source: Source,
    options: ProbeOptions,
) -> list[ProbeRow]:
    rows: list[ProbeRow] = []
    if set(options.probes) - {"rlp_online"}:
        features = network_features(network, data, pooling=options.pooling)
        for layer, (name, split) in enumerate(features.items(), start=1):
            place = Place(source, name, layer, options.pooling)
            rows += probe_place(split, samples, place, options.probes)
    return rows


def _gaussian_rows(
    network: RLPNetwork,
    config: TrialConfig,
    data: SplitDataset,
    samples: Samples,
    options: ProbeOptions,
) -> list[ProbeRow]:
    """Return the floor at every attach point; layers of one width share theirs."""
    few = _one_image_each(data)
    widths = network_features(network, few, pooling=options.pooling)
    by_width: dict[int, ProbeRow] = {}
    rows = []
    for layer, (name, split) in enumerate(widths.items(), start=1):
        width = split.num_features
        place = Place("gaussian", name, layer, options.pooling)
        if width not in by_width:
            features = gaussian_features(data, num_features=width, seed=config.seed)
            by_width[width] = offline_row(features, samples, place)
        rows.append(replace(by_width[width], attach_point=name, layer=layer))
    return rows


def _one_image_each(data: SplitDataset) -> SplitDataset:
    """Return the splits with one image each, to learn widths from."""
    return replace(
        data,
        train_images_NCHW=data.train_images_NCHW[:1],
        val_images_NCHW=data.val_images_NCHW[:1],
        test_images_NCHW=data.test_images_NCHW[:1],
    )


def _online_rows(network: RLPNetwork, config: TrialConfig, data: SplitDataset) -> list[ProbeRow]:
    """Return the rows of the observers as they were trained beside the network, one a place."""
    rows = [
        {name: value for name, value in row.items() if name != "trial_id"}
        for row in online_rows(network, config, data)
    ]
    return [ProbeRow(**row) for row in rows]
