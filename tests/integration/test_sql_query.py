"""`sql.query` on real databases: SQLite in a file, PostgreSQL, and MariaDB in the place of MySQL, of which there is no
server that a test could start without Docker.
"""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Generator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from mariadb_server import mariadb
from pgserver.postgres_server import get_server
from pydantic import SecretStr
from single_steps import AT, error, outputs, run_step

from headrace.contracts.runs import StepResult
from headrace.engine.apps import AppConfig
from headrace.engine.connections import SqlConnection
from headrace.engine.sql.pools import SqlPools

pytestmark = pytest.mark.integration

ALL = pytest.mark.parametrize("kind", ["sqlite", "postgresql", "mysql"])


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    server = get_server(tmp_path_factory.mktemp("postgres"))
    yield server.get_uri()
    server.cleanup()


@pytest.fixture(scope="module")
def mysql(tmp_path_factory: pytest.TempPathFactory) -> Generator[str]:
    with mariadb(tmp_path_factory.mktemp("mariadb")) as url:
        yield url


class Database:
    """The app's connections `db` and, read-only, `view` to one database with the table `flights`."""

    def __init__(self, url: str, pools: SqlPools) -> None:
        self.pools = pools
        self.config = AppConfig(
            connections={
                "db": SqlConnection(type="sql", url=SecretStr(url), timeout=10),
                "view": SqlConnection(type="sql", url=SecretStr(url), read_only=True, pool=1),
                "hasty": SqlConnection(type="sql", url=SecretStr(url), timeout=0.3, pool=1),
            }
        )

    async def query(self, query: str, connection: str = "db", data: Any = None, **inputs: Any) -> StepResult:
        with_ = {"connection": connection, "query": query, **inputs}
        return await run_step("sql.query", with_, config=self.config, sql=self.pools, data=data)

    async def numbers(self) -> list[int]:
        found = await self.query("SELECT number FROM flights ORDER BY number")
        return [row["number"] for row in outputs(found)["rows"]]


TEXTS = {"sqlite": "TEXT", "postgresql": "TEXT", "mysql": "LONGTEXT"}
TIMES = {"sqlite": "TIMESTAMP", "postgresql": "TIMESTAMP", "mysql": "DATETIME"}


