"""Probes of whole networks: which features they read, and what they leave as it was."""

import dataclasses
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import nn

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import BackboneError, CheckpointError, ProbeError
from rlp_sweeps.probes import (
    PROBES,
    ProbeOptions,
    probe_network,
    probe_references,
    reference_key,
)
from rlp_sweeps.probes.features import (
    features_at,
    gaussian_features,
    network_features,
    pixel_features,
    untrained_network,
)
from rlp_sweeps.training.backbones import BACKBONES
from rlp_sweeps.training.datasets import SplitDataset, split_dataset
from rlp_sweeps.training.loop import GroupContext, TrialResult, train_group
from rlp_sweeps.training.member import Member
from rlp_sweeps.training.metrics import evaluate
from rlp_sweeps.training.network import RLPNetwork
from rlp_sweeps.training.random_labels import draw_random_labels
from rlp_sweeps.training.weights import load_weights, restore_network, weights_path

CPU = torch.device("cpu")
CONFIG = TrialConfig(
    arm="full",
    lr=0.05,
    rlp_lambda=1.0,
    seed=1,
    train_samples=96,
    val_samples=32,
    test_samples=64,
    num_epochs=2,
    batch_size=32,
    num_random_labels=4,
    dropout=0.2,
)
DEPTHS = {"wide_resnet": (10, 1), "vit": (2, 64), "resnet18": (None, 8), "vgg16": (None, 8)}


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def data_of(config: TrialConfig) -> SplitDataset:
    return split_dataset(config, data_dir="", device=CPU)


def trained(config: TrialConfig = CONFIG) -> tuple[RLPNetwork, SplitDataset]:
    member = Member(config, data_of(config), CPU)
    for epoch in range(1, config.num_epochs + 1):
        member.train_epoch(epoch)
    return member.network, member.data


def sized(backbone: str) -> TrialConfig:
    depth, width = DEPTHS.get(backbone, (None, 8 if backbone == "vgg16_bn" else None))
    return dataclasses.replace(
        CONFIG, backbone=backbone, backbone_depth=depth, backbone_width=width, dropout=0.0
    )


# --- features ---------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_the_last_attach_point_gives_what_the_class_head_reads(backbone: str) -> None:
    config = sized(backbone)
    data = data_of(config)
    network = untrained_network(config, data, CPU)

    features = network_features(network, data)

    assert tuple(features) == network.backbone.attach_points
    with torch.no_grad():
        expected = network.eval().features(data.val_images_NCHW)
    assert torch.equal(features[network.backbone.attach_points[-1]].val_ND, expected)


