"""What a database's complaint means for the author. Its own text is quoted only where it speaks of the statement, which
is the author's own: elsewhere it may quote data."""

import re
import sqlite3

import asyncpg  # pyright: ignore[reportMissingTypeStubs] - only its exceptions
from asyncmy.errors import MySQLError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from headrace.engine.errors import StepError
from headrace.engine.ports import SqlStatement

_MYSQL = {
    1364: "23", 3819: "23",
    1265: "22", 1366: "22", 1411: "22", 1153: "22",
    1005: "42", 1045: "42", 1051: "42", 1111: "42", 1148: "42", 3948: "42", 4166: "42",
    1020: "40", 1205: "40", 1213: "40",
    1290: "25", 1836: "25",
    1317: "57", 1969: "57", 3024: "57",
}  # fmt: skip
"""MySQL's and MariaDB's numbers by the SQL standard's classes, where the SQLSTATE that comes with them says nothing
(HY000) or something else."""

_NOT_ACCEPTED = (1044, 1045, 1049)
"""MySQL's numbers for a user, a password or a database that a connection asks for in vain."""

_MYSQL_QUOTES_STATEMENTS_ONLY = frozenset((1051, 1054, 1146, 1305))
"""Errors whose text names a table, column or function. The driver writes parameters into the statement, so that others
may quote their values."""

_CLASSES = {"IntegrityError": "23", "DataError": "22", "ProgrammingError": "42"}
"""Of an error with a code that says nothing, what its driver's class says."""

_SQLITE = {"SQLITE_CONSTRAINT": "23", "SQLITE_BUSY": "40", "SQLITE_LOCKED": "40", "SQLITE_READONLY": "25",
           "SQLITE_MISMATCH": "22", "SQLITE_TOOBIG": "22", "SQLITE_ERROR": "42", "SQLITE_INTERRUPT": "57"}  # fmt: skip

_STATES = {"55P03": "40", "57P01": "08", "57P02": "08", "57P03": "08", "70100": "57"}
"""SQLSTATEs that mean another class than their own."""

_OF_STATEMENTS = frozenset(("21", "42"))
"""Classes that speak of the statement: its cardinality, its syntax, names and access rights."""

_COMPLETION_UNKNOWN = "40003"
"""The one rollback of which nobody knows whether it is one."""

_DATATYPE_MISMATCH = "42804"
"""PostgreSQL's: a column is given another type. Its text names types only."""


FAULTS: tuple[type[Exception], ...] = (
    *(SQLAlchemyError, OSError),
    *(asyncpg.PostgresError, asyncpg.InterfaceError, sqlite3.Error, MySQLError),
)
"""What executing and fetching raise; while rows are fetched SQLAlchemy lets the drivers' own errors pass."""


def fault(error: Exception, name: str, statement: SqlStatement) -> StepError:
    """The step's error for one of FAULTS, after `name`, the connection, stood."""
    reads = statement.reads
    if isinstance(error, OSError) or (isinstance(error, DBAPIError) and error.connection_invalidated):
        return lost(name, reads=reads)
    if isinstance(error, SQLAlchemyError) and not isinstance(error, DBAPIError):
        told = "the statement and its binds do not go together"
        return StepError("bad_statement", f"connection {name}: {told} ({type(error).__name__})")
    code, kind = _code(error), _kind(error)
    if code == _DATATYPE_MISMATCH and statement.parameters:
        kind = "22"
    told = f"connection {name}: the database "
    match kind:
        case "23":
            return StepError("constraint", told + f"refused the rows: a constraint is violated ({code})")
        case "40":
            if code == _COMPLETION_UNKNOWN:
                return lost(name, reads=reads)
            why = f"undid the statement for another's sake ({code})"
            return StepError("conflict", told + why, retryable=True, nothing_done=True)
        case "25":
            return read_only(name)
        case "22":
            types = f": {_text(error)}" if code == _DATATYPE_MISMATCH else ""
            return StepError("bad_value", told + f"cannot take a parameter's value ({code}){types}")
        case "42":
            text = f": {_text(error)}" if _quotes_no_data(error, statement) else ""
            return StepError("bad_statement", told + f"does not accept the statement ({code}){text}")
        case "57":
            return StepError(
                "timeout", told + "ended the statement: it took too long, or was cancelled", retryable=True
            )
        case _:
            return lost(name, reads=reads) if kind == "08" else StepError("database", told + f"failed ({code})")


def lost(name: str, *, reads: bool) -> StepError:
    """The connection broke with the statement under way: what a write did is not known."""
    if reads:
        return StepError("connection", f"connection {name}: it was lost", retryable=True)
    return StepError("unknown_outcome", f"connection {name}: it was lost; whether the statement was done is not known")


def read_only(name: str) -> StepError:
    """The statement writes where it may not."""
    way_out = "a SELECT whose functions write needs `writes: true`, if the connection allows"
    return StepError(
        "read_only", f"connection {name}: a statement that writes is refused: it runs read-only; {way_out}"
    )


def unreachable(error: Exception, name: str) -> StepError:
    """No connection came about: nothing was sent."""
    code = _code(error)
    refused = code.startswith(("28", "3D")) or _number(error) in _NOT_ACCEPTED
    why = "user, password or database are not accepted" if refused else "the database cannot be reached"
    return StepError("connection", f"connection {name}: {why} ({code})", retryable=not refused, nothing_done=True)


def _original(error: Exception) -> BaseException:
    return (error.orig or error) if isinstance(error, DBAPIError) else error


def _code(error: Exception) -> str:
    original = _original(error)
    for name in ("sqlstate", "pgcode", "sqlite_errorname"):
        if (found := getattr(original, name, None)) and found not in _SAY_NOTHING:
            return str(found)
    number = _number(error)
    return type(original).__name__ if number is None else str(number)


_SAY_NOTHING = frozenset(("HY000", "01000"))
"""SQLSTATEs of MySQL's for all that has none: its own number says more."""


def _number(error: Exception) -> int | None:
    """MySQL's own number."""
    arguments: tuple[object, ...] = getattr(_original(error), "args", ())
    return arguments[0] if arguments and isinstance(arguments[0], int) else None


def _kind(error: Exception) -> str:
    """The SQL standard's class, or "" for what has none."""
    code, number = _code(error), _number(error)
    if number is not None and number in _MYSQL:
        return _MYSQL[number]
    if code.startswith("SQLITE_"):
        return next((kind for name, kind in _SQLITE.items() if code.startswith(name)), "")
    if re.fullmatch(r"[0-9A-Z]{5}", code):
        kind = _STATES.get(code, code[:2])
        return "42" if kind in _OF_STATEMENTS else kind
    if _text(error).startswith(_SQLITE_BINDING):
        return "22"
    return _CLASSES.get(type(_original(error)).__name__, "")


_SQLITE_BINDING = "Error binding parameter"
"""SQLite's driver, before it asks SQLite."""


def _quotes_no_data(error: Exception, statement: SqlStatement) -> bool:
    number = _number(error)
    return number is None or not statement.parameters or number in _MYSQL_QUOTES_STATEMENTS_ONLY


def _text(error: Exception) -> str:
    """The first line, without the class that SQLAlchemy's adapter puts before it."""
    arguments: tuple[object, ...] = getattr(_original(error), "args", ())
    text = str(arguments[-1]) if arguments else ""
    lines = re.sub(r"^<class '[^']*'>: ", "", text).splitlines()
    return lines[0] if lines else ""
