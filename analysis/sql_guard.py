"""Refuse SQL that is anything but one reading statement over the tables it was given.

Polars' SQL can open any local file by a table function and accepts statements that change tables.
The text is read here the way an SQL lexer does; a construct that two lexers could read differently
(dollar quotes, prefixed or backslashed strings, nested comments) is refused, so that nothing hides
in it. Polars reads more than it documents: a comment that begins with ``/*!`` is code to it, and a
string before a parenthesis is a function's name.
"""

import re
from dataclasses import dataclass

from rlp_sweeps.errors import QueryError

_WRITING = re.compile(
    "alter|analyze|attach|begin|call|commit|copy|create|delete|detach|drop|execute|export|grant|"
    "import|insert|install|into|load|lock|merge|pragma|refresh|rename|reset|revoke|rollback|set|"
    "truncate|update|upsert|use|vacuum"
)
_OPENS_FILES = re.compile(r"(read|scan|sink|write)_\w+", re.IGNORECASE)
_TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*)
      | (?P<comment>/\*.*?\*/)
      | (?P<prefixed>[A-Za-z_&]+')
      | (?P<string>'(?:[^']|'')*')
      | (?P<quoted>"(?:[^"]|"")*"|`[^`]*`)
      | (?P<word>[A-Za-z_]\w*)
      | (?P<number>\d+(?:\.\d*)?(?:[eE][+-]?\d+)?(?!\w))
      | (?P<symbol>[-+*/%=<>!|&^~(),.;:?@\[\]{}])
    """,
    re.DOTALL | re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str

    @property
    def name(self) -> str:
        """The word in lower case, without quotes; empty for what names nothing."""
        if self.kind == "word":
            return self.text.lower()
        return self.text[1:-1].lower() if self.kind in {"quoted", "string"} else ""


def check_reads_only(sql: str) -> None:
    """Refuse SQL that is not a single SELECT or WITH statement, writes, or opens files.

    Raises:
        QueryError: Says which rule is broken.
    """
    tokens = _tokens(sql)
    while tokens and tokens[-1].text == ";":
        tokens.pop()
    if not tokens or tokens[0].kind != "word" or tokens[0].name not in {"select", "with"}:
        got = tokens[0].text if tokens else ""
        raise _refused(
            "a query must be a single SELECT or WITH statement", f"it begins with {got!r}"
        )
    if any(token.text == ";" for token in tokens):
        raise _refused("a query must be a single statement", "it has several")
    for place, token in enumerate(tokens):
        if (
            token.kind == "word"
            and _WRITING.fullmatch(token.name)
            and not _is_function(tokens, place)
        ):
            reason = f"it has {token.text!r}; a column of that name is written in double quotes"
            raise _refused("a query must only read", reason)
        if _is_function(tokens, place) and _is_table_function(tokens, place):
            reason = f"it calls {token.text!r}, which opens files or makes a table"
            raise _refused("a query must read the given tables alone", reason)


def _is_function(tokens: list[_Token], place: int) -> bool:
    return place + 1 < len(tokens) and tokens[place + 1].text == "(" and bool(tokens[place].name)


def _is_table_function(tokens: list[_Token], place: int) -> bool:
    if _OPENS_FILES.fullmatch(tokens[place].name):
        return True
    before = tokens[place - 1].name if place else ""
    return before in {"from", "join", "lateral", "table"} and tokens[place].name not in {
        "unnest",
        "lateral",
        "select",
    }


def _tokens(sql: str) -> list[_Token]:
    tokens: list[_Token] = []
    place = 0
    while place < len(sql):
        match = _TOKEN.match(sql, place)
        if match is None:
            raise _refused("a query must be plain SQL", f"{sql[place : place + 10]!r} is none")
        kind, text = str(match.lastgroup), match.group()
        is_ambiguous = (
            kind == "prefixed"
            or (kind == "comment" and ("/*" in text[2:] or text.startswith("/*!")))
            or (kind in {"string", "quoted"} and "\\" in text)
        )
        if is_ambiguous:
            reason = f"{text[:20]!r} can be read in two ways"
            raise _refused("strings and comments must be plain", reason)
        if kind not in {"space", "comment"}:
            tokens.append(_Token(kind, text))
        place = match.end()
    return tokens


def _refused(rule: str, reason: str) -> QueryError:
    return QueryError(f"{rule}, but {reason}. Queries are read-only and open no files.")
