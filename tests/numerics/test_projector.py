"""A class head behind a projector: what it computes, what it trains, and what it leaves alone."""

import dataclasses

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.probes import ProbeOptions, probe_network
from rlp_sweeps.probes.features import network_features
from rlp_sweeps.training.backbones import ProjectedHead
from rlp_sweeps.training.datasets import SplitDataset, split_dataset
from rlp_sweeps.training.engines import get_engine
from rlp_sweeps.training.heads import ExtractorWeights
from rlp_sweeps.training.member import Member
from rlp_sweeps.training.network import RLPNetwork

CPU = torch.device("cpu")
WIDTH = 48
PLAIN = TrialConfig(
    arm="control",
    lr=0.1,
    rlp_lambda=0.0,
    seed=3,
    train_samples=120,
    val_samples=60,
    test_samples=60,
    num_epochs=3,
    batch_size=20,
    backbone="mlp",
    backbone_width=12,
    num_random_labels=3,
)
PROJECTED = dataclasses.replace(PLAIN, projector_width=WIDTH)


def built(config: TrialConfig) -> tuple[RLPNetwork, SplitDataset]:
    data = split_dataset(config, data_dir="", device=CPU)
    return RLPNetwork(config, data, CPU), data


def set_to_linear(projector: ProjectedHead, linear: nn.Linear) -> None:
    """Let a projector compute what a linear layer without bias does: relu(x) − relu(−x) = x."""
    eye_DD = torch.eye(linear.in_features, dtype=linear.weight.dtype)
    with torch.no_grad():
        projector.hidden.weight.copy_(torch.cat([eye_DD, -eye_DD]))
        projector.output.weight.copy_(torch.cat([linear.weight, -linear.weight], 1))


def class_gradients(network: RLPNetwork, data: SplitDataset, weights: ExtractorWeights) -> Tensor:
    """Return what a training step sends to the extractor, all parameters in one."""
    images_NCHW, labels_N = data.train_images_NCHW[:40], data.train_labels_N[:40]
    random_labels_HN = torch.zeros(2, 40, dtype=torch.int64)
    losses = network.training_losses(
        network.features(images_NCHW), labels_N, random_labels_HN, weights, label_smoothing=0.1
    )
    torch.autograd.backward(sum(losses))
    return torch.cat([p.grad.flatten() for p in network.extractor_parameters])


@pytest.mark.parametrize("loss", ["cross_entropy", "mse"])
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_a_projector_of_the_right_weights_equals_none(loss: str, scale: float) -> None:
    plain, projected = (
        dataclasses.replace(PLAIN, loss=loss),
        dataclasses.replace(PROJECTED, loss=loss, projector_width=2 * 12),
    )
    (without, data), (behind, _) = (built(config) for config in (plain, projected))
    nn.init.zeros_(without.backbone.classifier.bias)
    set_to_linear(behind.backbone.classifier, without.backbone.classifier)
    weights = ExtractorWeights(class_term=1.0, uniform_term=2.0, class_loss=scale)

    logits = [network(data.val_images_NCHW)[0] for network in (without, behind)]
    gradients = [class_gradients(network, data, weights) for network in (without, behind)]

    torch.testing.assert_close(*logits)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)
    assert gradients[0].abs().max() > 0.01


def test_a_projector_is_two_layers_without_bias_around_a_relu() -> None:
    network, data = built(PROJECTED)
    head = network.backbone.classifier

    logits_NK, features_ND = network(data.val_images_NCHW)

    shapes = {name: tuple(p.shape) for name, p in head.named_parameters()}
    assert shapes == {"hidden.weight": (WIDTH, 12), "output.weight": (10, WIDTH)}
    hidden_NW = F.relu(features_ND @ head.hidden.weight.T)
    torch.testing.assert_close(logits_NK, hidden_NW @ head.output.weight.T)


def test_extractor_and_rlp_heads_start_with_the_bits_they_have_without_a_projector() -> None:
    (without, _), (behind, _) = built(PLAIN), built(PROJECTED)

    rest = {n: t for n, t in behind.state_dict().items() if not n.startswith("backbone.classifier")}

    assert rest.keys() <= without.state_dict().keys()
    assert all(torch.equal(without.state_dict()[name], tensor) for name, tensor in rest.items())
    again, _ = built(dataclasses.replace(PROJECTED, seed=4))
    heads = [network.backbone.classifier.hidden.weight for network in (behind, again)]
    assert not torch.equal(*heads)


def test_rlp_heads_and_probes_read_the_features_in_front_of_the_projector() -> None:
    (without, data), (behind, _) = built(PLAIN), built(PROJECTED)
    options = ProbeOptions(probes=("knn",))

    features = [network_features(network, data) for network in (without, behind)]
    probes = [
        [
            (row.attach_point, row.num_features, row.val_accuracy)
            for row in probe_network(network, config, data, options=options)
        ]
        for network, config in ((without, PLAIN), (behind, PROJECTED))
    ]

    assert behind.heads.weight_HJD.shape == without.heads.weight_HJD.shape == (2, 30, 12)
    assert features[0].keys() == features[1].keys()
    assert all(torch.equal(features[0][n].val_ND, features[1][n].val_ND) for n in features[0])
    assert probes[0] == probes[1] != []


def test_the_regularizer_leaves_the_projector_without_gradient() -> None:
    network, data = built(PROJECTED)
    weights = ExtractorWeights(class_term=5.0, uniform_term=5.0, class_loss=0.0)
    losses = network.training_losses(
        network.features(data.val_images_NCHW),
        data.val_labels_N,
        torch.zeros(2, 60, dtype=torch.int64),
        weights,
        label_smoothing=0.0,
    )

    losses.heads_loss.backward()

    assert all(p.grad is None for p in network.backbone.classifier.parameters())
    assert all(p.grad is not None for p in network.extractor_parameters)


def test_a_trial_behind_a_projector_learns_all_of_its_weights() -> None:
    config = dataclasses.replace(PROJECTED, num_epochs=20, lr=0.3, loss="mse")
    member = Member(config, split_dataset(config, data_dir="", device=CPU), CPU)
    before = [p.detach().clone() for p in member.network.backbone.classifier.parameters()]

    losses = [member.train_epoch(epoch) for epoch in range(1, 21)]

    assert losses[-1] < losses[0] / 2
    after = member.network.backbone.classifier.parameters()
    assert all(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert member.describe()["num_features"] == 12


@pytest.mark.parametrize("engine", ["sequential", "grouped", "vmap"])
def test_a_planted_scale_of_two_measures_two_behind_a_projector(engine: str) -> None:
    config = dataclasses.replace(PROJECTED, extractor_scale=2.0, num_epochs=1)

    outcome = get_engine(engine)([config], data_dir="", device=CPU).advance(1, evaluates=True)

    assert outcome[config.trial_id].metrics["lr_multiplier"] == pytest.approx(2.0, rel=1e-5)


@pytest.mark.parametrize("engine", ["grouped", "vmap"])
def test_a_member_gives_its_projector_as_it_has_it_alone(engine: str) -> None:
    configs = [PROJECTED, dataclasses.replace(PROJECTED, lr=0.2)]
    engines = [
        get_engine(name)(configs, data_dir="", device=CPU) for name in ("sequential", engine)
    ]
    for trained in engines:
        trained.advance(1, evaluates=False)

    alone, together = (trained.network_state(configs[1].trial_id) for trained in engines)

    assert alone.keys() == together.keys()
    for name in ("backbone.classifier.hidden.weight", "backbone.classifier.output.weight"):
        torch.testing.assert_close(together[name], alone[name], rtol=1e-4, atol=1e-5)