@pytest.fixture
async def database(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncGenerator[Database]:
    if kind == "sqlite":
        url = f"sqlite:///{tmp_path}/flights.db"
    else:
        url = request.getfixturevalue("postgres" if kind == "postgresql" else kind)
    pools = SqlPools()
    found = Database(url, pools)
    for statement in (
        "DROP TABLE IF EXISTS flights",
        "CREATE TABLE flights (number INTEGER PRIMARY KEY, fare NUMERIC(8, 2), "
        f"carrier {TEXTS[kind]}, leaves {TIMES[kind]})",
    ):
        made = await found.query(statement)
        assert made["status"] == "success", made
    yield found
    await pools.close()


@ALL
async def test_what_is_written_is_read_again(database: Database) -> None:
    made = await database.query(
        "INSERT INTO flights (number, carrier) VALUES (:number, :carrier)",
        parameters={"number": "{{ trigger.data.number }}", "carrier": "{{ trigger.data.carrier }}"},
        data={"number": 11, "carrier": "'); DROP TABLE flights; --"},
    )
    assert (made["status"], outputs(made)["row_count"]) == ("success", 1), made
    found = await database.query("SELECT number, carrier FROM flights WHERE number = :n", parameters={"n": 11})
    assert outputs(found)["rows"] == [{"number": 11, "carrier": "'); DROP TABLE flights; --"}]
    assert outputs(found)["row_count"] == 1
    assert "truncated" not in outputs(found)


@ALL
async def test_a_statement_with_returning_gives_its_rows_and_is_committed(database: Database) -> None:
    made = await database.query("INSERT INTO flights (number) VALUES (1), (2) RETURNING number")
    assert outputs(made)["rows"] == [{"number": 1}, {"number": 2}]
    assert await database.numbers() == [1, 2]


@ALL
async def test_a_list_is_the_right_side_of_in(database: Database) -> None:
    await database.query("INSERT INTO flights (number) VALUES (1), (2), (3)")
    found = await database.query(
        "SELECT number FROM flights WHERE number IN :few",
        parameters={"few": "{{ trigger.data.few }}"},
        data={"few": [1, 3]},
    )
    assert outputs(found)["row_count"] == 2


QUOTED = {
    "sqlite": "SELECT ':a' AS text, :n AS n /* :b, it's */ -- :c",
    "postgresql": "SELECT ':a' || $$$$ || $t$$t$ AS text, :n::integer AS n /* :b, it's */ -- :c",
    "mysql": "SELECT ':a' AS text, :n AS n /* :b, it's */ # :c",
}
ESCAPED = {"sqlite": "'\\'", "postgresql": "'\\'", "mysql": "'\\''"}


@ALL
async def test_a_colon_in_a_text_or_a_comment_is_no_bind(database: Database, kind: str) -> None:
    found = await database.query(QUOTED[kind], parameters={"n": 7})
    assert outputs(found)["rows"] == [{"text": ":a", "n": 7}], found
    found = await database.query(
        f"SELECT number FROM flights WHERE carrier = {ESCAPED[kind]} AND number = :n", parameters={"n": 7}
    )
    assert outputs(found)["rows"] == [], found
    other = "'\\' :n -- '" if kind == "mysql" else "'\\', ':n'"
    refused = await database.query(f"SELECT {other}", parameters={"n": 7})
    assert error(refused) == ("bad_input", False)
    assert "the query has no :n" in str(refused.get("error"))


@ALL
async def test_more_rows_than_asked_for_are_cut_and_it_says_so(database: Database) -> None:
    await database.query("INSERT INTO flights (number) VALUES (1), (2), (3)")
    found = await database.query("SELECT number FROM flights ORDER BY number", max_rows=2)
    assert (outputs(found)["rows"], outputs(found)["truncated"]) == ([{"number": 1}, {"number": 2}], True)


@ALL
async def test_rows_that_are_too_large_together_are_cut(database: Database) -> None:
    await database.query("INSERT INTO flights (number, carrier) VALUES (1, :long), (2, :long)",
                         parameters={"long": "{{ 'x' * 700000 }}"})  # fmt: skip
    found = await database.query("SELECT carrier FROM flights")
    assert (outputs(found)["row_count"], outputs(found)["truncated"]) == (1, True)


@ALL
@pytest.mark.parametrize(
    ("query", "type"),
    [
        ("SELECT nowhere FROM flights", "bad_statement"),
        ("SELEC 1", "bad_statement"),
        ("INSERT INTO flights (number) VALUES (7)", "constraint"),
    ],
)
async def test_what_the_database_refuses_is_told_by_its_kind(database: Database, query: str, type: str) -> None:
    await database.query("INSERT INTO flights (number) VALUES (7)")
    assert error(await database.query(query)) == (type, False)


@ALL
async def test_a_connection_that_only_reads_takes_no_write_and_stays_usable(database: Database) -> None:
    for query in ("INSERT INTO flights (number) VALUES (8)", "DELETE FROM flights"):
        assert error(await database.query(query, connection="view")) == ("read_only", False)
    assert outputs(await database.query("SELECT 1 AS one", connection="view"))["rows"] == [{"one": 1}]
    assert await database.numbers() == []


@ALL
async def test_a_bind_without_a_value_is_named_before_anything_is_sent(database: Database) -> None:
    step = await database.query("DELETE FROM flights WHERE number = :n", parameters="{{ trigger.data }}")
    assert error(step) == ("bad_input", False)
    assert ":n" in step.get("error", {}).get("message", "")


ENDLESS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) AS c FROM n",
    "postgresql": "SELECT pg_sleep(600)",
    "mysql": "SELECT count(*) AS c FROM information_schema.columns a, information_schema.columns b, "
    "information_schema.columns c",
}


@ALL
async def test_a_statement_without_end_is_ended_and_its_connection_serves_again(database: Database, kind: str) -> None:
    assert error(await database.query(ENDLESS[kind], connection="hasty")) == ("timeout", True)
    again = await database.query("SELECT 1 AS one", connection="hasty")
    assert again["status"] == "success", again


