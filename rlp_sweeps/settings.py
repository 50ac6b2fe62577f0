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

_DECIMAL_COMMA = re.compile(r"(\d+),(\d+)")


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
    _check_decimal_comma(name, text)
    parts = _COMMA.split(text) if name == "dataset" else text.split(",")
    foreign = _NO_LIST if str in setting_kinds(name) else _NO_NUMBERS
    if any(not part.strip() or foreign.search(part.strip()) for part in parts):
        msg = (
            f"`--set {name}=VALUE` must give one value or several, separated by commas alone, as "
            f"in `--set {example_setting(name)}`, but got {name}={text!r}."
        )
        raise ConfigError(msg)
    return tuple(parse_value(name, part.strip()) for part in parts)


def decimal_comma_notice(name: str, text: str) -> str | None:
    """Return what to say of values that may have been meant as one number with a decimal comma.

    A last digit of 0, as in ``rlp_lambda=1,10``, is not written behind a decimal point.

    Args:
        name: As ``--set NAME=VALUE`` gives it, known or not.
        text: The value.
    """
    number = _with_point(name, text)
    if number is None or number.endswith("0"):
        return None
    first, second = text.split(",")
    return (
        f"`--set {name}={text}` gives two values, {first} and {second}; a decimal number is "
        f"written with a point, {number}."
    )


def _check_decimal_comma(name: str, text: str) -> None:
    """Refuse a decimal comma where two values cannot be meant.

    Raises:
        ConfigError: One of the two begins with a 0 like no number, or breaks the setting's rule.
    """
    number = _with_point(name, text)
    if number is None:
        return
    first, second = text.split(",")
    is_listed = not (len(second) > 1 and second.startswith("0")) and all(
        _is_value(name, part) for part in (first, second)
    )
    if not is_listed:
        msg = (
            f"`--set {name}=VALUE` must write a decimal number with a point, because commas "
            f"separate values, but got {name}={text!r}; `--set {name}={number}` gives one."
        )
        raise ConfigError(msg)


def _with_point(name: str, text: str) -> str | None:
    """Return a text as the decimal number that its comma may have made; None where it made none."""
    match = _DECIMAL_COMMA.fullmatch(text)
    if match is None or name not in FIELD_TYPES or float not in setting_kinds(name):
        return None
    number = ".".join(match.groups())
    return number if _is_value(name, number) else None


def _is_value(name: str, text: str) -> bool:
    try:
        parse_value(name, text)
    except ConfigError:
        return False
    return True


def example_setting(name: str) -> str:
    """Return how ``--set`` gives a setting several values, for example ``lr=0.1,0.2``."""
    kinds = setting_kinds(name) if name in FIELD_TYPES else ()
    values = (text for kind, text in _EXAMPLES.items() if kind in kinds)
    return f"{name}={next(values, 'VALUE')}"
