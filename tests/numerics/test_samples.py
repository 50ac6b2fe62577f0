"""What a trained network says of every sample, by every engine, and that it costs no number."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlp_sweeps.config import HEADS, TrialConfig
from rlp_sweeps.training.datasets import split_dataset
from rlp_sweeps.training.loop import GroupContext, TrialResult, train_group
from rlp_sweeps.training.random_labels import draw_random_labels
from rlp_sweeps.training.weights import load_weights, restore_network

CPU = torch.device("cpu")

BASE = TrialConfig(
    arm="control",
    lr=0.05,
    rlp_lambda=0.0,
    seed=0,
    dataset="synthetic:1,6,6,3,200",
    backbone="mlp",
    dropout=0.3,
    subset_share=0.7,
    num_random_labels=4,
    num_epochs=3,
    batch_size=20,
)
SEEDS = [replace(BASE, seed=seed) for seed in (0, 1, 2)]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train(configs: list[TrialConfig], **context: Any) -> list[TrialResult]:
    settings = {"keeps_samples": True, **context}
    context = GroupContext(group_id="g", data_dir=".", **settings)
    return train_group(configs, context=context, report=lambda progress: ())


@pytest.mark.parametrize("engine", ["sequential", "grouped", "vmap"])
def test_samples_give_the_recorded_accuracies(engine: str) -> None:
    results = train(SEEDS, engine=engine)

    for result in results:
        pool, test = result.samples
        correct = pool["is_correct"][pool["is_trained"]]
        assert correct.mean() == pytest.approx(result.trial["train_accuracy"], abs=1e-12)
        assert test["is_correct"].mean() == pytest.approx(result.trial["test_accuracy"], abs=1e-12)
        assert len(correct) == result.trial["num_train_samples"] == 126  # 0.7 of 200 less a tenth


@pytest.mark.parametrize("engine", ["grouped", "vmap"])
def test_every_engine_gives_the_same_samples(engine: str) -> None:
    alone = train(SEEDS, engine="sequential")

    grouped = train(SEEDS, engine=engine)

    for first, second in zip(alone, grouped, strict=True):
        for name, values in first.samples[0].items():
            if name.endswith("confidence"):
                np.testing.assert_allclose(second.samples[0][name], values, atol=1e-4)
            elif name != "is_correct":
                np.testing.assert_array_equal(second.samples[0][name], values)


@pytest.mark.parametrize("engine", ["sequential", "grouped"])
def test_keeping_samples_changes_no_number(engine: str) -> None:
    kept, plain = (train(SEEDS, engine=engine, keeps_samples=keeps) for keeps in (True, False))

    timeless = {"wall_time_s", "started_at_ms", "finished_at_ms"}
    for one, other in zip(kept, plain, strict=True):
        assert {k: v for k, v in one.trial.items() if k not in timeless} == {
            k: v for k, v in other.trial.items() if k not in timeless
        }
        assert other.samples == ()


@pytest.mark.parametrize("head", HEADS)
def test_recall_of_random_labels_shows_in_their_confidence(head: str) -> None:
    config = replace(BASE, head=head, num_epochs=60, lr=0.2, backbone_width=4, dropout=0.0)

    (result,) = train([config])

    pool = result.samples[0]
    labels = draw_random_labels(seed=0, pool_size=200, num_random_labels=4)
    seen = pool["rlp_confidence"][pool["is_trained"]]
    np.testing.assert_array_equal(pool["random_label"], labels)
    assert pool["rlp_confidence"].min() >= 0
    assert pool["rlp_confidence"].max() <= 1
    assert seen.mean() > pool["rlp_confidence"][~pool["is_trained"]].mean() + 0.02
    assert (seen > 0.5).mean() <= result.trial["random_label_accuracy"]  # the surest are recalled


PLACES: list[dict[str, Any]] = [
    {},
    {"head": "single"},
    {"head": "nested_per_class"},
    {"attach_points": "hidden1"},
    {"observed_attach_points": "all"},
]
COPIES: list[dict[str, Any]] = [{"copy_depth": 2}, {"copy_depth": 3}]


@pytest.mark.parametrize(
    ("settings", "engine"),
    [
        *((settings, "sequential") for settings in [*PLACES, *COPIES]),
        *((settings, "grouped") for settings in PLACES),
    ],
    ids=str,
)
def test_of_two_random_labels_the_recalled_ones_are_above_a_half(settings, engine: str) -> None:
    config = replace(BASE, num_random_labels=2, num_epochs=10, dropout=0.0, **settings)

    (result,) = train([config], engine=engine)

    pool = result.samples[0]
    recalled = pool["rlp_confidence"][pool["is_trained"]] > 0.5
    assert recalled.mean() == pytest.approx(result.trial["random_label_accuracy"], abs=1e-12)


def test_confidences_are_those_by_hand_from_the_kept_weights(tmp_path: Path) -> None:
    config = replace(BASE, num_epochs=20)
    (result,) = train([config], weights_folder=tmp_path)
    data = split_dataset(config, data_dir=".", device=CPU)
    weights = load_weights(tmp_path / f"{config.trial_id}.pt", CPU)
    network = restore_network(weights, data, CPU).eval()

    with torch.no_grad():
        logits_NK, features_ND = network(data.train_images_NCHW)
        p_NJ = (features_ND @ network.heads.weight_HJD[1].T + network.heads.bias_HJ[1]).exp()
    p_NR = p_NJ.view(-1, 3, 4)[torch.arange(126), data.train_labels_N]
    ids = data.train_ids_N.numpy()
    random_labels_N = torch.from_numpy(result.samples[0]["random_label"][ids])
    q_N = (p_NR / p_NR.sum(1, keepdim=True))[torch.arange(126), random_labels_N]
    p_N = logits_NK.softmax(1)[torch.arange(126), data.train_labels_N]

    pool = result.samples[0]
    np.testing.assert_allclose(pool["rlp_confidence"][ids], q_N, rtol=1e-5)
    np.testing.assert_allclose(pool["class_confidence"][ids], p_N, rtol=1e-5)


def test_a_data_set_without_test_set_has_its_test_samples_in_the_pool() -> None:
    config = replace(BASE, dataset="digits", num_epochs=1)

    (result,) = train([config])

    (pool,) = result.samples
    assert len(pool["sample_id"]) == 1797
    assert set(pool["split"]) == {"pool"}
    assert pool["is_trained"].sum() == round(0.7 * 999)


def test_samples_are_judged_by_the_labels_trained_on_and_tell_the_true_ones() -> None:
    planted = [replace(seed, label_corruption=0.4, corruption_seed=5) for seed in SEEDS]

    results = train(planted, engine="grouped")

    first, second = (result.samples[0] for result in results[:2])
    is_changed = first["label"] != first["true_label"]
    assert 0.1 < is_changed.mean() < 0.45
    np.testing.assert_array_equal(first["label"], second["label"])
    np.testing.assert_array_equal(
        results[0].samples[1]["label"], results[0].samples[1]["true_label"]
    )
    for result in results:
        seen = result.samples[0]["is_trained"]
        accuracy = result.samples[0]["is_correct"][seen].mean()
        assert accuracy == pytest.approx(result.trial["train_accuracy"], abs=1e-12)
        changed = result.samples[0]["is_correct"][seen & is_changed].mean()
        assert changed == pytest.approx(result.trial["changed_label_accuracy"], abs=1e-12)


def test_only_completed_trials_have_samples(tmp_path: Path) -> None:
    diverging = replace(BASE, lr=1e30, num_epochs=2)

    (diverged,) = train([diverging])
    (stopped,) = train_group(
        [BASE],
        context=GroupContext(group_id="g", data_dir=".", keeps_samples=True),
        report=lambda progress: progress.live,
    )

    assert (diverged.trial["status"], stopped.trial["status"]) == ("diverged", "stopped")
    assert diverged.samples == stopped.samples == ()
