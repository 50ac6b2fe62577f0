"""Find a search space by the name a user types.

A reference is the bare name of a recipe in ``search_spaces``, a dotted module, or a path to a
``.py`` file; either must define `SPACE`, and may define `PAPER`, the same study at the size of the
paper, which ``:paper`` behind the name asks for. Recipes are found at run time, so that the library
never depends on them.
"""

import difflib
import importlib
import importlib.util
import inspect
import itertools
import os
import pkgutil
import sys
import sysconfig
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

from rlp_sweeps.errors import RlpSweepsError, SearchSpaceError
from rlp_sweeps.spaces import SearchSpace

RECIPES_PACKAGE = "search_spaces"
"""The package whose modules are known by their bare names."""

SIZES = {"small": "SPACE", "paper": "PAPER"}
"""Sizes of a study, and the name that each has in its module."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedSpace:
    """A search space and where it stands.

    Attributes:
        name: The module's last name, which names the sweep's folder and experiment; ``_paper``
            behind it at that size.
        space: The module's `SPACE`, or another size.
        doc: The module's docstring, dedented; empty without one.
        sizes: Sizes that the module defines, out of `SIZES`.
    """

    name: str
    space: SearchSpace
    doc: str
    sizes: tuple[str, ...] = ("small",)

    @property
    def num_trials(self) -> int:
        """Trials of the grid, or those that a search's points will ask for."""
        if self.space.search is None:
            return sum(1 for _ in self.space.grid())
        return self.space.search.num_points * len(self.space.arms) * self.space.num_seeds


def list_recipes() -> list[str]:
    """Return the bare names of all recipes, sorted."""
    package = importlib.import_module(RECIPES_PACKAGE)
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def load_space(reference: str) -> NamedSpace:
    """Return the search space that a reference names.

    Args:
        reference: A recipe's bare name, a dotted module, or a path to a ``.py`` file; behind it
            ``:paper`` for the study's other size. Dotted modules are also looked for in the working
            directory, and what a file imports in its own folder.

    Raises:
        SearchSpaceError: Nothing stands there, it cannot be imported, it defines no `SPACE` that is
            a `SearchSpace`, or it has no such size.
    """
    reference, size = _split_size(reference)
    if reference.endswith(".py") or "/" in reference or "\\" in reference:
        name, module = Path(reference).stem, _module_at(Path(reference))
    elif not all(part.isidentifier() for part in reference.split(".")):
        msg = (
            "a search space is named by a recipe, a dotted module or a path to a .py file, "
            f"but got {reference!r}."
        )
        raise SearchSpaceError(msg)
    else:
        name = reference.rpartition(".")[2]
        module = _module_named(reference if "." in reference else f"{RECIPES_PACKAGE}.{reference}")
    sizes = tuple(key for key, attribute in SIZES.items() if hasattr(module, attribute))
    return NamedSpace(
        name=name if size == "small" else f"{name}_{size}",
        space=_space_of(module, SIZES[size]),
        doc=inspect.getdoc(module) or "",
        sizes=sizes,
    )


def _split_size(reference: str) -> tuple[str, str]:
    name, colon, size = reference.partition(":")
    if colon and size not in SIZES:
        msg = f"the size of a study must be one of {list(SIZES)}, but got {reference!r}."
        raise SearchSpaceError(msg)
    return name, size or "small"


def _module_at(path: Path) -> ModuleType:
    if path.suffix != ".py":
        msg = f"a search space's file must end in .py, but got {str(path)!r}."
        raise SearchSpaceError(msg)
    if not path.is_file():
        msg = f"no search space at {str(path)!r}; the file does not exist."
        raise SearchSpaceError(msg)
    _add_to_path(path.resolve().parent)
    name = f"_search_space_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses of the file look their own module up
    _run_user_code(partial(spec.loader.exec_module, module), origin=str(path))
    return module


def _module_named(name: str) -> ModuleType:
    _add_to_path(Path.cwd())
    for module_name in itertools.accumulate(name.split("."), "{}.{}".format):
        if _find_spec(module_name) is None:
            msg = f"no module {name!r}; {_advice(name)}"
            raise SearchSpaceError(msg)
        _run_user_code(partial(importlib.import_module, module_name), origin=module_name)
    return sys.modules[name]


def _find_spec(name: str) -> object | None:
    """Return the module's spec; a parent that is a plain module has no modules inside."""
    parent = sys.modules.get(name.rpartition(".")[0])
    if parent is not None and not hasattr(parent, "__path__"):
        return None
    return importlib.util.find_spec(name)


def _advice(name: str) -> str:
    recipes = list_recipes()
    close = difflib.get_close_matches(name.rpartition(".")[2], recipes, n=1)
    return f"did you mean {close[0]!r}?" if close else f"the recipes are {recipes}."


def _add_to_path(folder: Path) -> None:
    """Let a study name its own backbones and data sets, here and in the processes that train."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    inherited = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    if str(folder) not in inherited:
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [*inherited, str(folder)]))


def _run_user_code(run: Callable[[], object], *, origin: str) -> None:
    try:
        run()
    except (Exception, SystemExit) as error:
        msg = f"{_place_of(error, origin)}: {_sentence_of(error)}"
        raise SearchSpaceError(msg) from error


def _place_of(error: BaseException, origin: str) -> str:
    """Return file and line of the user's last frame; a library's where no other is left."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    ours = ("<", str(Path(__file__).parent))
    libraries = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(ours)
    ]
    users = [frame for frame in frames if not frame.filename.startswith(libraries)] or frames
    return f"{users[-1].filename}, line {users[-1].lineno}" if users else origin


def _sentence_of(error: BaseException) -> str:
    if isinstance(error, RlpSweepsError):
        return str(error)
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    text = " ".join(text.split())
    return f"{type(error).__name__}: {text.rstrip('.')}." if text else f"{type(error).__name__}."


def _space_of(module: ModuleType, attribute: str) -> SearchSpace:
    origin = module.__file__ or module.__name__
    space = getattr(module, attribute, None)
    if space is None and attribute != SIZES["small"]:
        msg = f"the study {origin!r} has one size; a larger one would be defined as `{attribute}`."
        raise SearchSpaceError(msg)
    if space is None:
        msg = f"a search space's module must define `SPACE`, but {origin!r} does not."
        raise SearchSpaceError(msg)
    if not isinstance(space, SearchSpace):
        msg = (
            f"`{attribute}` must be a SearchSpace of rlp_sweeps.spaces, "
            f"but in {origin!r} it is a {type(space).__name__}."
        )
        raise SearchSpaceError(msg)
    return space
