"""The choice of engine and group size, from tables written out here and from the stored one."""

import dataclasses

import pytest

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import BackboneError, ConfigError
from rlp_sweeps.orchestration.calibration import (
    Calibration,
    CalibrationEntry,
    speed_up_at,
    stored_calibration,
)
from rlp_sweeps.orchestration.engine_choice import (
    EngineChoice,
    EngineRequest,
    Evidence,
    Kind,
    Room,
    check_engine_name,
    choose_engine,
)
from rlp_sweeps.orchestration.evidence import (
    dataset_info,
    evidence_from_calibration,
)
from rlp_sweeps.orchestration.grouping import group_by_seed, group_sizes, makespan
from rlp_sweeps.training.engines.probing import Prober
from rlp_sweeps.training.engines.traits import NetTraits, engine_refusal, net_traits

SPEED_UPS = {"grouped": {4: 3.0, 8: 4.0, 16: 5.0}, "vmap": {4: 2.0, 16: 3.0}}


def _config(**settings):
    given = {"arm": "control", "lr": 0.1, "rlp_lambda": 0.0, "seed": 0, "dataset": "digits"}
    return TrialConfig.from_dict({**given, **settings})


def _kind(*blocks, **settings):
    return Kind(config=_config(**settings), blocks=blocks)


def _choose(kind, *, speed_ups=None, refused=(), **asked):
    slots = asked.pop("slots", 1)
    evidence = Evidence(
        speed_ups=SPEED_UPS if speed_ups is None else speed_ups,
        source="expected",
        refusal=lambda engine: "no grouped form." if engine in refused else None,
    )
    return choose_engine(kind, EngineRequest(room=Room(slots=slots), **asked), evidence)


def _chosen(config, *, slots=1, num_trials=64):
    """Return the choice by the stored calibration."""
    info = dataset_info(config.dataset, data_dir="")
    kind = Kind(config=config, blocks=(num_trials,))
    evidence = evidence_from_calibration(config, info)
    return choose_engine(kind, EngineRequest(room=Room(slots=slots)), evidence)


# --- the rule -------------------------------------------------------------------------------------


def test_choice_is_the_engine_and_group_size_that_end_first():
    choice = _choose(_kind(64))

    assert (choice.engine, choice.group_size, choice.speed_up) == ("grouped", 16, 5.0)
    assert choice.describe() == "grouped, 16 trials a group: 5.0× expected"


@pytest.mark.parametrize("speed_ups", [{}, {"grouped": {4: 1.05, 16: 1.08}}, {"vmap": {4: 0.4}}])
def test_choice_is_sequential_when_no_engine_gains_enough(speed_ups):
    choice = _choose(_kind(64), speed_ups=speed_ups)

    assert (choice.engine, choice.group_size) == ("sequential", 1)
    assert "expected" in choice.why


def test_choice_takes_the_smaller_group_when_the_larger_one_hardly_gains():
    choice = _choose(_kind(64), speed_ups={"grouped": {8: 4.0, 16: 4.02}})

    assert choice.group_size == 8


@pytest.mark.parametrize(("slots", "largest"), [(1, 12), (2, 6), (4, 3), (12, 1), (50, 1)])
def test_groups_are_so_small_that_no_slot_idles(slots, largest):
    kind = _kind(6, 6)

    choice = _choose(kind, slots=slots)

    assert choice.group_size == largest
    assert len(kind.sizes(choice.group_size)) >= min(slots, 12)


def test_choice_counts_groups_that_wait_for_a_slot():
    kind = _kind(12, 12, 12)

    choice = _choose(kind, slots=2, speed_ups={"grouped": {6: 3.0, 12: 3.3}})

    assert choice.group_size == 6, "three groups of 12 on two slots take two turns"


def test_refused_engine_gives_way_to_the_next_best_with_its_reason():
    choice = _choose(_kind(64), refused=["grouped"])

    assert choice.engine == "vmap"
    assert "'grouped' cannot: no grouped form" in choice.why


def test_asked_engine_is_taken_with_the_best_group_size_though_it_loses():
    choice = _choose(_kind(64), engine="vmap", speed_ups={"vmap": {4: 0.9, 16: 0.5}})

    assert (choice.engine, choice.group_size, choice.speed_up) == ("vmap", 4, 0.9)
    assert choice.why == "as asked for, 0.9× expected"


