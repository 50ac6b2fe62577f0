"""Find a search space by the name a user types.

A reference is the bare name of a recipe in ``search_spaces``, a dotted module, or a path to a
``.py`` file; either must define `SPACE`. Other upper-case names that hold a search space are the
same study in other sizes: `PAPER`, that of the paper, is asked for by ``:paper`` behind the name,
`FASHION` by ``:fashion``. Recipes are found at run time, so that the library never depends on them.
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

SMALL = "small"
"""The size that every study has, `SPACE`; any other is called as its name in lower case."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedSpace:
    """A search space and where it stands.

    Attributes:
        name: The module's last name, which names the sweep's folder and experiment; ``_SIZE``
            behind it at another size than small.
        space: The module's `SPACE`, or another size.
        doc: The module's docstring, dedented; empty without one.
        sizes: Sizes that the module defines, small first.
    """

    name: str
    space: SearchSpace
    doc: str
    sizes: tuple[str, ...] = (SMALL,)

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
            ``:SIZE`` for another size of the study. Dotted modules are also looked for in the
            working directory, and what a file imports in its own folder.

    Raises:
        SearchSpaceError: Nothing stands there, it cannot be imported, it defines no `SPACE` that is
            a `SearchSpace`, or it has no such size.
    """
    reference, _, size = reference.partition(":")
    size = size or SMALL
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
    return NamedSpace(
        name=name if size == SMALL else f"{name}_{size}",
        space=_space_of(module, size),
        doc=inspect.getdoc(module) or "",
        sizes=_sizes_of(module),
    )


def find_reference(sweep_name: str) -> str:
    """Return the recipe, with its size, whose sweeps have this name.

    Raises:
        SearchSpaceError: No recipe has a size of that name.
    """
    recipes = list_recipes()
    if sweep_name in recipes:
        return sweep_name
    for recipe in (name for name in recipes if sweep_name.startswith(f"{name}_")):
        size = sweep_name.removeprefix(f"{recipe}_")
        if size in load_space(recipe).sizes[1:]:
            return f"{recipe}:{size}"
    msg = f"a sweep of a recipe must be named NAME or NAME_SIZE, but got {sweep_name!r}."
    raise SearchSpaceError(msg)


def _sizes_of(module: ModuleType) -> tuple[str, ...]:
    """Return the sizes that a module defines, small first, others as they stand."""
    others = [
        name.lower()
        for name, value in vars(module).items()
        if isinstance(value, SearchSpace) and name.isupper() and name[0] != "_"
    ]
    return (SMALL, *(size for size in others if size not in {"space", SMALL}))


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


def _space_of(module: ModuleType, size: str) -> SearchSpace:
    origin = module.__file__ or module.__name__
    attribute = "SPACE" if size == SMALL else size.upper()
    space = getattr(module, attribute, None)
    if space is None and size == SMALL:
        msg = f"a search space's module must define `SPACE`, but {origin!r} does not."
        raise SearchSpaceError(msg)
    if space is not None and not isinstance(space, SearchSpace):
        msg = (
            f"`{attribute}` must be a SearchSpace of rlp_sweeps.spaces, "
            f"but in {origin!r} it is a {type(space).__name__}."
        )
        raise SearchSpaceError(msg)
    if space is None or size not in _sizes_of(module):
        msg = (
            f"the size of a study must be one that it defines, in lower case, but {origin!r} has "
            f"{list(_sizes_of(module))}, not {size!r}."
        )
        raise SearchSpaceError(msg)
    return space
