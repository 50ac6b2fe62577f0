"""Texts of groups, as every worker gets them."""

import pickle

import pytest
from simulated_sweeps import plan_of, space_of

from rlp_sweeps.orchestration.group_texts import GroupTexts


def in_band_bytes(value):
    return len(pickle.dumps(value, protocol=5, buffer_callback=lambda buffer: None))


@pytest.mark.parametrize("num_groups", [1, 7])
def test_texts_are_those_of_their_groups(num_groups):
    groups = plan_of(space_of(num_groups)).groups

    texts = pickle.loads(pickle.dumps(GroupTexts(groups)))

    assert dict(texts) == {group.group_id: group.to_text() for group in groups}
    assert len(texts) == num_groups
    for unknown in ("0" * 16, "f" * 16, "g"):
        with pytest.raises(KeyError, match=unknown):
            texts[unknown]


def test_a_search_has_no_texts():
    assert dict(GroupTexts([])) == {}
    assert "a" not in GroupTexts([])


def test_what_a_worker_unpickles_does_not_grow_with_the_groups():
    few, many = (GroupTexts(plan_of(space_of(number)).groups) for number in (2, 200))

    assert in_band_bytes(many) < in_band_bytes(few) + 50
    assert len(pickle.dumps(many)) > 100 * in_band_bytes(many)
