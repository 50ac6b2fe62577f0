"""On the CPU in float32, a member's bits do not depend on its company."""

from collections.abc import Iterator
from functools import lru_cache

import pytest
import torch
from stacked_cases import (
    STACKS,
    Outcome,
    assert_same_bits,
    build_extractor,
    build_stack,
    run_stack,
)

from rlp_sweeps.training.backbones import BACKBONES

EVERY_BACKBONE = pytest.mark.parametrize("name", BACKBONES)
EVERY_ENGINE = pytest.mark.parametrize("engine", STACKS)
MEMBER = 2

ONE_SEED = {
    "other neighbours": [5, 6, 2, 7],
    "first": [2, 5, 6, 7],
    "one of eight": [0, 1, 3, 4, 5, 6, 2, 7],
    "one of three": [3, 2, 1],
    "one of two": [1, 2],
}
SEVERAL_SEEDS = {
    "two seeds": ([2, 3, 5, 6], (2, 2), (0, 1)),
    "one member a seed": ([5, 2], (1, 1), (1, 0)),
    "unequal counts": ([5, 6, 7, 2, 3], (3, 2), (1, 0)),
}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """With several threads, torch splits sums over samples by the size of the whole stack."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


def run(
    engine: str,
    name: str,
    members: list[int],
    members_per_seed: tuple[int, ...],
    seeds: tuple[int, ...] = (0,),
) -> Outcome:
    extractors = [build_extractor(name, member) for member in members]
    stack = build_stack(engine, extractors, members_per_seed)
    return run_stack(stack, members, seeds)[MEMBER]


@lru_cache
def reference(engine: str, name: str) -> Outcome:
    return run(engine, name, [0, 1, 2, 3], (4,))


@EVERY_BACKBONE
@EVERY_ENGINE
@pytest.mark.parametrize("company", ONE_SEED)
def test_member_has_the_same_bits_in_any_company(name: str, engine: str, company: str) -> None:
    members = ONE_SEED[company]

    outcome = run(engine, name, members, (len(members),))

    assert_same_bits(outcome, reference(engine, name))


@pytest.mark.parametrize(
    ("name", "memory_format"),
    [
        ("small_cnn", torch.channels_last),
        ("wide_resnet", torch.channels_last),
        ("vgg16", torch.channels_last),
        ("resnet18", torch.contiguous_format),  # norms over 4 channels
        ("mlp", torch.contiguous_format),
    ],
)
def test_maps_lie_where_a_members_bits_do_not_depend_on_company(
    name: str, memory_format: torch.memory_format
) -> None:
    stack = build_stack("grouped", [build_extractor(name, member) for member in range(2)], (2,))

    assert stack.maps_format == memory_format
    assert stack.double().maps_format == torch.contiguous_format


@EVERY_BACKBONE
@pytest.mark.parametrize("company", SEVERAL_SEEDS)
def test_grouped_member_has_the_same_bits_beside_other_seeds(name: str, company: str) -> None:
    outcome = run("grouped", name, *SEVERAL_SEEDS[company])

    assert_same_bits(outcome, reference("grouped", name))


@EVERY_BACKBONE
def test_grouped_member_has_the_same_bits_alone(name: str) -> None:
    assert_same_bits(run("grouped", name, [MEMBER], (1,)), reference("grouped", name))


@EVERY_BACKBONE
@EVERY_ENGINE
def test_member_has_the_same_bits_beside_a_diverged_one(name: str, engine: str) -> None:
    extractors = [build_extractor(name, member) for member in (0, 1, 2, 3)]
    for parameter in extractors[1].parameters():
        torch.nn.init.constant_(parameter, torch.nan)

    outcomes = run_stack(build_stack(engine, extractors, (4,)), [0, 1, 2, 3], [0])

    assert bool(outcomes[1].features_ND.isnan().all())
    assert_same_bits(outcomes[MEMBER], reference(engine, name))


@EVERY_BACKBONE
@EVERY_ENGINE
def test_selected_members_go_on_with_the_same_bits(name: str, engine: str) -> None:
    extractors = [build_extractor(name, member) for member in range(4)]
    stack = build_stack(engine, extractors, (4,))
    whole = run_stack(stack, [0, 1, 2, 3], [0])
    expected = run_stack(stack, [0, 1, 2, 3], [0])

    smaller = build_stack(engine, extractors, (4,))
    run_stack(smaller, [0, 1, 2, 3], [0])
    smaller.select([3, MEMBER], (2,))
    outcomes = run_stack(smaller, [3, MEMBER], [0])

    assert smaller.layout.members_per_seed == (2,)
    for member in (3, MEMBER):
        assert_same_bits(outcomes[member], expected[member])
        assert torch.equal(outcomes[member].features_ND, whole[member].features_ND)


@EVERY_ENGINE
def test_select_takes_seeds_away_with_their_last_member(engine: str) -> None:
    extractors = [build_extractor("mlp", member).double() for member in range(4)]
    stack = build_stack(engine, extractors, (2, 1, 1))
    expected = run_stack(stack, range(4), [0, 1, 2])

    stack.select([0, 3], (1, 1))
    assert stack.layout.generators is not None
    assert len(stack.layout.generators) == 2
    outcomes = run_stack(stack, [0, 3], [0, 2])

    for member in (0, 3):
        torch.testing.assert_close(outcomes[member].features_ND, expected[member].features_ND)
    assert all(parameter.shape[0] == 2 for parameter in stack.parameters())
    assert all(parameter.requires_grad for parameter in stack.parameters())