def test_asked_engine_without_evidence_gets_a_moderate_group():
    assert _choose(_kind(64), engine="vmap", speed_ups={}).group_size == 8
    assert _choose(_kind(5), engine="vmap", speed_ups={}).group_size == 5
    assert _choose(_kind(8, 8), engine="vmap", speed_ups={}, slots=4).group_size == 4
    assert _choose(_kind(64), engine="sequential").group_size == 1


def test_asked_group_size_is_taken_as_it_is():
    choice = _choose(_kind(64), group_size=40, slots=8)

    assert (choice.engine, choice.group_size) == ("grouped", 40)


def test_asked_engine_that_cannot_train_the_backbone_is_refused():
    with pytest.raises(BackboneError, match="no grouped form"):
        _choose(_kind(64), engine="grouped", refused=["grouped"])


def test_unknown_engine_is_refused_with_a_suggestion():
    with pytest.raises(ConfigError, match=r"unknown engine 'goruped'.*did you mean 'grouped'\?"):
        check_engine_name("goruped")


def test_points_of_a_search_are_joined_and_never_parted():
    kind = Kind(config=_config(), blocks=(6,) * 20, is_divisible=False, max_group_size=24)

    choice = _choose(kind)

    assert kind.sizes(choice.group_size) == [12] * 10
    assert kind.sizes(1) == [6] * 20


def test_choice_is_the_same_after_a_trip_through_json():
    choice = dataclasses.replace(_choose(_kind(64)), probes=({"engine": "vmap", "step_s": 0.1},))

    read = EngineChoice.from_dict(choice.to_dict())

    assert read == choice
    assert read.probes == choice.probes


# --- groups ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("blocks", "size", "sizes"),
    [
        ((27, 27), 16, [13, 14, 13, 14]),
        ((27, 27), 27, [27, 27]),
        ((4, 4, 4, 4, 4), 8, [4, 8, 8]),
        ((4, 4, 4), 100, [12]),
        ((5, 3), 1, [1] * 8),
    ],
)
def test_groups_are_of_near_equal_size(blocks, size, sizes):
    assert sorted(group_sizes(blocks, size, is_divisible=True)) == sorted(sizes)


@pytest.mark.parametrize("size", range(1, 14))
def test_groups_hold_one_seed_or_whole_seeds(size):
    trials = [_config(seed=seed, lr=lr / 10) for seed in range(3) for lr in range(1, 5)]

    groups = group_by_seed(trials, size)

    assert [trial for group in groups for trial in group] == trials
    assert [len(group) for group in groups] == group_sizes((4, 4, 4), size, is_divisible=True)
    for group in groups:
        counts = {seed: sum(t.seed == seed for t in group) for seed in {t.seed for t in group}}
        assert len(set(counts.values())) == 1
        assert len(counts) == 1 or set(counts.values()) == {4}


def test_makespan_starts_each_group_on_the_first_free_slot():
    assert makespan([4.0, 1.0, 1.0, 3.0], 2) == 5.0


# --- calibration ----------------------------------------------------------------------------------


def _entry(work, speed_ups, **changes):
    values = {"net": f"net {work}", "config": {}, "kind": "vectors", "precision": "fp32"}
    return CalibrationEntry(**{**values, "work": work, "speed_ups": speed_ups, **changes})


TABLE = Calibration(
    entries=(
        _entry(100.0, {"grouped": {4: 3.0, 16: 9.0}, "vmap": {4: 2.0}}),
        _entry(1000.0, {"grouped": {4: 2.0, 16: 1.0}}),
        _entry(100.0, {"grouped": {4: 0.5}}, kind="convolution"),
    )
)


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        (1.0, {"grouped": {4: 3.0, 16: 9.0}, "vmap": {4: 2.0}}),
        (100.0, {"grouped": {4: 3.0, 16: 9.0}, "vmap": {4: 2.0}}),
        (500.0, {"grouped": {4: 2.0, 16: 1.0}}),
        (1001.0, {}),
    ],
)
def test_prediction_is_the_slower_neighbour_and_none_beyond_the_largest_net(work, expected):
    traits = NetTraits(kind="vectors", precision="fp32", work=work)

    assert TABLE.speed_ups(traits) == expected
    assert TABLE.speed_ups(dataclasses.replace(traits, precision="bf16")) == {}


