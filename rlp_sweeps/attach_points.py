"""Names of the attach points where a trial's heads read, as a setting writes them."""

from collections.abc import Sequence

from rlp_sweeps.errors import ConfigError

ALL = "all"
"""As `observed_attach_points`: every attach point at which no head regularizes."""


def attach_point_names(text: str | None) -> tuple[str, ...]:
    """Return the names that a setting holds, separated by commas alone; none where missing."""
    return () if text is None else tuple(text.split(","))


def check_attach_points(regularized: str | None, observed: str | None) -> None:
    """Refuse lists that no backbone could have.

    Args:
        regularized: The setting `attach_points`.
        observed: The setting `observed_attach_points`.

    Raises:
        ConfigError: A name is empty, has blanks around it, or comes twice in one list or both.
    """
    settings = {"attach_points": regularized, "observed_attach_points": observed}
    for setting, text in settings.items():
        names = attach_point_names(text)
        if any(not name or name != name.strip() for name in names):
            msg = (
                f"`{setting}` must be names of attach points separated by commas alone, but got "
                f"{setting}={text!r}."
            )
            raise ConfigError(msg)
    _require_once([name for text in settings.values() for name in attach_point_names(text)])
    lists = (attach_point_names(regularized), attach_point_names(observed))
    if ALL in lists[0] or (ALL in lists[1] and len(lists[1]) > 1):
        msg = (
            f"{ALL!r} stands alone in `observed_attach_points` for all that do not regularize, but "
            f"got attach_points={regularized!r}, observed_attach_points={observed!r}."
        )
        raise ConfigError(msg)


def _require_once(names: Sequence[str]) -> None:
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        msg = (
            "`attach_points` and `observed_attach_points` must name each attach point once, but "
            f"{twice} come(s) twice; where heads regularize, one observes as well."
        )
        raise ConfigError(msg)