@pytest.mark.parametrize("kind", ["postgresql"])
async def test_a_statement_nobody_waits_for_ends_on_the_server_too(database: Database) -> None:
    await database.query("SELECT pg_sleep(600)", connection="hasty")
    running = "SELECT count(*) AS n FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)' AND state = 'active'"
    deadline = asyncio.get_running_loop().time() + 30
    while outputs(await database.query(running))["rows"] != [{"n": 0}]:
        assert asyncio.get_running_loop().time() < deadline, "it still runs"
        await asyncio.sleep(0.05)  # another process's state: there is nothing here to await


@ALL
async def test_statements_beyond_the_pool_wait_for_their_turn(database: Database) -> None:
    steps = await asyncio.gather(*(database.query("SELECT 1 AS one", connection="view") for _ in range(8)))
    assert [step["status"] for step in steps] == ["success"] * 8


@pytest.mark.parametrize("kind", ["postgresql"])
async def test_decimals_and_times_keep_their_types(database: Database) -> None:
    made = await database.query(
        "INSERT INTO flights (number, fare, leaves) VALUES (1, 12.50, CAST(:at AS timestamptz) AT TIME ZONE 'UTC')",
        parameters={"at": "{{ now }}"},
    )
    assert made["status"] == "success", made
    found = await database.query(
        "SELECT fare, leaves, leaves AT TIME ZONE 'UTC' AS at, '{1,2}'::int[] AS list, "
        "CAST('7d0f5a3e-5f0b-5c1e-9a53-2d8f2f1f6a10' AS uuid) AS id, CAST(:big AS bigint) AS big FROM flights",
        parameters={"big": 1 << 40},
    )
    assert outputs(found)["rows"] == [
        {
            "fare": Decimal("12.50"),
            "leaves": datetime(2013, 1, 1, 8, 30),  # noqa: DTZ001
            "at": AT,
            "list": [1, 2],
            "id": "7d0f5a3e-5f0b-5c1e-9a53-2d8f2f1f6a10",
            "big": 1 << 40,
        }
    ]
    assert AT.tzinfo is UTC


@pytest.mark.parametrize("kind", ["postgresql"])
async def test_a_select_whose_function_writes_is_refused_until_the_author_says_so(database: Database) -> None:
    await database.query("DROP SEQUENCE IF EXISTS tickets")
    await database.query("CREATE SEQUENCE tickets")
    assert error(await database.query("SELECT nextval('tickets') AS n")) == ("read_only", False)
    drawn = await database.query("SELECT nextval('tickets') AS n", writes=True)
    assert outputs(drawn)["rows"] == [{"n": 1}]
    assert error(await database.query("SELECT nextval('tickets')", connection="view", writes=True))[0] == "read_only"


@ALL
@pytest.mark.parametrize("first", ["SELECT 1", "DELETE FROM flights", "COMMIT"])
async def test_two_statements_in_one_are_refused_and_neither_is_done(database: Database, first: str) -> None:
    await database.query("INSERT INTO flights (number) VALUES (1)")
    for connection in ("db", "view"):
        step = await database.query(f"{first}; DELETE FROM flights", connection)
        assert error(step)[0] == "bad_statement" or (connection, error(step)[0]) == ("view", "read_only"), step
    assert await database.numbers() == [1]


BAD_VALUES = [
    ("INSERT INTO flights (number) VALUES (:v)", "hunter2"),
    ("INSERT INTO flights (number) VALUES (:v)", {"hunter2": 1}),
    ("INSERT INTO flights (number) VALUES (:v)", "{{ 9223372036854775807 * 1000 }}"),
    ("INSERT INTO flights (number, carrier) VALUES (1, :v)", "hunter2 \0"),
    ("SELECT number FROM flights WHERE number IN :v", list(range(1_001))),
]
BAD_FOR_STRICT_TYPES = [
    ("INSERT INTO flights (number) VALUES (:v)", 1 << 40),
    ("INSERT INTO flights (number, fare) VALUES (1, :v)", "hunter2"),
    ("INSERT INTO flights (number, fare) VALUES (1, :v)", 123456789012.5),
    ("INSERT INTO flights (number, fare) VALUES (1, :v)", "{{ trigger.data.infinite }}"),
    ("INSERT INTO flights (number, leaves) VALUES (1, :v)", "hunter2"),
    ("INSERT INTO flights (number) VALUES (:v)", "{{ now }}"),
]


