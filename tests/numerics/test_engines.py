"""A trial's numbers do not depend on how its group is trained (docs/method.md, "Groups")."""

import copy
import dataclasses
from collections.abc import Iterator

import pytest
import torch

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.training import network
from rlp_sweeps.training.engines import EpochOutcome, get_engine, stacked_network

CPU = torch.device("cpu")
STACKED = ("grouped", "vmap")
ENGINES = ("sequential", *STACKED)
BACKBONES = {
    "mlp": {"backbone": "mlp", "backbone_width": 8},
    "small_cnn": {"backbone": "small_cnn", "backbone_width": 4},
    "wide_resnet": {"backbone": "wide_resnet", "backbone_depth": 10, "backbone_width": 1},
    "vgg16": {"backbone": "vgg16", "backbone_width": 2},
    "vgg16_bn": {"backbone": "vgg16_bn", "backbone_width": 2},
    "resnet18": {"backbone": "resnet18", "backbone_width": 4},
    "vit": {"backbone": "vit", "backbone_depth": 1, "backbone_width": 16},
}
ARMS = {"control": 0.0, "full": 2.0, "class_term": 2.0, "uniform_term": 2.0, "sham": 1.0}
ARMS |= {"sham_norm": 2.0, "class_mean": 2.0, "mean_rest": 1.0, "rescaled": 2.0}
PROJECTED = ("orthogonal", "grafted")
BASE = TrialConfig(
    arm="control",
    lr=0.02,
    rlp_lambda=0.0,
    seed=1,
    dataset="digits",
    train_samples=48,
    val_samples=16,
    test_samples=32,
    num_epochs=2,
    batch_size=16,
    weight_decay=1e-3,
    num_random_labels=3,
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As in a worker: with several threads, torch splits sums by the size of the whole group."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


def arms_of(*, without: tuple[str, ...] = (), **settings: object) -> list[TrialConfig]:
    """All arms but some, over two seeds unevenly, with scalars that differ."""
    base = dataclasses.replace(BASE, **settings)
    replayed = " ".join(f"{2.0 / (n + 1):g}" for n in range(base.num_evaluations))
    members = [
        dataclasses.replace(
            base,
            arm=arm,
            rlp_lambda=rlp_lambda,
            lr=base.lr * (1 + i / 4),
            matched_multiplier=1.5 if arm == "rescaled" else None,
            matched_trajectory=replayed if arm == "replayed" else None,
        )
        for i, (arm, rlp_lambda) in enumerate(ARMS.items())
        if arm not in without
    ]
    first = dataclasses.replace(members[0], extractor_scale=2.0)
    other = dataclasses.replace(members[:2][-1], seed=2, label_smoothing=0.1, weight_decay=0.0)
    return [first, *members, other]


def train(engine: str, configs: list[TrialConfig], epochs: int = 2) -> dict[str, EpochOutcome]:
    trained = get_engine(engine)(configs, data_dir="", device=CPU)
    for epoch in range(1, epochs + 1):
        outcomes = trained.advance(epoch, evaluates=True)
    assert not [o.error for o in outcomes.values() if o.error]
    return outcomes


def numbers(outcome: EpochOutcome) -> dict[str, float | None]:
    """All that a member's epoch came to but the time."""
    rest = {"step_loss": outcome.step_loss, "step": outcome.step, "lr": outcome.current_lr}
    return {**outcome.metrics, **rest}


def assert_close(left: EpochOutcome, right: EpochOutcome, *, rel: float) -> None:
    expected = numbers(right)
    for name, value in numbers(left).items():
        if expected[name] is None or value is None:
            assert value is expected[name], name
        else:
            assert value == pytest.approx(expected[name], rel=rel, abs=rel), name


@pytest.fixture
def _float64(monkeypatch: pytest.MonkeyPatch):
    """Train in float64: weights by torch's default, images by the normalization."""
    plain = network.normalize
    for module in (network, stacked_network):
        monkeypatch.setattr(module, "normalize", lambda *args: plain(*args).double())
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize("engine", STACKED)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_arm_in_a_group_equals_itself_alone_in_float64(backbone: str, engine: str) -> None:
    configs = arms_of(**BACKBONES[backbone])

    alone, together = train("sequential", configs), train(engine, configs)

    for config in configs:
        assert_close(together[config.trial_id], alone[config.trial_id], rel=1e-9)


@pytest.mark.parametrize("engine", STACKED)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_arm_in_a_group_follows_itself_alone_in_float32(backbone: str, engine: str) -> None:
    configs = arms_of(**BACKBONES[backbone])

    alone, together = train("sequential", configs, 1), train(engine, configs, 1)

    for config in configs:
        assert together[config.trial_id].step_loss == pytest.approx(
            alone[config.trial_id].step_loss, rel=1e-5
        )


PLACES = {
    "mlp": ("hidden1,hidden2", None),
    "small_cnn": ("conv1,linear", "all"),
    "wide_resnet": (None, "all"),
    "vgg16_bn": ("conv2", "linear1,linear2"),
    "resnet18": ("layer1,layer3", "stem,layer4"),
    "vit": ("block1", "all"),
}


def at_places(backbone: str, **settings: object) -> dict[str, object]:
    regularized, observed = PLACES[backbone]
    places = {"attach_points": regularized, "observed_attach_points": observed}
    return {**BACKBONES[backbone], **places, **settings}


@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize("engine", STACKED)
@pytest.mark.parametrize("backbone", PLACES)
def test_every_arm_with_heads_at_several_places_equals_itself_alone(
    backbone: str, engine: str
) -> None:
    configs = arms_of(**at_places(backbone))

    alone, together = train("sequential", configs), train(engine, configs)

    for config in configs:
        assert_close(together[config.trial_id], alone[config.trial_id], rel=1e-9)


@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize("arm", PROJECTED)
@pytest.mark.parametrize("engine", STACKED)
def test_projected_members_with_heads_at_several_places_equal_themselves_alone(
    engine: str, arm: str
) -> None:
    configs = [
        dataclasses.replace(c, arm=arm)
        for c in projected_members(**at_places("small_cnn", attach_points="conv1,conv2"))
    ][:2]
    configs[1] = dataclasses.replace(configs[1], attach_points="conv1,conv2", lr=0.05)

    alone, together = train("sequential", configs), train(engine, configs)

    for config in configs:
        assert_close(together[config.trial_id], alone[config.trial_id], rel=1e-8)


@pytest.mark.parametrize("engine", STACKED)
def test_a_member_gives_its_heads_at_all_places_as_it_has_them_alone(engine: str) -> None:
    configs = arms_of(**at_places("small_cnn"))
    engines = [
        get_engine(name)(configs, data_dir="", device=CPU) for name in ("sequential", engine)
    ]
    for trained in engines:
        trained.advance(1, evaluates=False)

    alone, together = (trained.network_state(configs[2].trial_id) for trained in engines)

    assert alone.keys() == together.keys()
    assert "further_heads.1.weight_HJD" in alone
    for name, tensor in alone.items():
        torch.testing.assert_close(together[name], tensor, rtol=1e-3, atol=1e-4)


def projected_members(**settings: object) -> list[TrialConfig]:
    """Both projection arms at two learning rates, wide enough for fused optimizers."""
    base = dataclasses.replace(BASE, rlp_lambda=2.0, arm="orthogonal", **settings)
    return [dataclasses.replace(base, arm=arm, lr=lr) for arm in PROJECTED for lr in (0.01, 0.02)]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("engine", STACKED)
@pytest.mark.parametrize("backbone", ["mlp", "small_cnn"])
def test_projected_members_follow_themselves_alone(
    backbone: str, engine: str, optimizer: str
) -> None:
    width = {"mlp": 128, "small_cnn": 16}[backbone]
    configs = projected_members(backbone=backbone, backbone_width=width, optimizer=optimizer)

    alone, together = train("sequential", configs), train(engine, configs)

    for config in configs:
        expected = numbers(alone[config.trial_id])
        for name in ("step_loss", "train_loss", "lr_multiplier"):
            found = numbers(together[config.trial_id])[name]
            assert found == pytest.approx(expected[name], rel=2e-3), name


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_projected_members_bits_do_not_depend_on_its_company(optimizer: str) -> None:
    configs = projected_members(backbone="mlp", backbone_width=128, optimizer=optimizer)

    among, beside = train("grouped", configs), train("grouped", configs[:2])

    assert numbers(among[configs[0].trial_id]) == numbers(beside[configs[0].trial_id])


@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize("engine", STACKED)
@pytest.mark.parametrize(
    "settings",
    [
        {"nesterov": True},
        {"momentum": 0.0},
        {"optimizer": "adamw"},
        {"head_lr": 0.3, "head_weight_decay": 0.01},
        {"schedule": "step", "warmup_epochs": 1},
        {"augmentation": "flip_crop"},
        {"dropout": 0.3},
        {"label_corruption": 0.5, "train_fraction": 0.8, "imbalance_factor": 3.0},
        {"subset_share": 0.6, "label_corruption": 0.5, "corruption_seed": 7},
        {"random_label_draw": 3},
        {"augmentation": "crop", "num_views": 2, "label_corruption": 0.5},
        {"mixup_alpha": 0.4, "augmentation": "crop"},
        {"mixup_alpha": 0.4, "attach_points": "hidden1", "loss": "mse"},
        {"loss": "mse"},
        {"loss": "mse", "projector_width": 24, "optimizer": "adamw"},
        {"projector_width": 24, "mixup_alpha": 0.4, "dropout": 0.3},
        {"augmentation": "crop", "num_views": 3, "view_labels": "random", "label_corruption": 1.0},
    ],
    ids=str,
)
def test_every_setting_means_the_same_in_a_group(settings, engine: str) -> None:
    configs = arms_of(backbone="mlp", backbone_width=8, **settings)

    alone, together = train("sequential", configs), train(engine, configs)

    for config in configs:
        assert_close(together[config.trial_id], alone[config.trial_id], rel=1e-9)


def single_outputs(**settings: object) -> list[TrialConfig]:
    """Members without class loss, over two seeds, with scalars that differ."""
    base = dataclasses.replace(BASE, head="single_output", lr=0.1, **settings)
    rates = [(0.1, 0.9, 1), (0.05, 0.9, 1), (0.2, 0.5, 1), (0.1, 0.9, 2)]
    return [dataclasses.replace(base, lr=lr, momentum=m, seed=seed) for lr, m, seed in rates]


@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize("engine", STACKED)
@pytest.mark.parametrize(
    "settings",
    [
        BACKBONES["mlp"],
        BACKBONES["small_cnn"],
        {**BACKBONES["mlp"], "mixup_alpha": 0.4, "dropout": 0.3},
        {**BACKBONES["mlp"], "optimizer": "adamw", "observed_attach_points": "hidden1"},
    ],
    ids=str,
)
def test_single_outputs_in_a_group_equal_themselves_alone(settings, engine: str) -> None:
    configs = single_outputs(**settings)

    alone, together = train("sequential", configs), train(engine, configs)

    for config in configs:
        assert_close(together[config.trial_id], alone[config.trial_id], rel=1e-9)


def test_the_bits_of_a_grouped_single_output_do_not_depend_on_its_company() -> None:
    members = single_outputs(**BACKBONES["mlp"])
    mine = members[1]

    outcomes = [train("grouped", group)[mine.trial_id] for group in companies_of(mine, members)]

    assert all(numbers(outcome) == numbers(outcomes[0]) for outcome in outcomes)


COPIED = {
    "mlp": {**BACKBONES["mlp"], "copy_depth": 2},
    "wide mlp": {**BACKBONES["mlp"], "copy_depth": 2, "copy_width": 2.0},
    "per class": {**BACKBONES["mlp"], "copy_depth": 2, "head": "nested_per_class"},
    "small_cnn": {**BACKBONES["small_cnn"], "copy_depth": 3},
    "vgg16_bn": {**BACKBONES["vgg16_bn"], "copy_depth": 5},
}
PIXELS = {
    "mlp": {**BACKBONES["mlp"], "copy_depth": 3},
    "small_cnn": {**BACKBONES["small_cnn"], "copy_depth": 4},
}


@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize("engine", STACKED)
@pytest.mark.parametrize("name", COPIED)
def test_every_arm_with_heads_that_copy_layers_equals_itself_alone(name: str, engine: str) -> None:
    without = ("class_mean", "mean_rest") if name == "per class" else ()
    configs = arms_of(without=without, **COPIED[name])

    alone, together = train("sequential", configs), train(engine, configs)

    for config in configs:
        assert_close(together[config.trial_id], alone[config.trial_id], rel=1e-8)


@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize("engine", STACKED)
@pytest.mark.parametrize("name", PIXELS)
def test_heads_that_copy_the_whole_network_equal_themselves_alone(name: str, engine: str) -> None:
    configs = arms_of(without=tuple(arm for arm in ARMS if arm != "control"), **PIXELS[name])

    alone, together = train("sequential", configs), train(engine, configs)

    assert len(configs) == 3
    for config in configs:
        assert_close(together[config.trial_id], alone[config.trial_id], rel=1e-8)


@pytest.mark.parametrize("engine", STACKED)
def test_a_member_gives_its_copied_layers_as_it_has_them_alone(engine: str) -> None:
    configs = arms_of(**COPIED["small_cnn"])[:3]
    engines = [
        get_engine(name)(configs, data_dir="", device=CPU) for name in ("sequential", engine)
    ]
    for trained in engines:
        trained.advance(1, evaluates=False)

    alone, together = (trained.network_state(configs[2].trial_id) for trained in engines)

    assert alone.keys() == together.keys()
    for name, tensor in alone.items():
        torch.testing.assert_close(together[name], tensor, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("engine", STACKED)
def test_a_member_with_copied_layers_does_not_depend_on_its_company(engine: str) -> None:
    members = arms_of(**COPIED["small_cnn"])
    mine = members[2]

    outcomes = [train(engine, group, 1)[mine.trial_id] for group in companies_of(mine, members)]

    for name in ("step_loss", "head_loss", "lr_multiplier"):
        values = [numbers(outcome)[name] for outcome in outcomes]
        assert values == pytest.approx([values[0]] * len(values), rel=1e-4), name


def companies_of(mine: TrialConfig, members: list[TrialConfig]) -> list[list[TrialConfig]]:
    """Other neighbours, positions, numbers of members and seeds; one that diverges; none."""
    diverging = dataclasses.replace(mine, lr=1e30)
    return [members, members[::-1], [mine, members[0]], [diverging, mine, members[-1]], [mine]]


@pytest.mark.parametrize("projector_width", [0, 24])
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_grouped_members_bits_do_not_depend_on_its_company(
    backbone: str, projector_width: int
) -> None:
    members = arms_of(**BACKBONES[backbone], projector_width=projector_width)
    mine = members[2]

    outcomes = [train("grouped", group)[mine.trial_id] for group in companies_of(mine, members)]

    assert all(numbers(outcome) == numbers(outcomes[0]) for outcome in outcomes)


@pytest.mark.parametrize("backbone", ["mlp", "small_cnn", "resnet18"])
def test_a_grouped_members_bits_do_not_depend_on_its_company_with_several_places(
    backbone: str,
) -> None:
    members = arms_of(**at_places(backbone))
    mine = members[2]

    outcomes = [train("grouped", group)[mine.trial_id] for group in companies_of(mine, members)]

    assert all(numbers(outcome) == numbers(outcomes[0]) for outcome in outcomes)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_vmapped_members_numbers_do_not_depend_on_its_company(backbone: str) -> None:
    members = arms_of(**BACKBONES[backbone])
    mine = members[2]

    outcomes = [train("vmap", group, 1)[mine.trial_id] for group in companies_of(mine, members)]

    losses = [outcome.step_loss for outcome in outcomes]
    assert losses == pytest.approx([losses[0]] * len(losses), rel=1e-5)


@pytest.mark.parametrize("engine", STACKED)
def test_a_neighbour_diverges_alone(engine: str) -> None:
    members = arms_of(backbone="small_cnn", backbone_width=4)
    diverging = dataclasses.replace(members[2], lr=1e30)

    outcomes = train(engine, [*members, diverging])

    assert not outcomes[diverging.trial_id].is_finite
    assert all(outcomes[config.trial_id].is_finite for config in members)


def assert_same(engine: str, left: EpochOutcome, right: EpochOutcome) -> None:
    """Bit for bit, but under vmap, whose kernels depend on the group by rounding."""
    if engine == "vmap":
        assert left.step_loss == pytest.approx(right.step_loss, rel=1e-4)
    else:
        assert numbers(left) == numbers(right)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("engine", STACKED)
def test_cutting_members_out_does_not_change_the_others(engine: str, optimizer: str) -> None:
    configs = arms_of(backbone="small_cnn", backbone_width=4, optimizer=optimizer)
    whole, cut = (get_engine(engine)(configs, data_dir="", device=CPU) for _ in range(2))
    for trained in (whole, cut):
        trained.advance(1, evaluates=False)
    for config in (configs[0], configs[-1], configs[3]):
        cut.drop(config.trial_id)

    left, expected = cut.advance(2, evaluates=True), whole.advance(2, evaluates=True)

    assert len(left) == len(configs) - 3
    for trial_id, outcome in left.items():
        assert_same(engine, outcome, expected[trial_id])


@pytest.mark.usefixtures("_float64")
@pytest.mark.parametrize("engine", STACKED)
def test_members_with_copied_layers_go_on_after_a_cut_and_from_their_states(engine: str) -> None:
    configs = arms_of(**COPIED["small_cnn"])
    whole, cut, restored = (
        get_engine(engine)(group, data_dir="", device=CPU)
        for group in (configs, configs, configs[1:4])
    )
    for trained in (whole, cut):
        trained.advance(1, evaluates=False)
    restored.load_state_dict(copy.deepcopy(whole.state_dict()))
    for config in (configs[0], *configs[4:]):
        cut.drop(config.trial_id)

    expected, *others = (e.advance(2, evaluates=True) for e in (whole, cut, restored))

    for outcomes in others:
        assert set(outcomes) == {config.trial_id for config in configs[1:4]}
        for trial_id, outcome in outcomes.items():
            assert_close(outcome, expected[trial_id], rel=1e-9)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("engine", ENGINES)
def test_restored_members_go_on_as_they_would_have(engine: str, optimizer: str) -> None:
    configs = arms_of(backbone="small_cnn", backbone_width=4, optimizer=optimizer)
    undisturbed, restored = (
        get_engine(engine)(group, data_dir="", device=CPU) for group in (configs, configs[1:4])
    )
    undisturbed.advance(1, evaluates=False)
    restored.load_state_dict(copy.deepcopy(undisturbed.state_dict()))

    expected, outcomes = (e.advance(2, evaluates=True) for e in (undisturbed, restored))

    assert len(outcomes) == 3
    for trial_id, outcome in outcomes.items():
        assert_same(engine, outcome, expected[trial_id])


@pytest.mark.parametrize("places", [{}, {"attach_points": "conv1,linear"}], ids=str)
@pytest.mark.parametrize("engine", STACKED)
def test_a_group_in_bf16_follows_fp32(engine: str, places: dict[str, str]) -> None:
    losses = []
    for precision in ("fp32", "bf16"):
        configs = arms_of(**BACKBONES["small_cnn"], **places, precision=precision)
        outcomes = train(engine, configs)
        losses.append([outcomes[config.trial_id].step_loss for config in configs])

    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert losses[1] != losses[0]


@pytest.mark.parametrize("engine", STACKED)
def test_an_exception_ends_every_member_of_the_program_with_its_trace(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = get_engine(engine)([BASE], data_dir="", device=CPU)
    monkeypatch.setattr("rlp_sweeps.training.engines.stacked.split_dataset", lambda *_, **__: 1 / 0)

    outcome = trained.advance(1, evaluates=True)[BASE.trial_id]

    assert "ZeroDivisionError" in str(outcome.error)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_lack_of_memory_reaches_the_caller(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_out(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError

    trained = get_engine(engine)([BASE], data_dir="", device=CPU)
    for module in ("stacked", "sequential"):
        monkeypatch.setattr(f"rlp_sweeps.training.engines.{module}.split_dataset", run_out)

    with pytest.raises(torch.OutOfMemoryError):
        trained.advance(1, evaluates=True)
