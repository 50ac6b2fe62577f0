"""Settings of the class head: defaults, rules, columns; a part of ``config``."""

from collections.abc import Callable, Mapping
from typing import Any

from rlp_sweeps.column import Column
from rlp_sweeps.errors import ConfigError

CLASS_HEAD_DEFAULTS: dict[str, Any] = {"projector_width": 0}
"""Settings by name, at values that stand for one linear layer."""

CLASS_HEAD_RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "projector_width": ("0 <= projector_width", lambda v: v >= 0),
}
"""What must hold of each, and its test."""


def check_class_head(values: Mapping[str, Any]) -> None:
    """Refuse a projector beside heads that copy the last layers.

    Args:
        values: A trial's settings by name, each checked by itself.

    Raises:
        ConfigError: They do not go together.
    """
    width, copy_depth = values["projector_width"], values["copy_depth"]
    if width and copy_depth > 1:
        msg = (
            "heads with `copy_depth > 1` copy a linear class head and no projector, but got "
            f"projector_width={width!r}, copy_depth={copy_depth!r}; use one of the two."
        )
        raise ConfigError(msg)


# fmt: off
CLASS_HEAD_COLUMNS = (
    Column("projector_width", "i64", "features", "config",
           "Width of the hidden layer of the class head, features → width → K with a ReLU between "
           "them and without bias; 0: none, the class head is linear.", default=0),
)
"""Their columns of the table ``trials``."""
# fmt: on
