"""SqlDatabases over SQLAlchemy: one bounded pool for each connection of each app, opened at the first statement."""

import asyncio
import sqlite3
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiosqlite import Connection as SqliteConnection
from sqlalchemy import TextClause, event, make_url, text
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, ResourceClosedError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from headrace.contracts import limits
from headrace.engine.connections import SqlConnection
from headrace.engine.errors import StepError
from headrace.engine.plain import dumps
from headrace.engine.ports import Rows, SqlStatement
from headrace.engine.sql import faults
from headrace.engine.sql.binds import binds, escaped
from headrace.engine.sql.statements import is_query
from headrace.engine.sql.values import bound, plain

POOL_WAIT_S = 10.0
"""For a connection of a pool that is all in use: a step has 30 s."""

CONNECT_S = 10
"""As for HTTP: a silent host is given up early enough to be tried again in a step's 30 s."""

RECYCLE_S = 1_800
"""Firewalls commonly forget a silent connection after an hour."""

LONGEST = 16 << 20
"""Bytes of a value in SQLite: it makes one of a gigabyte, for seconds, before we see how large it is."""

_DRIVERS = {"postgresql": "postgresql+asyncpg", "mysql": "mysql+asyncmy", "sqlite": "sqlite+aiosqlite"}
_FETCH = 100


@dataclass(frozen=True, slots=True)
class _Pool:
    connection: SqlConnection
    engine: AsyncEngine


class SqlPools:
    """The pools of a process; belongs to one event loop. `close()` ends them."""

    def __init__(self) -> None:
        self._pools: dict[tuple[str, str], _Pool] = {}

    async def close(self) -> None:
        """Closes all connections; statements under way fail."""
        pools, self._pools = self._pools, {}
        for pool in pools.values():
            await pool.engine.dispose()

    async def execute(self, app: str, name: str, connection: SqlConnection, statement: SqlStatement) -> Rows:
        """Executes `statement` on `app`'s connection `name`; raises StepError."""
        engine = await self._engine(app, name, connection)
        limit = asyncio.timeout(connection.timeout)
        try:
            async with limit:
                return await _execute(engine, name, statement)
        except TimeoutError:
            if not limit.expired():
                raise
            told = f"connection {name}: the statement took longer than {connection.timeout:g} s"
            if statement.reads:
                raise StepError("timeout", told, retryable=True) from None
            raise StepError("unknown_outcome", told + "; whether it was done is not known") from None

    async def _engine(self, app: str, name: str, connection: SqlConnection) -> AsyncEngine:
        found = self._pools.get((app, name))
        if found is not None and found.connection == connection:
            return found.engine
        self._pools[app, name] = made = _Pool(connection, _made(name, connection))
        if found is not None:
            await found.engine.dispose()
        return made.engine


def _made(name: str, connection: SqlConnection) -> AsyncEngine:
    try:
        url = make_url(connection.url.get_secret_value())
        url = url.set(drivername=_DRIVERS[url.drivername])
        engine = create_async_engine(
            url,
            pool_size=connection.pool,
            max_overflow=0,
            pool_timeout=POOL_WAIT_S,
            pool_recycle=RECYCLE_S,
            # A server that was restarted must not make the next write's fate unknown.
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args=_driver_options(url.get_backend_name(), connection.timeout),
        )
        if confine := _CONFINED.get(url.get_backend_name()):
            event.listen(engine.sync_engine, "connect", confine)
        return engine
    except (ArgumentError, NoSuchModuleError, KeyError, TypeError, ValueError) as error:
        # SQLAlchemy's own text quotes the URL.
        raise StepError("connection", f"connection {name}: its URL is not usable ({type(error).__name__})") from None


def _confine_sqlite(connection: Any, _: object) -> None:
    """To its own file: ATTACH and VACUUM INTO would open any that the service may, and values stay below LONGEST."""
    # In the thread that owns the connection, which the library has no public way to.
    connection.run_async(_run_limited)


def _run_limited(sqlite: Any) -> Any:
    return sqlite._execute(_limited, sqlite._conn)


def _limited(raw: sqlite3.Connection) -> None:
    raw.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
    raw.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)


def _confine_mysql(connection: Any, _: object) -> None:
    """To one statement at a time: the driver always asks for more, and `COMMIT; DELETE …` would leave the read-only
    transaction."""
    connection.run_async(_run_single)


async def _run_single(mysql: Any) -> None:
    # The library has no public way to it.
    await mysql._execute_command(_COM_SET_OPTION, _MULTI_STATEMENTS_OFF)
    await mysql.read_packet()


_COM_SET_OPTION = 0x1B
_MULTI_STATEMENTS_OFF = b"\x01\x00"
"""MySQL's protocol, COM_SET_OPTION: its second option, two bytes."""

_CONFINED = {"sqlite": _confine_sqlite, "mysql": _confine_mysql}