def test_reading_features_leaves_weights_statistics_modes_and_hooks_as_they_were() -> None:
    network, data = trained()
    network.backbone.extractor.conv1.eval()  # a user may have frozen a layer
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    modes = [module.training for module in network.modules()]

    probe_network(network, CONFIG, data, options=ProbeOptions(probes=("knn", "rlp_online")))

    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert [module.training for module in network.modules()] == modes
    assert not any(module._forward_hooks for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_maps_are_averaged_or_flattened() -> None:
    network, data = trained()
    images = data.test_images_NCHW[:5]

    mean = features_at(network, images, ["conv2"])["conv2"]
    flat = features_at(network, images, ["conv2"], pooling="flatten")["conv2"]

    assert flat.shape == (5, 32 * 16)
    assert torch.allclose(flat.view(5, 32, 16).mean(2), mean)


def test_features_do_not_depend_on_the_size_of_the_batch() -> None:
    network, data = trained()

    one, many = (
        features_at(network, data.test_images_NCHW, ["linear"], batch_size=size)["linear"]
        for size in (7, 64)
    )

    assert torch.allclose(one, many, atol=1e-6)


def test_a_layer_that_works_in_place_does_not_change_the_features_below_it() -> None:
    network, data = trained(dataclasses.replace(CONFIG, backbone="mlp", backbone_depth=2))
    images = data.test_images_NCHW[:8]
    expected = features_at(network, images, ["hidden1"])["hidden1"]
    network.backbone.extractor.hidden2 = nn.Sequential(
        nn.Threshold(1e9, 0.0, inplace=True), network.backbone.extractor.hidden2
    )

    assert torch.equal(features_at(network, images, ["hidden1"])["hidden1"], expected)


def test_an_attach_point_that_is_unknown_or_never_run_is_refused() -> None:
    network, data = trained()
    with pytest.raises(BackboneError, match=r"no attach point 'conv9'; this backbone has"):
        network_features(network, data, attach_points=["conv9"])

    network.backbone.extractor.forward = lambda images_NCHW: images_NCHW.flatten(1)
    with pytest.raises(BackboneError, match="must be run by the backbone's forward, but 'conv1'"):
        network_features(network, data, attach_points=["conv1"])


def test_features_that_are_not_finite_are_refused() -> None:
    network, data = trained()
    with torch.no_grad():
        network.backbone.extractor.conv1[0].weight.fill_(torch.inf)

    with pytest.raises(ProbeError, match=r"must be finite to be probed, but those at 'conv1'"):
        network_features(network, data)


def test_the_untrained_network_is_the_trial_before_its_first_step() -> None:
    data = data_of(CONFIG)
    member = Member(CONFIG, data, CPU)

    state = untrained_network(CONFIG, data, CPU).state_dict()

    assert all(torch.equal(state[n], t) for n, t in member.network.state_dict().items())


def test_pixels_are_shares_of_white_and_gaussian_features_standard_normal() -> None:
    data = data_of(CONFIG)

    pixels = pixel_features(data)
    gaussian = gaussian_features(data, num_features=500, seed=1)

    assert pixels.train_ND.shape == (96, 64)
    assert (float(pixels.train_ND.min()), float(pixels.train_ND.max())) == (0.0, 1.0)
    assert float(gaussian.train_ND.mean()) == pytest.approx(0.0, abs=0.02)
    assert float(gaussian.train_ND.std()) == pytest.approx(1.0, abs=0.02)
    assert torch.equal(gaussian_features(data, num_features=500, seed=1).val_ND, gaussian.val_ND)
    assert not torch.equal(gaussian.test_ND[:32], gaussian.val_ND)


def test_random_labels_are_independent_of_the_class() -> None:
    config = dataclasses.replace(CONFIG, train_samples=None, num_random_labels=2)
    data = data_of(config)
    labels_N = draw_random_labels(seed=1, pool_size=data.pool_size, num_random_labels=2)
    counts = torch.zeros(10, 2).index_put_(
        (data.train_labels_N, labels_N[data.train_ids_N]), torch.ones(()), accumulate=True
    )

    expected = counts.sum(1, keepdim=True) / 2

    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert chi_square < 29.6  # 0.999 quantile, 10 degrees of freedom


# --- rows -------------------------------------------------------------------------------------


def test_every_call_has_rows_of_pixels_of_the_untrained_network_and_of_chance() -> None:
    network, data = trained()

    rows = probe_network(network, CONFIG, data)

    layers = {(row.source, row.layer, row.attach_point) for row in rows}
    points = [(1, "conv1"), (2, "conv2"), (3, "linear")]
    places = [(source, *p) for source in ("trained", "random_init", "gaussian") for p in points]
    assert layers == {("pixels", 0, "pixels"), *places}
    # pixels, trained and untrained: offline, knn and four probes of both label sets
    assert Counter(row.source for row in rows) == {
        "pixels": 10,
        "random_init": 30,
        "gaussian": 3,
        "trained": 31,
    }
    assert {row.probe for row in rows} == set(PROBES)
    assert all(row.converged for row in rows if row.probe in ("rlp_offline", "linear"))


def test_rows_have_the_accuracies_that_their_probe_has() -> None:
    network, data = trained()

    for row in probe_network(network, CONFIG, data):
        has = [x is not None for x in (row.train_accuracy, row.val_accuracy, row.test_accuracy)]
        is_random = row.label_set == "random"
        assert has == ([True, False, False] if is_random else [row.probe != "knn", True, True])
        assert row.chance_accuracy == (1 / 4 if is_random else 1 / 10)
        assert (row.memorization is not None) == is_random
        assert (row.num_train_samples, row.num_val_samples, row.num_test_samples) == (96, 32, 64)


def test_the_online_row_is_the_accuracy_that_training_reports() -> None:
    network, data = trained()
    member = Member(CONFIG, data, CPU)

    (row,) = probe_network(network, CONFIG, data, options=ProbeOptions(probes=("rlp_online",)))

    expected = evaluate(network, data, member.random_labels(1))
    assert row.train_accuracy == expected["random_label_accuracy"]
    assert row.memorization == expected["memorization"]


@pytest.mark.parametrize("head", ["nested_per_class", "single"])
def test_rlp_probes_beside_another_head_have_its_form(head: str) -> None:
    config = dataclasses.replace(CONFIG, head=head)
    network, data = trained(config)
    member = Member(config, data, CPU)
    options = ProbeOptions(probes=("rlp_online", "rlp_offline"))

    rows = probe_network(network, config, data, options=options)

    (online,) = [row for row in rows if row.probe == "rlp_online"]
    expected = evaluate(network, data, member.random_labels(1))
    assert online.train_accuracy == expected["random_label_accuracy"]
    offline = {(r.source, r.layer): r for r in rows if r.probe == "rlp_offline"}
    assert len(offline) == 10  # pixels, and three layers trained, untrained and of chance
    assert all(row.converged for row in offline.values())
    if head == "nested_per_class":  # a class has fewer samples than there are features
        assert offline["gaussian", 3].train_accuracy == 1.0
    else:
        assert 1 / 4 < offline["gaussian", 1].train_accuracy < 1


def test_probes_are_fitted_to_both_label_vectors_and_scored_by_the_true_one() -> None:
    network, data = trained()
    data = dataclasses.replace(data, true_labels_N=(data.train_labels_N + 1) % 10)
    options = ProbeOptions(probes=("masc", "class_mean", "knn"))

    rows = probe_network(network, CONFIG, data, options=options)

    found = {r.label_set: r.train_accuracy for r in rows if (r.probe, r.layer) == ("masc", 0)}
    assert found["true"] > 0.9
    assert found["trained"] < 0.1
    (by_neighbours,) = [r for r in rows if (r.probe, r.layer) == ("knn", 0)]
    assert by_neighbours.test_accuracy < 0.1  # votes of true labels, all of the next class


def test_references_depend_on_nothing_that_training_changes() -> None:
    other = dataclasses.replace(CONFIG, arm="control", rlp_lambda=0.0, lr=1.0, num_epochs=9)
    options = ProbeOptions(probes=("class_mean", "masc"))

    rows = [probe_references(c, data_of(c), options=options) for c in (CONFIG, other)]

    assert reference_key(CONFIG) == reference_key(other)
    timeless = [[dataclasses.replace(r, probe_time_s=0.0) for r in found] for found in rows]
    assert timeless[0] == timeless[1]
    for name, value in {"seed": 2, "backbone": "mlp", "num_random_labels": 5}.items():
        assert reference_key(dataclasses.replace(CONFIG, **{name: value})) != reference_key(CONFIG)


def test_unknown_probes_and_poolings_are_refused() -> None:
    with pytest.raises(ProbeError, match=r"unknown probe\(s\) \['knnn'\]; did you mean 'knn'\?"):
        ProbeOptions(probes=("knnn",))
    with pytest.raises(ProbeError, match="at least one probe must be named"):
        ProbeOptions(probes=())
    with pytest.raises(ProbeError, match=r"pooling in .* must hold, but got pooling='max'"):
        ProbeOptions(pooling="max")


# --- kept weights -----------------------------------------------------------------------------

GROUP = [
    CONFIG,
    dataclasses.replace(CONFIG, arm="control", rlp_lambda=0.0),
    dataclasses.replace(CONFIG, seed=2),
    dataclasses.replace(CONFIG, lr=1e20),
]


def train_keeping(folder: Path, engine: str, configs=GROUP, stops=()) -> list[TrialResult]:
    folder.mkdir()
    context = GroupContext(group_id="g", data_dir="", engine=engine, weights_folder=folder)
    return train_group(configs, context=context, report=lambda progress: stops)


def recorded(folder: Path, config: TrialConfig) -> dict[str, float | None]:
    """Return the metrics of a trial's kept weights."""
    data = data_of(config)
    network = restore_network(load_weights(weights_path(folder, config.trial_id), CPU), data, CPU)
    return evaluate(network, data, Member(config, data, CPU).random_labels(config.num_epochs))


def metrics_of(result: TrialResult, names) -> dict[str, float | None]:
    return {name: result.trial[name] for name in names}


def test_kept_weights_give_the_recorded_metrics_bit_by_bit(tmp_path: Path) -> None:
    results = train_keeping(tmp_path / "weights", "sequential")

    for result, config in zip(
        sorted_by(results), sorted(GROUP, key=lambda c: c.trial_id), strict=True
    ):
        if result.trial["status"] == "completed":
            found = recorded(tmp_path / "weights", config)
            assert metrics_of(result, found) == found


def sorted_by(results: list[TrialResult]) -> list[TrialResult]:
    return sorted(results, key=lambda result: result.trial["trial_id"])


@pytest.mark.parametrize("engine", ["grouped", "vmap"])
def test_weights_of_a_group_give_the_recorded_metrics_to_rounding(tmp_path, engine: str) -> None:
    results = train_keeping(tmp_path / "weights", engine)

    completed = [r for r in results if r.trial["status"] == "completed"]
    assert len(completed) == 3
    for result in completed:
        config = next(c for c in GROUP if c.trial_id == result.trial["trial_id"])
        found = recorded(tmp_path / "weights", config)
        for name in ("test_accuracy", "random_label_accuracy"):
            assert result.trial[name] == pytest.approx(found[name], abs=0.011)  # one sample
        for name in ("test_loss", "head_loss"):
            assert result.trial[name] == pytest.approx(found[name], rel=1e-5)


@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_a_grouped_member_has_the_state_that_it_has_alone(tmp_path, backbone: str) -> None:
    config = dataclasses.replace(sized(backbone), num_epochs=1)
    other = dataclasses.replace(config, lr=0.01)
    for engine in ("sequential", "grouped"):
        train_keeping(tmp_path / engine, engine, [config, other])

    alone, grouped = (
        load_weights(weights_path(tmp_path / engine, config.trial_id), CPU).network
        for engine in ("sequential", "grouped")
    )

    assert list(alone) == list(grouped)
    for name, tensor in alone.items():
        assert torch.allclose(tensor, grouped[name], rtol=1e-3, atol=1e-4), name


def test_weights_are_kept_of_completed_and_stopped_trials_alone(tmp_path: Path) -> None:
    stopped = CONFIG.trial_id
    results = train_keeping(tmp_path / "weights", "sequential", stops=(stopped,))

    statuses = {result.trial["trial_id"]: result.trial["status"] for result in results}
    kept = {path.stem for path in (tmp_path / "weights").iterdir()}
    assert sorted(statuses.values()) == ["completed", "completed", "diverged", "stopped"]
    assert kept == {i for i, status in statuses.items() if status != "diverged"}
    assert load_weights(weights_path(tmp_path / "weights", stopped), CPU).epoch == 1


def test_keeping_weights_changes_no_number(tmp_path: Path) -> None:
    times = {"wall_time_s", "started_at_ms", "finished_at_ms", "error"}
    context = GroupContext(group_id="g", data_dir="", engine="grouped")
    plain = train_group(GROUP, context=context, report=lambda progress: ())

    kept = train_keeping(tmp_path / "weights", "grouped")

    rows = [
        [{k: v for k, v in r.trial.items() if k not in times} for r in sorted_by(results)]
        for results in (plain, kept)
    ]
    assert repr(rows[0]) == repr(rows[1])


def test_weights_that_are_cut_or_of_another_network_are_refused(tmp_path: Path) -> None:
    train_keeping(tmp_path / "weights", "sequential", [CONFIG])
    path = weights_path(tmp_path / "weights", CONFIG.trial_id)
    weights = load_weights(path, CPU)

    wider = dataclasses.replace(weights, config=dataclasses.replace(CONFIG, backbone_width=8))
    with pytest.raises(CheckpointError, match=r"must fit into its network, but .*size mismatch"):
        restore_network(wider, data_of(CONFIG), CPU)
    path.rename(path.with_name("aaaa.pt"))
    with pytest.raises(CheckpointError, match="must hold the weights of its trial, but has"):
        load_weights(path.with_name("aaaa.pt"), CPU)
    path.write_bytes(b"PK and then nothing")
    with pytest.raises(CheckpointError, match="no zip file to its end; remove it, and train"):
        load_weights(path, CPU)
