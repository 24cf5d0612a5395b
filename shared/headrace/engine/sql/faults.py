"""What a database's complaint means for the author. Its own text is quoted only where it speaks of the statement, which
is the author's own: elsewhere it may quote data."""

import re
import sqlite3

import asyncpg  # pyright: ignore[reportMissingTypeStubs] - only its exceptions
from asyncmy.errors import MySQLError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from headrace.engine.errors import StepError

_MYSQL = {
    1062: "23", 1048: "23", 1451: "23", 1452: "23", 3819: "23",
    1064: "42", 1054: "42", 1146: "42", 1142: "42", 1044: "42", 1305: "42",
    1205: "40", 1213: "40", 1792: "25", 3024: "57", 1264: "22", 1366: "22", 1406: "22",
}  # fmt: skip
"""MySQL's numbers by the SQL standard's classes: its own SQLSTATE is often HY000."""

_SQLITE = {"SQLITE_CONSTRAINT": "23", "SQLITE_BUSY": "40", "SQLITE_LOCKED": "40", "SQLITE_READONLY": "25",
           "SQLITE_MISMATCH": "22", "SQLITE_ERROR": "42", "SQLITE_INTERRUPT": "57"}  # fmt: skip


FAULTS: tuple[type[Exception], ...] = (
    *(SQLAlchemyError, OSError),
    *(asyncpg.PostgresError, asyncpg.InterfaceError, sqlite3.Error, MySQLError),
)
"""What executing and fetching raise; while rows are fetched SQLAlchemy lets the drivers' own errors pass."""


def fault(error: Exception, name: str, *, reads: bool) -> StepError:
    """The step's error for one of FAULTS, after `name`, the connection, stood."""
    if isinstance(error, OSError) or (isinstance(error, DBAPIError) and error.connection_invalidated):
        return lost(name, reads=reads)
    if isinstance(error, SQLAlchemyError) and not isinstance(error, DBAPIError):
        told = "the statement and its binds do not go together"
        return StepError("bad_statement", f"connection {name}: {told} ({type(error).__name__})")
    code, kind = _code(error), _kind(error)
    told = f"connection {name}: the database "
    match kind:
        case "23":
            return StepError("constraint", told + f"refused the rows: a constraint is violated ({code})")
        case "40":
            return StepError("conflict", told + f"undid the statement for another's sake ({code})", retryable=True)
        case "25":
            way_out = "it runs read-only; a SELECT whose functions write needs `writes: true`"
            return StepError(
                "read_only", told + f"refused a statement that writes: {way_out}, if the connection allows"
            )
        case "22":
            return StepError("bad_value", told + f"cannot take a parameter's value ({code})")
        case "42":
            return StepError("bad_statement", told + f"does not accept the statement ({code}): {_text(error)}")
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


def unreachable(error: Exception, name: str) -> StepError:
    """No connection came about: nothing was sent."""
    code = _code(error)
    refused = code.startswith(("28", "3D", "1045", "1049"))
    why = "user, password or database are not accepted" if refused else "the database cannot be reached"
    return StepError("connection", f"connection {name}: {why} ({code})", retryable=not refused)


def _original(error: Exception) -> BaseException:
    return (error.orig or error) if isinstance(error, DBAPIError) else error


def _code(error: Exception) -> str:
    original = _original(error)
    for name in ("sqlstate", "pgcode", "sqlite_errorname"):
        if found := getattr(original, name, None):
            return str(found)
    arguments: tuple[object, ...] = getattr(original, "args", ())
    if arguments and isinstance(arguments[0], int):
        return str(arguments[0])
    return type(original).__name__


def _kind(error: Exception) -> str:
    code = _code(error)
    if code.isdigit() and len(code) == 4:
        return _MYSQL.get(int(code), "")
    if code.startswith("SQLITE_"):
        return next((kind for name, kind in _SQLITE.items() if code.startswith(name)), "")
    if code == "DataError":  # asyncpg's: refused before it was sent
        return "22"
    if re.fullmatch(r"[0-9A-Z]{5}", code):
        return {"55P03": "40", "57P01": "08", "57P02": "08", "57P03": "08"}.get(code, code[:2])
    return ""


def _text(error: Exception) -> str:
    """The first line, without the class that SQLAlchemy's adapter puts before it."""
    arguments: tuple[object, ...] = getattr(_original(error), "args", ())
    text = str(arguments[-1]) if arguments else ""
    lines = re.sub(r"^<class '[^']*'>: ", "", text).splitlines()
    return lines[0] if lines else ""
