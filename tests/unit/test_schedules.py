import pytest

from rlp_sweeps.training.schedules import lr_factor


def test_cosine_starts_at_one_halves_in_the_middle_and_ends_near_zero() -> None:
    factors = [lr_factor("cosine", step=s, num_steps=100) for s in (0, 50, 99)]

    assert factors == pytest.approx([1.0, 0.5, 0.0], abs=1e-3)


def test_step_divides_by_five_at_its_drops() -> None:
    factors = [lr_factor("step", step=s, num_steps=10) for s in range(10)]

    assert factors == pytest.approx([1, 1, 1, 0.2, 0.2, 0.2, 0.04, 0.04, 0.008, 0.008])


def test_constant_stays_at_one() -> None:
    assert {lr_factor("constant", step=s, num_steps=9) for s in range(9)} == {1.0}


@pytest.mark.parametrize("schedule", ["cosine", "constant", "step"])
def test_warm_up_rises_linearly_to_the_peak(schedule: str) -> None:
    factors = [lr_factor(schedule, step=s, num_steps=20, warmup_steps=4) for s in range(5)]

    assert factors == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
