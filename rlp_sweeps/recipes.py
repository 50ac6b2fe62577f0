"""Find a search space by the name a user types.

A reference is the bare name of a recipe in ``search_spaces``, a dotted module, or a path to a
``.py`` file; either must define `SPACE`. Other upper-case names that hold a search space are the
same study in other sizes: `PAPER`, that of the paper, is asked for by ``:paper`` behind the name,
`FASHION` by ``:fashion``. Recipes are found at run time, so that the library never depends on them.
"""

import importlib
import importlib.util
import inspect
import itertools
import os
import pkgutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

from rlp_sweeps.errors import SearchSpaceError
from rlp_sweeps.misspelling import advice, nearest
from rlp_sweeps.spaces import ChoiceAxis, Claim, LinearAxis, LogAxis, Search, SearchSpace
from rlp_sweeps.user_errors import place_of, words_of

RECIPES_PACKAGE = "search_spaces"
"""The package whose modules are known by their bare names."""

SMALL = "small"
"""The size that every study has, `SPACE`; any other is called as its name in lower case."""


_CALLED = {
    kind.__name__: kind for kind in (SearchSpace, Search, ChoiceAxis, LogAxis, LinearAxis, Claim)
}
"""What a recipe calls of ours."""


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
            return sum(1 for _ in self.space.grid_configs())
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
            f"but got {reference!r}; {_advice(reference)}"
        )
        raise SearchSpaceError(msg)
    else:
        name = reference.rpartition(".")[2]
        module = _module_named(reference if "." in reference else f"{RECIPES_PACKAGE}.{reference}")
    return NamedSpace(
        name=name if size == SMALL else f"{name}_{size}",
        space=_space_of(module, name, size),
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
        msg = f"a search space's file must end in .py, but got {str(path)!r}; {_advice(str(path))}"
        msg = _is_folder(str(path)) if path.is_dir() else msg
        raise SearchSpaceError(msg)
    if not path.is_file():
        what = "it is a folder" if path.is_dir() else "the file does not exist"
        msg = f"no search space at {str(path)!r}, {what}; {_file_advice(path)}"
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
            raise SearchSpaceError(_no_module(name))
        _run_user_code(partial(importlib.import_module, module_name), origin=module_name)
    return sys.modules[name]


def _find_spec(name: str) -> object | None:
    """Return the module's spec; a parent that is a plain module has no modules inside."""
    parent = sys.modules.get(name.rpartition(".")[0])
    if parent is not None and not hasattr(parent, "__path__"):
        return None
    return importlib.util.find_spec(name)


def _no_module(name: str) -> str:
    """Return the sentence on a recipe or a dotted module that is not there."""
    recipe = name.removeprefix(f"{RECIPES_PACKAGE}.")
    if "." in recipe:
        return (
            f"no module {name!r} can be imported from here; give a file, as in `{_as_file(name)}`."
        )
    if Path(recipe).is_dir():
        return _is_folder(recipe)
    return f"no recipe {recipe!r}; {_advice(recipe)}"


def _is_folder(name: str) -> str:
    return (
        f"no recipe {name!r}, but a folder of that name; `rlp-sweeps resume {name}` goes on with "
        "the sweep of a run directory."
    )


def _advice(name: str) -> str:
    file = Path(f"{name}.py")
    if file.is_file():
        return f"did you mean {str(file)!r}?"
    return advice(name, list_recipes(), otherwise="`rlp-sweeps spaces` lists the recipes.")


def _file_advice(path: Path) -> str:
    """Return a file beside it that is named alike, or else a recipe."""
    beside = [str(file) for file in path.parent.glob("*.py") if file.is_file()]
    if (near := nearest(str(path), beside)) or (near := nearest(path.stem, list_recipes())):
        return f"did you mean {near!r}?"
    return "`rlp-sweeps new my_study` writes one to begin with."


def _as_file(name: str) -> str:
    return f"{name.replace('.', '/')}.py"


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
        msg = f"{place_of(error, origin)}: {words_of(error, _CALLED)}"
        raise SearchSpaceError(msg) from error


def _space_of(module: ModuleType, name: str, size: str) -> SearchSpace:
    origin = module.__file__ or module.__name__
    attribute = "SPACE" if size == SMALL else size.upper()
    space = getattr(module, attribute, None)
    if space is None and size == SMALL:
        msg = (
            "a search space's module must define `SPACE = SearchSpace(…)`, but "
            f"{origin!r} does not; `rlp-sweeps new my_study` writes one that does."
        )
        raise SearchSpaceError(msg)
    if space is not None and not isinstance(space, SearchSpace):
        kind = "the class itself" if space is SearchSpace else f"a {type(space).__name__}"
        msg = (
            f"`{attribute}` must be a SearchSpace of rlp_sweeps.spaces, as in "
            f"`{attribute} = SearchSpace(…)`, but in {origin!r} it is {kind}."
        )
        raise SearchSpaceError(msg)
    sizes = _sizes_of(module)
    if space is None or size not in sizes:
        known = advice(size, sizes, otherwise=f"its sizes are {list(sizes)}.")
        msg = f"the study {name!r} has no size {size!r}; {known}"
        raise SearchSpaceError(msg)
    return space