@ALL
async def test_a_value_that_the_database_cannot_take_is_told_as_that_and_not_quoted(
    database: Database, kind: str
) -> None:
    # SQLite's columns take what does not fit their types.
    for query, value in BAD_VALUES + (BAD_FOR_STRICT_TYPES if kind != "sqlite" else []):
        step = await database.query(query, parameters={"v": value}, data={"infinite": float("inf")})
        assert error(step) == ("bad_value", False), step
        assert "hunter2" not in str(step.get("error"))
    assert await database.numbers() == []


@pytest.mark.parametrize("kind", ["mysql"])
@pytest.mark.parametrize(
    "query",
    [
        "DROP TABLE flights",
        "CREATE TABLE others (number INTEGER)",
        "COMMIT",
        "SET SESSION TRANSACTION READ WRITE",
        "BEGIN NOT ATOMIC SET SESSION TRANSACTION READ WRITE; DELETE FROM flights; COMMIT; END",
        "/*M! BEGIN NOT ATOMIC SET SESSION TRANSACTION READ WRITE; DELETE FROM flights; */ SELECT 1 /*M!; END */",
        "/*M! DELETE FROM flights WHERE 1 IN ( */ SELECT 1 /*M! ) */",
        "# SELECT\nDELETE FROM flights",
    ],
)
async def test_a_mysql_connection_that_only_reads_cannot_be_talked_out_of_it(database: Database, query: str) -> None:
    await database.query("INSERT INTO flights (number) VALUES (1)")
    for _ in range(2):
        assert error(await database.query(query, "view")) == ("read_only", False)
    assert await database.numbers() == [1]
    assert error(await database.query("SELECT number FROM others"))[0] == "bad_statement"


@pytest.mark.parametrize("kind", ["mysql"])
async def test_what_mysql_says_of_a_statement_does_not_quote_its_parameters(database: Database) -> None:
    step = await database.query("SELECT number FROM flights LIMIT :v", parameters={"v": "hunter2"})
    assert error(step) == ("bad_statement", False)
    assert "hunter2" not in str(step.get("error"))
    plain = await database.query("SELEC number FROM flights")
    assert "SELEC number" in str(plain.get("error"))


