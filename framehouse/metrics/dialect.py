"""Reading SQL that people wrote: PostgreSQL as it stands, and nothing but one statement that reads.

sqlglot translates functions between dialects, and what comes back from it may be another function with another type
(`date_part` becomes `extract`). Here nothing is translated: a function keeps its name and its arguments.
"""

import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Any, ClassVar

from sqlglot import ParseError, TokenError, exp, parse
from sqlglot.dialects.postgres import Postgres
from sqlglot.optimizer.normalize_identifiers import normalize_identifiers
from sqlglot.tokenizer_core import Token, TokenType

from framehouse.errors import QueryError

#: Functions whose arguments have a grammar of their own.
_OWN_GRAMMAR = {"CAST", "EXTRACT", "OVERLAY", "POSITION", "SUBSTRING", "TRIM", "XMLELEMENT", "XMLTABLE"}
_FIRST = {TokenType.SELECT, TokenType.WITH, TokenType.VALUES, TokenType.L_PAREN}
_ESCAPED_NAME = re.compile(r"\bu&[\"']", re.IGNORECASE)
_CALLED = re.compile(r'(\w+)"?\(')
_READS = "give one SELECT, WITH ... SELECT or VALUES that neither writes nor locks"
_PARSER = Postgres.parser_class


class AnalystSql(Postgres):
    """PostgreSQL whose functions stay what they are called."""

    class Parser(_PARSER):  # type: ignore[misc, valid-type]
        FUNCTIONS: ClassVar[dict[str, Any]] = {}
        FUNCTION_PARSERS: ClassVar = {k: v for k, v in _PARSER.FUNCTION_PARSERS.items() if k in _OWN_GRAMMAR}


def check_reads(text: str) -> None:
    """Raise QueryError for whatever does not begin as one statement that reads; what stands in it is not looked at."""
    tokens = _tokens(text)
    while tokens and tokens[-1].token_type is TokenType.SEMICOLON:
        tokens.pop()
    if not tokens:
        raise QueryError("there is no statement", hint=_READS)
    if _ESCAPED_NAME.search(text):  # the server would read a name that nobody reads here
        raise QueryError("U&\"...\" and U&'...' are not read here", hint="write the characters themselves")
    if any(token.token_type is TokenType.SEMICOLON for token in tokens):
        raise QueryError("there are several statements", hint=_READS)
    if tokens[0].token_type not in _FIRST:
        raise QueryError(f"{tokens[0].text.upper()[:40]} is not for reading", hint=_READS)


def one_query(text: str) -> exp.Expr:
    """The one statement of a text, which only reads; unquoted names in lower case, as PostgreSQL has them.

    Raises QueryError with the place of what cannot be read, and for whatever writes or locks.
    """
    check_reads(text)
    try:
        tree, *_ = parse(text, dialect=AnalystSql)  # after it come semicolons and comments alone
    except ParseError as error:
        found = error.errors[0] if error.errors else {}
        what = str(found.get("description", "not understood")).split(" but got <")[0]
        raise QueryError(
            f"line {found.get('line', 1)}, column {found.get('col', 1)}: this cannot be read ({what})",
            hint="write it otherwise, or ask framehouse psql",
        ) from None
    except RecursionError:
        raise QueryError(
            "this is nested too deeply to be read", hint="take parts of it out into WITH"
        ) from None
    if not isinstance(tree, (exp.Query, exp.Values)):
        raise QueryError(f"{tree.key.upper() if tree else 'this'} is not for reading", hint=_READS)
    for node in tree.walk():
        if isinstance(node, (exp.DDL, exp.DML, exp.Command, exp.Into, exp.Lock)) and not isinstance(
            node, exp.Query
        ):
            raise QueryError(f"{_SPOKEN.get(type(node), node.key.upper())} is not for reading", hint=_READS)
    return normalize_identifiers(tree, dialect=AnalystSql)


_SPOKEN: dict[type, str] = {exp.Into: "SELECT ... INTO", exp.Lock: "a locking clause (FOR UPDATE, FOR SHARE)"}


def called(text: str) -> list[str]:
    """Every name that stands before a parenthesis, and so may be a function that is called."""
    found = _tokens(text)
    names = [a.text for a, b in pairwise(found) if b.token_type is TokenType.L_PAREN and a.text]
    return sorted({*names, *(name.lower() for name in names)})


def called_in_plan(lines: Iterable[str]) -> set[str]:
    """Every function that the server's plan names (and some words besides)."""
    return {name for line in lines for name in _CALLED.findall(line)}


def sql_of(tree: exp.Expr, *, is_pretty: bool = False) -> str:
    """The text of a tree, without its comments."""
    return tree.sql(AnalystSql, normalize_functions=False, pretty=is_pretty, comments=False)


def _tokens(text: str) -> list[Token]:
    try:
        return list(AnalystSql().tokenize(text))
    except TokenError:
        raise QueryError(
            "a quote or a comment is not closed, or a character is no SQL",
            hint="look at the end of the statement",
        ) from None
