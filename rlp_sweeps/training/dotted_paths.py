"""Functions named in a configuration: how a user's own data set or backbone comes in."""

import importlib
from typing import Any

from rlp_sweeps.errors import ArgumentError


def is_dotted_path(name: str) -> bool:
    """Return whether a name reads ``package.module.function`` or ``package.module:function``."""
    module, separator, function = _parts(name)
    names = [*module.split("."), function]
    return bool(separator) and all(part.isidentifier() for part in names)


def module_of(path: str) -> str:
    """Return the module of a dotted path."""
    return _parts(path)[0]


def is_in_main(name: str) -> bool:
    """Return whether a name is a dotted path into the notebook or script that runs."""
    return is_dotted_path(name) and module_of(name) == "__main__"


def import_function(path: str, *, error: type[ArgumentError]) -> Any:
    """Return the callable at a dotted path.

    Args:
        path: ``package.module.function`` or ``package.module:function``.
        error: Kind of error to raise.

    Raises:
        ArgumentError: As `error`: the module cannot be imported, or it has no such callable.
    """
    module_name, _, function_name = _parts(path)
    try:
        module = importlib.import_module(module_name)
    except ImportError as exc:
        msg = (
            f"the module of {path!r} must be importable, but importing {module_name!r} failed: "
            f"{exc}. Is its folder on PYTHONPATH?"
        )
        raise error(msg) from exc
    function = getattr(module, function_name, None)
    if not callable(function):
        msg = f"{path!r} must name a function, but module {module_name!r} has no {function_name!r}."
        raise error(msg)
    return function


def _parts(name: str) -> tuple[str, str, str]:
    return name.rpartition(":" if ":" in name else ".")
