"""What is said of a name that is no setting of a trial, and of a value of another kind."""

from collections.abc import Iterable

from rlp_sweeps.misspelling import advice

OTHERS_WORDS = {
    "learning_rate": "lr",
    "lambda": "rlp_lambda",
    "epochs": "num_epochs",
    "wd": "weight_decay",
    "data": "dataset",
    "model": "backbone",
}
"""What other tools call some settings."""

_ELSEWHERE = {
    "data_dir": "the folder of data sets is the SearchSpace's `data_dir`, or "
    "`--set data_dir=FOLDER`.",
    "num_seeds": "the number of seeds is the SearchSpace's `num_seeds`, or `--num-seeds N`.",
    "first_seed": "the first seed is the SearchSpace's `first_seed`, or `--first-seed N`.",
    "arms": "the arms are the SearchSpace's `arms`.",
    "search": "a search is the SearchSpace's `search`.",
    "device": "where trials are trained is `--device auto|cpu|cuda`.",
    "engine": "how trials are trained is `--engine NAME`.",
}
"""Where what is no setting of a trial is said."""

_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def setting_advice(name: str, settings: Iterable[str]) -> str:
    """Return how a sentence on a setting that there is not ends.

    Args:
        name: As it was written.
        settings: Those that there are.
    """
    if name in _ELSEWHERE:
        return _ELSEWHERE[name]
    known = "`rlp-sweeps run --help` lists the settings."
    return advice(name, settings, aliases=OTHERS_WORDS, otherwise=known)


def kind_words(kinds: Iterable[type]) -> str:
    """Return what a value may be, in words: ``a whole number or none``."""
    return " or ".join(_KINDS.get(kind, "none") for kind in kinds)
