"""Options that several commands take together arrive as one value."""

import inspect

import pytest

from rlp_sweeps.cli import main, option_groups, sweeping
from rlp_sweeps.cli import options as opt
from rlp_sweeps.errors import ArgumentError


def test_ungroup_shows_each_option_of_a_group_by_itself() -> None:
    shown = inspect.signature(option_groups.ungroup(sweeping.resume)).parameters

    assert "driving" not in shown
    assert shown["trial_timeout"].annotation is opt.TrialTimeout
    assert shown["cpus_per_group"].default == 1.0


def test_ungroup_hands_the_options_of_a_group_over_as_one_value() -> None:
    got: list[option_groups.Place] = []

    def command(*, json: bool, place: option_groups.Place) -> None:
        got.append(place)

    options = {field: None for field in option_groups.Place.__dataclass_fields__}
    option_groups.ungroup(command)(json=True, **{**options, "max_trials": 3})

    assert [place.max_trials for place in got] == [3]


def test_run_options_take_every_option_of_the_driver() -> None:
    driving = option_groups.Driving(
        address="head:6379", device="cpu", max_concurrent=2, max_hours=1.5, trial_timeout=60.0
    )

    run_options = driving.run_options(trusts_code=True)

    assert (run_options.address, run_options.device) == ("head:6379", "cpu")
    assert (run_options.max_concurrent, run_options.max_hours) == (2, 1.5)
    assert (run_options.trial_timeout_s, run_options.trusts_code) == (60.0, True)


def test_run_options_refuse_a_value_that_breaks_its_rule() -> None:
    with pytest.raises(ArgumentError, match="`1 <= max_trials` must hold"):
        option_groups.Place(max_trials=0).run_options()


@pytest.mark.parametrize("command", ["run", "resume", "follow-up", "extend"])
def test_a_command_that_trains_takes_every_option_of_the_driver(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    main([command, "--help"])

    shown = capsys.readouterr().out
    for name in option_groups.Driving.__dataclass_fields__:
        assert f"--{name.replace('_', '-')} " in shown, name
