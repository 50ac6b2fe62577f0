"""Addresses of stores as they may be shown, logged and stored: without what opens them."""

import re
from urllib.parse import unquote

_LOGIN = re.compile(r"(?P<scheme>\w[\w+.-]*://)(?P<login>[^/?#\s]*)@")
_LOGIN_WITH_SLASH = re.compile(r"(?P<scheme>\w[\w+.-]*://)(?P<login>[^/?#\s@:]*:(?!\d+[/?#])\S*)@")
_QUERY_VALUE = re.compile(r"(?P<name>[?&;][^=&;#\s]+=)(?P<value>[^&;#\s'\")]+)")
_HIDDEN = "***"


def without_password(uri: str) -> str:
    """Return an address as it may be shown and stored.

    User and password are taken out, values of its query hidden; whatever else is wrong with it, it
    is no error here.
    """
    return _QUERY_VALUE.sub(rf"\g<name>{_HIDDEN}", _without_login(uri))


def without_secrets(text: str, uri: str) -> str:
    """Return what a store or a library said, without the password that the address holds.

    Args:
        text: For example the message of an exception.
        uri: The address that was used; others in the text lose their logins as well.
    """
    found = [match["login"].partition(":")[2] for match in map(_find_login, [uri]) if match]
    found += [match["value"] for match in _QUERY_VALUE.finditer(uri)]
    shown = without_password(text)
    for secret in sorted({*found, *map(unquote, found)} - {""}, key=len, reverse=True):
        shown = shown.replace(secret, _HIDDEN)
    return shown


def _find_login(uri: str) -> re.Match[str] | None:
    return _LOGIN.search(uri) or _LOGIN_WITH_SLASH.search(uri)


def _without_login(text: str) -> str:
    for login in (_LOGIN, _LOGIN_WITH_SLASH):
        text = login.sub(r"\g<scheme>", text)
    return text
