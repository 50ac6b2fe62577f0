"""What a name that nobody knows was probably meant to be."""

import pytest

from rlp_sweeps.misspelling import advice, near_names, nearest

NAMES = ("lr", "num_epochs", "warmup_epochs", "cifar10", "cifar100", "fashion_mnist")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("num_epoch", ["num_epochs"]),
        ("NUM-EPOCHS", ["num_epochs"]),
        ("CIFAR-10", ["cifar10"]),
        ("cifar_100", ["cifar100"]),
        ("mnist", ["fashion_mnist"]),
        ("cifar", ["cifar10", "cifar100"]),
        ("learning_rate", ["lr"]),
        ("zebra", []),
        ("", []),
        ("--", []),
        (3, []),
    ],
)
def test_near_names_are_found_whatever_their_case_and_hyphens(
    name: object, meant: list[str]
) -> None:
    assert near_names(name, NAMES, aliases={"learning rate": "lr"}) == meant


def test_advice_asks_or_says_where_the_names_stand() -> None:
    ends = [
        advice(name, NAMES, otherwise="there are some.") for name in ("mnist", "cifar", "zebra")
    ]

    assert ends == [
        "did you mean 'fashion_mnist'?",
        "did you mean 'cifar10' or 'cifar100'?",
        "there are some.",
    ]


def test_a_part_of_several_names_is_not_one_of_them() -> None:
    accuracies = ["train_accuracy", "val_accuracy", "test_accuracy", "true_label_accuracy"]

    assert near_names("accuracy", accuracies) == []
    assert near_names("accuracy", accuracies[:3]) == accuracies[:3]
    assert nearest("accuracy", accuracies[:3]) == ""
