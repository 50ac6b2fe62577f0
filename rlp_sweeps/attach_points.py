"""Settings of where heads read and what they copy: defaults, rules, columns; part of ``config``."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rlp_sweeps.column import Column
from rlp_sweeps.errors import ConfigError

PLACE_DEFAULTS: dict[str, Any] = {
    "attach_points": None,
    "observed_attach_points": None,
    "copy_depth": 1,
    "copy_width": 1.0,
}
"""Settings by name, at values that stand for linear heads on the last layer."""

PLACE_RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "copy_depth": ("1 <= copy_depth", lambda v: v >= 1),
    "copy_width": ("0 < copy_width < inf", lambda v: 0 < v < float("inf")),
}
"""What must hold of each, and its test."""

ALL = "all"
"""As `observed_attach_points`: every attach point at which no head regularizes."""


def attach_point_names(text: str | None) -> tuple[str, ...]:
    """Return the names that a setting holds, separated by commas alone; none where missing."""
    return () if text is None else tuple(text.split(","))


def check_attach_points(regularized: str | None, observed: str | None) -> None:
    """Refuse lists that no backbone could have.

    Args:
        regularized: The setting `attach_points`.
        observed: The setting `observed_attach_points`.

    Raises:
        ConfigError: A name is empty, has blanks around it, or comes twice in one list or both.
    """
    settings = {"attach_points": regularized, "observed_attach_points": observed}
    for setting, text in settings.items():
        names = attach_point_names(text)
        if any(not name or name != name.strip() for name in names):
            msg = (
                f"`{setting}` must be names of attach points separated by commas alone, but got "
                f"{setting}={text!r}."
            )
            raise ConfigError(msg)
    _require_once([name for text in settings.values() for name in attach_point_names(text)])
    lists = (attach_point_names(regularized), attach_point_names(observed))
    if ALL in lists[0] or (ALL in lists[1] and len(lists[1]) > 1):
        msg = (
            f"{ALL!r} stands alone in `observed_attach_points` for all that do not regularize, but "
            f"got attach_points={regularized!r}, observed_attach_points={observed!r}."
        )
        raise ConfigError(msg)


def check_copies(values: Mapping[str, Any]) -> None:
    """Refuse settings that heads which copy layers do not take.

    Args:
        values: A trial's settings by name, each checked by itself.

    Raises:
        ConfigError: There is nothing to widen, or a setting beside a copy is not at its default.
    """
    copy_depth, copy_width = values["copy_depth"], values["copy_width"]
    if copy_depth == 1 and copy_width != 1:
        msg = (
            "`copy_width` widens the layers that heads copy below their output, which takes "
            f"`copy_depth >= 2`, but got copy_depth=1, copy_width={copy_width!r}."
        )
        raise ConfigError(msg)
    others = {"attach_points": None, "observed_attach_points": None, "dropout": 0.0}
    wrong = {name: values[name] for name, only in others.items() if values[name] != only}
    if copy_depth > 1 and wrong:
        msg = (
            "heads with `copy_depth > 1` read the layer below their copy and draw no dropout, so "
            f"that attach points must be none and dropout 0, but got copy_depth={copy_depth}, "
            f"{wrong}."
        )
        raise ConfigError(msg)


def _require_once(names: Sequence[str]) -> None:
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        msg = (
            "`attach_points` and `observed_attach_points` must name each attach point once, but "
            f"{twice} come(s) twice; where heads regularize, one observes as well."
        )
        raise ConfigError(msg)


# fmt: off
PLACE_COLUMNS = (
    Column("attach_points", "str", "", "config",
           "Attach points whose heads regularize the extractor, separated by commas; null: the "
           "last one. RLP columns are those of the deepest one."),
    Column("observed_attach_points", "str", "", "config",
           "Further attach points where heads only read, separated by commas, or all; null: none."),
    Column("copy_depth", "i64", "layers", "config",
           "Layers that a head copies of a plain network, counted from the output; 1: the linear "
           "layer alone.", default=1),
    Column("copy_width", "f64", "factor", "config",
           "Factor on the widths of the copied layers below a head's output.", default=1.0),
)
# fmt: on
