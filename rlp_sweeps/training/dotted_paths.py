"""Functions named in a configuration: how a user's own data set or backbone comes in."""

import importlib
from types import ModuleType
from typing import Any

from rlp_sweeps.errors import ArgumentError
from rlp_sweeps.misspelling import advice
from rlp_sweeps.user_errors import place_of, words_of


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
    except (Exception, SystemExit) as exc:
        raise error(_import_failure(path, module_name, exc)) from exc
    function = getattr(module, function_name, None)
    if callable(function):
        return function
    if function_name == "py":
        msg = (
            f"a function of one's own must be named by its dotted path, but got {path!r}, which "
            f"reads as a file; write {f'{module_name}.FUNCTION'!r}."
        )
        raise error(msg)
    kind = type(function).__name__
    what = f"has no {function_name!r}" if function is None else f"has a value of type {kind} there"
    functions = _functions_of(module)
    known = f"its functions are {functions}." if functions else "it defines no function."
    msg = (
        f"{path!r} must name a function, but module {module_name!r} {what}; "
        f"{advice(function_name, functions, otherwise=known)}"
    )
    raise error(msg)


def _import_failure(path: str, module_name: str, exc: BaseException) -> str:
    missing = exc.name if isinstance(exc, ModuleNotFoundError) else None
    if missing is not None and f"{module_name}.".startswith(f"{missing}."):
        return (
            f"the module of {path!r} must be importable, but there is no module {missing!r}; put "
            "its file beside the recipe's, or its folder on PYTHONPATH."
        )
    return (
        f"the module of {path!r} must be importable, but {place_of(exc, module_name)} raised "
        f"{words_of(exc)}"
    )


def _functions_of(module: ModuleType) -> list[str]:
    """Return the functions and classes that a module defines itself."""
    return [
        name
        for name, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", None) == module.__name__
    ]


def _parts(name: str) -> tuple[str, str, str]:
    return name.rpartition(":" if ":" in name else ".")