def test_speed_up_is_interpolated_over_the_logarithm_of_the_group_size():
    found = [speed_up_at({4: 3.0, 16: 5.0}, size) for size in (1, 2, 4, 8, 16, 99)]

    assert found == pytest.approx([1.0, 2.0, 3.0, 4.0, 5.0, 5.0])


def test_table_is_the_same_after_a_trip_through_text():
    assert Calibration.from_text(TABLE.to_text()) == TABLE


def test_stored_table_describes_the_networks_as_they_are():
    entries = stored_calibration().entries

    assert {entry.kind for entry in entries} == {"vectors", "convolution", "tokens"}
    for entry in entries:
        config = _config(**entry.config)
        traits = net_traits(config, dataset_info(config.dataset, data_dir=""))
        assert (traits.kind, traits.precision) == (entry.kind, entry.precision)
        assert traits.work == pytest.approx(entry.work)


def test_stored_table_names_no_machine():
    made_with = stored_calibration().made_with

    assert {"torch", "processor", "num_threads", "num_rounds"} <= set(made_with)
    assert not any("/" in str(value) for value in made_with.values())


@pytest.mark.parametrize(
    ("settings", "least"),
    [
        ({"backbone": "mlp", "backbone_width": 32}, 3.0),
        ({"backbone": "small_cnn", "backbone_width": 8}, 1.5),
    ],
)
def test_small_networks_are_grouped(settings, least):
    choice = _chosen(_config(batch_size=32, **settings))

    assert choice.engine == "grouped"
    assert choice.group_size >= 8
    assert choice.speed_up >= least
    assert "stored calibration" in choice.why


@pytest.mark.parametrize(
    "settings",
    [
        {"backbone": "wide_resnet", "backbone_depth": 16, "backbone_width": 4},
        {"backbone": "resnet18"},
        {"backbone": "vgg16"},
    ],
)
def test_large_networks_are_trained_one_by_one(settings):
    choice = _chosen(_config(dataset="synthetic:3,32,32,10,512", **settings))

    assert (choice.engine, choice.group_size) == ("sequential", 1)


def test_choice_on_a_cpu_times_nothing_and_is_the_same_twice(monkeypatch):
    monkeypatch.setattr(Prober, "probe", lambda *_, **__: pytest.fail("timed"))
    config = _config(backbone="mlp", backbone_width=32, batch_size=32)

    first, second = _chosen(config), _chosen(config)

    assert first == second


# --- traits ---------------------------------------------------------------------------------------


def test_work_counts_every_multiplication_of_a_batch():
    config = _config(backbone="mlp", backbone_depth=1, backbone_width=5, num_random_labels=2)
    info = dataset_info("digits", data_dir="")

    traits = net_traits(dataclasses.replace(config, batch_size=10), info)

    weights, head_weights = 64 * 5 + 5 * 10, 2 * 5 * 10 * 2
    assert traits.kind == "vectors"
    assert traits.work == (10 + 16) * (weights + head_weights) / 3


def test_work_grows_with_batch_and_width():
    info = dataset_info("digits", data_dir="")
    configs = [
        _config(backbone="small_cnn", batch_size=b, backbone_width=w)
        for b, w in ((16, 8), (64, 8), (64, 16))
    ]

    works = [net_traits(config, info).work for config in configs]

    assert works == sorted(works)
    assert net_traits(configs[0], info).kind == "convolution"


def test_work_counts_the_projector_of_a_class_head():
    info = dataset_info("digits", data_dir="")
    config = _config(backbone="mlp", backbone_depth=1, backbone_width=512, num_random_labels=2)
    wide = dataclasses.replace(config, projector_width=65_536)

    plain, projected = (net_traits(c, info).work * n for c, n in ((config, 3), (wide, 4)))

    added = 512 * 65_536 + 65_536 * 10 - 512 * 10
    assert projected - plain == (config.batch_size + 16) * added


def test_heads_that_copy_layers_are_stacked_where_it_is_asked_for_alone():
    info = dataset_info("digits", data_dir="")
    config = _config(backbone="mlp", copy_depth=2)

    assert evidence_from_calibration(_config(backbone="mlp"), info).speed_ups
    assert evidence_from_calibration(config, info).speed_ups == {}
    assert engine_refusal(config, info, engine="grouped") is None


def test_engine_takes_every_setting_it_can_train():
    info = dataset_info("digits", data_dir="")

    assert engine_refusal(_config(backbone="mlp"), info, engine="grouped") is None
    assert engine_refusal(_config(backbone="mlp"), info, engine="sequential") is None