@pytest.mark.parametrize("kind", ["mysql"])
async def test_mysql_reads_no_file_of_the_worker(database: Database, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("7\n")
    step = await database.query(f"LOAD DATA LOCAL INFILE '{tmp_path}/secret' INTO TABLE flights")
    assert error(step) == ("bad_statement", False)
    assert await database.numbers() == []


@pytest.mark.parametrize("kind", ["mysql"])
async def test_mysqls_decimals_and_times_keep_their_types(database: Database) -> None:
    made = await database.query(
        "INSERT INTO flights (number, fare, leaves) VALUES (1, 12.50, :at)", parameters={"at": "{{ now }}"}
    )
    assert made["status"] == "success", made
    found = await database.query(
        "SELECT fare, leaves, CAST(:big AS SIGNED) AS big FROM flights", parameters={"big": 1 << 40}
    )
    # MySQL keeps no zone: the time is that of UTC.
    leaves = datetime(2013, 1, 1, 8, 30)  # noqa: DTZ001
    assert outputs(found)["rows"] == [{"fare": Decimal("12.50"), "leaves": leaves, "big": 1 << 40}]


@pytest.mark.parametrize("kind", ["mysql"])
async def test_a_select_into_a_variable_has_no_rows(database: Database) -> None:
    step = await database.query("SELECT 1 INTO @one", "view")
    assert (step["status"], outputs(step)["rows"]) == ("success", []), step


@pytest.mark.parametrize("kind", ["mysql"])
async def test_a_write_whose_mysql_connection_is_lost_is_of_unknown_outcome(database: Database) -> None:
    assert error(await database.query("KILL CONNECTION_ID()"))[0] in ("unknown_outcome", "timeout")
    assert (await database.query("SELECT 1 AS one"))["status"] == "success"


@pytest.mark.parametrize("kind", ["postgresql"])
async def test_a_write_whose_connection_is_lost_is_of_unknown_outcome_and_a_read_may_be_tried_again(
    database: Database,
) -> None:
    cut = "SELECT pg_terminate_backend(pg_backend_pid())"
    assert error(await database.query(cut, writes=True)) == ("unknown_outcome", False)
    assert error(await database.query(cut)) == ("connection", True)
    assert (await database.query("SELECT 1 AS one"))["status"] == "success"


@pytest.mark.parametrize("kind", ["postgresql"])
async def test_a_value_that_does_not_fit_is_the_parameters_fault_and_is_not_quoted(database: Database) -> None:
    step = await database.query("SELECT CAST(:n AS int) AS n", parameters={"n": "not-a-number"})
    assert error(step) == ("bad_value", False)
    assert "not-a-number" not in str(step.get("error"))


@pytest.mark.parametrize("kind", ["sqlite"])
async def test_sqlite_that_is_locked_by_another_is_worth_another_try(database: Database, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "flights.db")
    other.execute("BEGIN EXCLUSIVE")
    step = await database.query("INSERT INTO flights (number) VALUES (1)", connection="hasty")
    other.rollback()
    other.close()
    assert step.get("error", {}).get("type") in ("conflict", "unknown_outcome"), step


@pytest.mark.parametrize(("user", "name"), [("ann:wrong-hunter2", "test"), ("ann:hunter2-secret", "nowhere")])
async def test_mysql_that_does_not_let_one_in_is_told_without_the_password(mysql: str, user: str, name: str) -> None:
    host = mysql.partition("@")[2].partition("/")[0]
    url = SecretStr(f"mysql://{user}@{host}/{name}")
    pools, config = SqlPools(), AppConfig(connections={"db": SqlConnection(type="sql", url=url)})
    step = await run_step("sql.query", {"connection": "db", "query": "SELECT 1"}, config=config, sql=pools)
    assert error(step) == ("connection", False)
    assert "hunter2" not in str(step)
    await pools.close()


@pytest.mark.parametrize("scheme", ["postgresql", "mysql"])
async def test_a_database_that_is_not_there_is_told_without_its_password(scheme: str) -> None:
    url = SecretStr(f"{scheme}://ann:hunter2-secret@127.0.0.1:1/x")
    config = AppConfig(connections={"db": SqlConnection(type="sql", url=url)})
    pools = SqlPools()
    step = await run_step("sql.query", {"connection": "db", "query": "UPDATE x SET a = 1"}, config=config, sql=pools)
    assert error(step) == ("connection", True)
    assert "hunter2" not in str(step)
    await pools.close()


async def test_a_connection_of_another_app_is_out_of_reach() -> None:
    config = AppConfig(connections={"db": SqlConnection(type="sql", url=SecretStr("sqlite:///x.db"))})
    pools = SqlPools()
    inputs = {"connection": "db", "query": "SELECT 1"}
    step = await run_step("sql.query", inputs, config=config, sql=pools, app="other")
    assert error(step) == ("no_connection", False)


@pytest.mark.parametrize("kind", ["sqlite"])
@pytest.mark.parametrize("connection", ["db", "view"])
@pytest.mark.parametrize("query", ["ATTACH DATABASE '{path}' AS other", "VACUUM INTO '{path}'"])
async def test_sqlite_stays_in_the_file_that_is_configured(
    database: Database, tmp_path: Path, query: str, connection: str
) -> None:
    other = tmp_path / "other.db"
    done = await database.query(query.format(path=other), connection=connection)
    assert done["status"] == "error"
    assert not other.exists()
    again = await database.query("SELECT count(*) AS n FROM flights", connection=connection)
    assert outputs(again)["rows"] == [{"n": 0}]


@pytest.mark.parametrize("kind", ["sqlite"])
async def test_sqlite_makes_no_giant_of_a_value(database: Database) -> None:
    done = await database.query("SELECT zeroblob(900000000) AS z")
    assert done["status"] == "error"
