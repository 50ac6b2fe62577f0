"""Settings as ``--set NAME=VALUE`` writes them: one value, or several separated by commas."""

import re
from collections.abc import Sequence

from rlp_sweeps.config import FIELD_TYPES, Scalar, check_value, parse_value, setting_kinds
from rlp_sweeps.errors import ConfigError
from rlp_sweeps.setting_names import setting_advice

SETTINGS = (*(name for name in FIELD_TYPES if name not in {"arm", "seed"}), "data_dir")
"""Names that ``--set`` takes."""

_EXAMPLES = {float: "0.1,0.2", int: "2,4", bool: "true,false", str: "NAME1,NAME2"}

SettingValue = Scalar | Sequence[Scalar]
"""A text as ``--set`` takes it, another value, or several of a list or an array."""

_COMMA = re.compile(r",(?!\s*\d+\s*(?:,|$))")
"""A comma between two data sets, not one within ``synthetic:C,H,W,K,N``."""

_WITH_COMMAS = ("attach_points", "observed_attach_points")
"""Settings whose one value holds commas; several of them are an axis of a recipe."""

_NO_LIST = re.compile(r"[\[\](){};]")
_NO_NUMBERS = re.compile(r"[\[\](){};:|/'\"]|\S\s+\S")
"""What other ways to write several values hold."""


def values_of_setting(name: str, given: SettingValue) -> tuple[Scalar, ...]:
    """Return the values that ``--set NAME=VALUE``, or a value of Python, gives a setting.

    Args:
        name: The setting.
        given: A text that is split at commas and parsed; or a value, or several.

    Raises:
        ConfigError: The name is unknown or no axis, the text is written in another way, or a value
            is of another type or breaks its rule; or there is none.
    """
    if name in {"arm", "seed"}:
        msg = f"{name!r} cannot be set; choose `arms` in the recipe, seeds with `--num-seeds N`."
        raise ConfigError(msg)
    if name not in FIELD_TYPES:
        msg = f"unknown setting {name!r} in --set; {setting_advice(name, SETTINGS)}"
        raise ConfigError(msg)
    if not isinstance(given, str):
        return _checked_values(name, given)
    return _parsed_values(name, given)


def _checked_values(name: str, given: Scalar | Sequence[Scalar]) -> tuple[Scalar, ...]:
    is_one = given is None or isinstance(given, bool | int | float) or not hasattr(given, "__len__")
    values = [given] if is_one else list(given)  # type: ignore[arg-type]  # it has a length
    if not values:
        msg = f"a setting must be given one value or several, but got {name}={given!r}."
        raise ConfigError(msg)
    return tuple(check_value(name, value) for value in values)


def _parsed_values(name: str, text: str) -> tuple[Scalar, ...]:
    if name in _WITH_COMMAS:
        return (parse_value(name, text.strip()),)
    parts = _COMMA.split(text) if name == "dataset" else text.split(",")
    foreign = _NO_LIST if str in setting_kinds(name) else _NO_NUMBERS
    if any(not part.strip() or foreign.search(part.strip()) for part in parts):
        msg = (
            f"`--set {name}=VALUE` must give one value or several, separated by commas alone, as "
            f"in `--set {example_setting(name)}`, but got {name}={text!r}."
        )
        raise ConfigError(msg)
    return tuple(parse_value(name, part.strip()) for part in parts)


def example_setting(name: str) -> str:
    """Return how ``--set`` gives a setting several values, for example ``lr=0.1,0.2``."""
    kinds = setting_kinds(name) if name in FIELD_TYPES else ()
    values = (text for kind, text in _EXAMPLES.items() if kind in kinds)
    return f"{name}={next(values, 'VALUE')}"
