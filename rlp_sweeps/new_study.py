"""The file that a new study begins with: a commented recipe, or a copy of an existing one."""

import keyword
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from string import Template

from rlp_sweeps.errors import ArgumentError
from rlp_sweeps.misspelling import advice
from rlp_sweeps.recipes import RECIPES_PACKAGE, list_recipes


def write_study(name: str, *, recipe: str | None = None) -> Path:
    """Write the file of a new study, and return its path.

    Args:
        name: A Python name, with or without ``.py``; folders before it are created.
        recipe: The recipe to begin with. Default: a short one with comments.

    Raises:
        ArgumentError: The name is no Python name, or one in a store; the file exists or cannot be
            written; or there is no such recipe.
    """
    if "://" in name:
        msg = (
            f"a new study must be a file on this machine, but got {name!r}; write it here, as in "
            "`rlp-sweeps new my_study`; `rlp-sweeps run my_study.py --output s3://BUCKET/PREFIX` "
            "keeps its results in a store."
        )
        raise ArgumentError(msg)
    path = Path(name if name.endswith(".py") else f"{name}.py")
    if not path.stem.isidentifier() or keyword.iskeyword(path.stem):
        msg = (
            "a study must be named like a Python module, letters, digits and underscores, as in "
            f"`rlp-sweeps new my_study`, but got {name!r}."
        )
        raise ArgumentError(msg)
    text = _template(path) if recipe is None else _copy_of(recipe)
    if path.exists():
        msg = f"a new study must not replace a file, but {str(path)!r} exists; choose another name."
        raise ArgumentError(msg)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        msg = f"{str(path)!r} must be writable, but it is not: {error.strerror}."
        raise ArgumentError(msg) from error
    return path


def _template(path: Path) -> str:
    text = files("rlp_sweeps").joinpath("templates", "study.py.txt").read_text(encoding="utf-8")
    title = path.stem.replace("_", " ").capitalize()
    return Template(text).substitute(title=title, file=path.as_posix())


def _copy_of(recipe: str) -> str:
    if recipe not in list_recipes():
        ending = advice(recipe, list_recipes(), otherwise="`rlp-sweeps spaces` lists the recipes.")
        msg = f"`--from` must name a recipe, but got {recipe!r}; {ending}"
        raise ArgumentError(msg)
    return (
        files(import_module(RECIPES_PACKAGE)).joinpath(f"{recipe}.py").read_text(encoding="utf-8")
    )
