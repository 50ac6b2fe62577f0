"""What a name that nobody knows was probably meant to be."""

import difflib
import re
from collections.abc import Iterable, Mapping

_LEAST_ALIKE = 0.6
_LEAST_LETTERS = 3
"""Of a name that is looked for within longer ones: ``smoothing`` in ``label_smoothing``."""

_MOST_NAMED = 3


def near_names(
    name: object, names: Iterable[str], *, aliases: Mapping[str, str] | None = None
) -> list[str]:
    """Return the names that were probably meant: one to three, or none where none is alike.

    Case, blanks, hyphens and underscores do not count: ``CIFAR-10`` is ``cifar10``. A part of
    several names is any of them, a part of many none.

    Args:
        name: As it was written.
        names: Those that there are.
        aliases: What others call some of them, by that word.
    """
    known = {_letters(known): known for known in names}
    meant = known | {_letters(word): known for word, known in (aliases or {}).items()}
    wanted = _letters(str(name))
    if wanted in meant:
        return [meant[wanted]]
    whole = [known[letters] for letters in known if wanted in letters]
    if whole and len(wanted) >= _LEAST_LETTERS:
        return whole if len(whole) <= _MOST_NAMED else []
    close = difflib.get_close_matches(wanted, meant, n=1, cutoff=_LEAST_ALIKE)
    return [meant[letters] for letters in close]


def nearest(name: object, names: Iterable[str]) -> str:
    """Return the one name that was probably meant; an empty text where there is not one."""
    near = near_names(name, names)
    return near[0] if len(near) == 1 else ""


def advice(
    name: object,
    names: Iterable[str],
    *,
    otherwise: str,
    aliases: Mapping[str, str] | None = None,
) -> str:
    """Return how a sentence on an unknown name ends: what was meant, or where all names stand.

    Args:
        name: As it was written.
        names: Those that there are.
        otherwise: The end where no name is alike, with its full stop.
        aliases: As `near_names` takes them.
    """
    near = [repr(known) for known in near_names(name, names, aliases=aliases)]
    if not near:
        return otherwise
    *first, last = near
    return f"did you mean {', '.join(first)}{' or ' * bool(first)}{last}?"


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower()) or name