def _driver_options(dialect: str, seconds: float) -> dict[str, object]:
    """PostgreSQL is told to cancel what we stop waiting for; MySQL needs to know the limit beforehand."""
    if dialect == "postgresql":
        return {"timeout": CONNECT_S}
    if dialect == "mysql":
        # MySQL reads /*! … */, of these versions MariaDB does not; MariaDB alone reads /*M! … */.
        limit = f"/*!50708 max_execution_time = {int(seconds * 1000)} */ /*M!100100 max_statement_time = {seconds} */"
        return {"connect_timeout": CONNECT_S, "init_command": f"SET SESSION {limit}"}
    # Until another's write is committed.
    return {"timeout": seconds}


async def _execute(engine: AsyncEngine, name: str, statement: SqlStatement) -> Rows:
    if statement.reads and engine.dialect.name == "mysql" and not is_query(statement.text):
        # Only there a single statement (a procedure, MariaDB's BEGIN NOT ATOMIC) can leave what holds it to reading.
        raise faults.read_only(name)
    is_connected = False
    try:
        async with engine.connect() as connection:
            is_connected = True
            await _begin(connection, statement.reads)
            return await _interruptible(connection, _done(connection, statement))
    except PoolTimeout:
        told = f"connection {name}: all of its connections are in use"
        raise StepError("busy", told, retryable=True, nothing_done=True) from None
    except faults.FAULTS as error:
        if not is_connected:
            raise faults.unreachable(error, name) from None
        raise faults.fault(error, name, statement) from None


async def _begin(connection: AsyncConnection, reads: bool) -> None:
    match connection.dialect.name:
        case "postgresql":
            await connection.execution_options(postgresql_readonly=reads)
        case "mysql":
            # Of the session: MariaDB lets a statement that defines pass in a transaction that only itself is read-only.
            mode = "ONLY" if reads else "WRITE"
            await connection.exec_driver_sql(f"SET SESSION TRANSACTION READ {mode}")
        case _:
            # As of MySQL's session: the next statement on the connection may write.
            await connection.exec_driver_sql(f"PRAGMA query_only = {'ON' if reads else 'OFF'}")


async def _done(connection: AsyncConnection, statement: SqlStatement) -> Rows:
    rows = await _rows(connection, statement)
    if not statement.reads:
        await connection.commit()
    return rows


async def _rows(connection: AsyncConnection, statement: SqlStatement) -> Rows:
    clause = _clause(statement, connection.dialect.name)
    if not statement.reads:
        result = await connection.execute(clause)
        if not result.returns_rows:
            return Rows((), max(result.rowcount, 0))
        kept = _Kept(list(result.keys()), statement.max_rows)
        kept.add(result.fetchmany(statement.max_rows + 1))
        return kept.rows()
    # Batch by batch: what is beyond the limits never leaves the database.
    async with connection.stream(clause) as stream:
        try:
            kept = _Kept(list(stream.keys()), statement.max_rows)
        except ResourceClosedError:  # SELECT … INTO a variable, COMMIT
            return Rows((), 0)
        while kept.add(await stream.fetchmany(_FETCH)):
            pass
        return kept.rows()


def _clause(statement: SqlStatement, dialect: str) -> TextClause:
    mysql, given = dialect == "mysql", statement.parameters
    if odd := sorted(binds(statement.text, mysql=mysql) ^ given.keys()):
        told = "the query has no" if odd[0] in given else "nothing is given for"
        raise StepError("bad_input", f"inputs: parameters: as {dialect} reads its texts and comments, {told} :{odd[0]}")
    parameters = [bound(name, value, dialect) for name, value in given.items()]
    return text(escaped(statement.text, mysql=mysql)).bindparams(*parameters)


class _Kept:
    """Rows up to `most`, and up to limits.EVENT_BODY bytes together."""

    def __init__(self, names: Sequence[str], most: int) -> None:
        self._names = names
        self._most = most
        self._rows: list[Mapping[str, object]] = []
        self._size = 0
        self._truncated = False

    def add(self, batch: Sequence[Sequence[object]]) -> bool:
        """Takes what fits; says whether to go on."""
        for row in batch:
            values = {name: plain(value) for name, value in zip(self._names, row, strict=True)}
            self._size += len(dumps(values))
            if len(self._rows) == self._most or self._size > limits.EVENT_BODY:
                self._truncated = True
                return False
            self._rows.append(values)
        return bool(batch)

    def rows(self) -> Rows:
        """What was taken."""
        return Rows(self._rows, len(self._rows), self._truncated)


async def _interruptible(connection: AsyncConnection, work: Coroutine[object, object, Rows]) -> Rows:
    """Does `work`. SQLite works in a thread, which does not notice that nobody waits any more: it must be told before
    anything else is asked of it."""
    raw = (await connection.get_raw_connection()).driver_connection
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if isinstance(raw, SqliteConnection):
            await raw.interrupt()
        task.cancel()
        await asyncio.wait((task,))
        raise
