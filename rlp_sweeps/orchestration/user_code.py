"""A user's own modules on their way to the workers of a running cluster.

The machines of a cluster have this package installed; what a study imports besides, a backbone or
what it stands on, is sent along as text and imported from memory. A file that a machine finds at
the same path with the same content is imported from there, so that it may read what lies beside it.
"""

import importlib
import site
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.abc import ExecutionLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from rlp_sweeps.config import TrialConfig
from rlp_sweeps.errors import ClusterError
from rlp_sweeps.training.dotted_paths import is_dotted_path, module_of

MAX_CODE_BYTES = 20_000_000
"""Most bytes of source that travel with a sweep."""

_INSTALLED = ("rlp_sweeps", "analysis", "search_spaces")


class Source(NamedTuple):
    """One module's text.

    Attributes:
        path: Its file on the driver's machine; empty for a package without a file.
        text: Its content.
        is_package: Whether modules can lie in it.
    """

    path: str
    text: str
    is_package: bool


@dataclass(frozen=True, slots=True)
class UserCode:
    """The modules that a study brings along.

    Attributes:
        sources: Each module's text, by its full name.
        wanted: The modules that are named by dotted paths.
    """

    sources: Mapping[str, Source]
    wanted: tuple[str, ...]

    @classmethod
    def of(cls, configs: Iterable[TrialConfig]) -> "UserCode":
        """Return what the dotted paths of these trials import that is not installed.

        Every module below a package of the user's is taken, and every plain module that is imported
        by now.

        Raises:
            ClusterError: It is more than `MAX_CODE_BYTES`.
        """
        names = {name for config in configs for name in (config.backbone, config.dataset)}
        wanted = sorted({module_of(name) for name in names if is_dotted_path(name)})
        for name in wanted:
            importlib.import_module(name)
        sources = dict(_own_sources()) if wanted else {}
        size = sum(len(source.text) for source in sources.values())
        if size > MAX_CODE_BYTES:
            largest = sorted(sources.values(), key=lambda source: -len(source.text))[0].path
            msg = (
                f"a study's own modules must have at most {MAX_CODE_BYTES:,} bytes to be sent to "
                f"a cluster's machines, but have {size:,}, of which most in {largest!r}; install "
                "them on every machine instead."
            )
            raise ClusterError(msg)
        return cls(sources=sources, wanted=tuple(wanted))

    def install(self) -> None:
        """Let this process import the modules; those that it has imported stay as they are."""
        if self.sources and not any(isinstance(f, _SentModules) for f in sys.meta_path):
            sys.meta_path.insert(0, _SentModules(self.sources))


class _SentModules(MetaPathFinder):
    """Finds modules by the text that was sent, before those that this machine may have."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = sources

    def find_spec(
        self, fullname: str, path: object = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how a sent module is imported; None for any other."""
        del path, target
        source = self._sources.get(fullname)
        if source is None:
            return None
        return spec_from_file_location(
            fullname,
            source.path or f"<{fullname}>",
            loader=None if _is_here(source) else _TextLoader(source),
            submodule_search_locations=_folders_of(source),
        )


class _TextLoader(ExecutionLoader):
    """Imports one module from its text."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def get_source(self, fullname: str) -> str:
        """Return the text; tracebacks show its lines."""
        del fullname
        return self._source.text

    def get_filename(self, fullname: str) -> str:
        """Return the file on the driver's machine."""
        return self._source.path or f"<{fullname}>"

    def is_package(self, fullname: str) -> bool:
        """Return whether modules can lie in it."""
        del fullname
        return self._source.is_package


def _folders_of(source: Source) -> list[str] | None:
    if not source.is_package:
        return None
    return [str(Path(source.path).parent)] if source.path else []


def _is_here(source: Source) -> bool:
    try:
        return bool(source.path) and Path(source.path).read_text(encoding="utf-8") == source.text
    except (OSError, UnicodeDecodeError):
        return False


def _own_sources() -> Iterator[tuple[str, Source]]:
    """Yield the modules that are imported here and not installed, and all of their packages."""
    foreign = tuple(_installed_folders())
    packages: dict[str, Path] = {}
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name == "__main__" or not file or not file.endswith(".py"):
            continue
        path = Path(file).absolute()
        if (
            not path.is_file()
            or name.split(".")[0] in _INSTALLED
            or any(map(path.is_relative_to, foreign))
        ):
            continue
        yield from _parents(name)
        yield name, _read(path)
        if path.name == "__init__.py" and "." not in name:
            packages[name] = path.parent
    for package, folder in packages.items():
        for path in folder.rglob("*.py"):
            yield _name_in(package, path.relative_to(folder)), _read(path)


def _parents(name: str) -> Iterator[tuple[str, Source]]:
    """Yield the packages of a module that have no file."""
    parts = name.split(".")
    for end in range(1, len(parts)):
        parent = ".".join(parts[:end])
        if getattr(sys.modules.get(parent), "__file__", None) is None:
            yield parent, Source(path="", text="", is_package=True)


def _name_in(package: str, path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join((package, *(parts[:-1] if parts[-1] == "__init__" else parts)))


def _read(path: Path) -> Source:
    text = path.read_text(encoding="utf-8")
    return Source(path=str(path), text=text, is_package=path.name == "__init__.py")


def _installed_folders() -> Iterator[Path]:
    """Yield the folders of what is installed, the standard library's among them."""
    for name in ("stdlib", "platstdlib", "purelib", "platlib"):
        yield Path(sysconfig.get_path(name)).absolute()
    yield Path(site.getusersitepackages()).absolute()
    yield from (Path(folder).absolute() for folder in site.getsitepackages())
