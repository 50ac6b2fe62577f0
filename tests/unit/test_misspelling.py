"""What a name that nobody knows was probably meant to be."""

import pytest

from rlp_sweeps.misspelling import advice, nearest

NAMES = ("lr", "num_epochs", "warmup_epochs", "cifar10", "cifar100", "fashion_mnist")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("num_epoch", "num_epochs"),
        ("NUM-EPOCHS", "num_epochs"),
        ("CIFAR-10", "cifar10"),
        ("cifar_100", "cifar100"),
        ("mnist", "fashion_mnist"),
        ("learning_rate", "lr"),
        ("zebra", ""),
        ("", ""),
        ("--", ""),
        (3, ""),
    ],
)
def test_nearest_name_is_found_whatever_its_case_and_hyphens(name: object, meant: str) -> None:
    assert nearest(name, NAMES, aliases={"learning rate": "lr"}) == meant


def test_advice_asks_or_says_where_the_names_stand() -> None:
    assert advice("cifar-10", NAMES, otherwise="there are some.") == "did you mean 'cifar10'?"
    assert advice("zebra", NAMES, otherwise="there are some.") == "there are some."


def test_a_part_of_several_names_is_the_shortest() -> None:
    assert nearest("bcd", ["xxxxxbcdxxxxx", "xxxbcdxxxxxx"]) == "xxxbcdxxxxxx"
