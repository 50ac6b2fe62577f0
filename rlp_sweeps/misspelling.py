"""What a name that nobody knows was probably meant to be."""

import difflib
import re
from collections.abc import Iterable, Mapping

_LEAST_ALIKE = 0.6
_LEAST_LETTERS = 3
"""Of a name that is looked for within longer ones: ``epochs`` in ``num_epochs``."""


def nearest(name: object, names: Iterable[str], *, aliases: Mapping[str, str] | None = None) -> str:
    """Return the name that was probably meant; an empty text where none is alike.

    Case, blanks, hyphens and underscores do not count: ``CIFAR-10`` is ``cifar10``.

    Args:
        name: As it was written.
        names: Those that there are.
        aliases: What others call some of them, by that word.
    """
    meant = {_letters(known): known for known in names}
    meant |= {_letters(word): known for word, known in (aliases or {}).items()}
    wanted = _letters(str(name))
    if wanted in meant:
        return meant[wanted]
    close = difflib.get_close_matches(wanted, meant, n=1, cutoff=_LEAST_ALIKE)
    if not close and len(wanted) >= _LEAST_LETTERS:
        close = sorted((letters for letters in meant if wanted in letters), key=len)[:1]
    return meant[close[0]] if close else ""


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
        aliases: As `nearest` takes them.
    """
    near = nearest(name, names, aliases=aliases)
    return f"did you mean {near!r}?" if near else otherwise


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower()) or name
