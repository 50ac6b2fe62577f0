"""What holds of every trial's configuration: it survives JSON, and its id tells it from others."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from random import Random

import pytest
from config_strategies import changed, is_same, valid_configs, values_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rlp_sweeps.config import FIELD_TYPES, TrialConfig, check_value, parse_value, setting_kinds
from rlp_sweeps.errors import ConfigError
from rlp_sweeps.orchestration.grouping import Group
from rlp_sweeps.settings import values_of_setting
from rlp_sweeps.tracking.parquet import to_table

IDS = """
import json, sys
from rlp_sweeps.config import TrialConfig
configs = [TrialConfig.from_dict(values) for values in json.load(sys.stdin)]
print(json.dumps([[config.trial_id, config.group_key] for config in configs]))
"""


@settings(max_examples=300)
@given(config=valid_configs(), order=st.randoms(use_true_random=False))
def test_a_config_survives_json_in_any_order_with_its_id(
    config: TrialConfig, order: Random
) -> None:
    items = list(json.loads(json.dumps(config.to_dict())).items())
    order.shuffle(items)

    again = TrialConfig.from_dict(dict(items))

    assert again == config
    assert (again.trial_id, again.group_key) == (config.trial_id, config.group_key)
    assert all(is_same(again.to_dict()[name], value) for name, value in config.to_dict().items())


@settings(max_examples=300)
@given(config=valid_configs(), data=st.data())
def test_ids_differ_exactly_where_a_setting_does(config: TrialConfig, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(list(FIELD_TYPES)))
    other = changed(config, name, data.draw(values_of(name)))
    assume(other is not None)

    assert (other.trial_id == config.trial_id) == (other == config)
    assert (other.trial_id == config.trial_id) == is_same(
        getattr(other, name), getattr(config, name)
    )


@settings(max_examples=300)
@given(name=st.sampled_from(list(FIELD_TYPES)), data=st.data())
def test_a_setting_is_taken_or_refused(name: str, data: st.DataObject) -> None:
    kinds = (st.integers(), st.floats(), st.text(max_size=3), st.none(), st.booleans())
    value = data.draw(st.one_of(values_of(name), *kinds, st.just(10**400)))
    base = TrialConfig(arm="control", lr=0.1, rlp_lambda=0, seed=0).to_dict()

    with suppress(ConfigError):
        TrialConfig.from_dict({**base, name: value})


@settings(max_examples=300)
@given(config=valid_configs())
def test_every_config_can_be_written_as_a_row(config: TrialConfig) -> None:
    row = {**config.to_dict(), "trial_id": config.trial_id, "status": "completed"}

    (written,) = to_table("trials", [row]).to_pylist()

    assert {name: written[name] for name in row} == row


@settings(max_examples=200)
@given(config=valid_configs())
def test_set_reads_what_a_config_says(config: TrialConfig) -> None:
    for name, value in config.to_dict().items():
        if isinstance(value, str) and setting_kinds(name) != (str,) and value in {"none", "null"}:
            continue
        text = {True: "true", False: "false"}[value] if type(value) is bool else str(value)
        assert parse_value(name, text if value is not None else "none") == value


@settings(max_examples=200)
@given(values=st.lists(st.floats(1e-12, 1e12), min_size=1, max_size=5))
def test_set_reads_several_numbers(values: list[float]) -> None:
    assert values_of_setting("lr", ",".join(map(repr, values))) == tuple(values)
    assert values_of_setting("lr", " , ".join(f"{v:e}" for v in values)) == tuple(
        float(f"{v:e}") for v in values
    )


@settings(max_examples=100)
@given(members=st.lists(valid_configs(), min_size=1, max_size=4))
def test_a_group_survives_its_way_to_a_worker(members: list[TrialConfig]) -> None:
    group = Group.of(members, point=3)

    assert Group.from_text(group.to_text()) == group


def test_zeros_of_both_signs_are_one_setting() -> None:
    config = TrialConfig(arm="control", lr=0.1, rlp_lambda=0, seed=0)
    negative = TrialConfig(arm="control", lr=0.1, rlp_lambda=-0.0, seed=0, weight_decay=-0.0)

    assert negative.trial_id == config.trial_id


@pytest.mark.parametrize("value", [2**63, -(2**63), 10**400])
@pytest.mark.parametrize("name", ["seed", "lr", "train_samples"])
def test_a_number_that_no_column_holds_is_refused(name: str, value: int) -> None:
    with pytest.raises(ConfigError, match=rf"`abs\({name}\) < 2\*\*63` must hold"):
        check_value(name, value)


@pytest.mark.parametrize("hash_seed", ["1"])
def test_ids_are_the_same_in_every_process(hash_seed: str) -> None:
    drawn: list[TrialConfig] = []

    @settings(max_examples=60)
    @given(config=valid_configs())
    def draw_configs(config: TrialConfig) -> None:
        drawn.append(config)

    draw_configs()

    done = subprocess.run(
        [sys.executable, "-c", IDS],
        input=json.dumps([config.to_dict() for config in drawn]),
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )

    assert json.loads(done.stdout) == [[c.trial_id, c.group_key] for c in drawn]
