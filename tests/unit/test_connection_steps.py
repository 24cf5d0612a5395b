"""Steps on connections, as far as they are decided when an automation is saved."""

from typing import Any

import pytest
import yaml
from pydantic import ValidationError
from sqlalchemy import text

from headrace.contracts.automation import DocumentError, parse_automation
from headrace.engine import Plan, compile_plan
from headrace.engine.plan import PlannedAwaiting
from headrace.engine.sql.binds import binds, escaped
from headrace.engine.steps import OURS
from headrace.engine.steps.llm_schema import mismatch
from headrace.engine.steps.sql import SqlQueryInputs

pytestmark = pytest.mark.unit

USES = ("sql.query", "mongo.query", "email.send", "llm.prompt")


def plan(*steps: Any) -> Plan:
    document = {"name": "a", "app": "shop", "trigger": {"type": "event", "event": "*"}, "steps": list(steps)}
    return compile_plan(parse_automation(document), 1)


def effect(use: str, **inputs: Any) -> str:
    (step,) = plan({"id": "it", "use": use, "with": {"connection": "c", **inputs}}).steps
    assert isinstance(step, PlannedAwaiting)
    return step.effect


@pytest.mark.parametrize("use", USES)
def test_the_example_of_a_step_is_accepted(use: str) -> None:
    (step,) = plan(*yaml.safe_load(OURS[use].example)).steps
    assert step.use == use


@pytest.mark.parametrize("use", USES)
def test_every_error_is_explained(use: str) -> None:
    assert all(OURS[use].errors.values())
    assert "no_connection" in OURS[use].errors


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1",
        "  select a, b from t where c = :c;  ",
        "-- the late ones\nSELECT 1",
        "/* the late ones */ WITH x AS (SELECT 1) SELECT * FROM x",
        "SHOW server_version",
        "VALUES (1), (2)",
    ],
)
def test_a_statement_that_only_reads_has_no_effect(query: str) -> None:
    inputs: dict[str, Any] = {"parameters": {"c": "{{ trigger.data.c }}"}} if ":c" in query else {}
    assert effect("sql.query", query=query, **inputs) == "none"
    assert effect("sql.query", query=query, writes=True, **inputs) == "at_most_once"


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO t VALUES (1)",
        "WITH gone AS (DELETE FROM t RETURNING *) SELECT * FROM gone",
        "SELECT 1; DELETE FROM t",
        "SELECT 1; DROP TABLE t",
        "SELECT 1 /*! INTO OUTFILE '/tmp/x' */",
        "/*M!100100 DELETE FROM t WHERE a IN ( */ SELECT 1 /*M! ) */",
        "# SELECT\nDROP TABLE t",
        "SELECT * INTO other FROM t",
        "SELECT * FROM t FOR UPDATE",
        "EXPLAIN ANALYZE DELETE FROM t",
        "SELECT '--'; DELETE FROM t",
        "SELECT '/*' ; DELETE FROM t -- */",
        "CALL p()",
        "-- SELECT\nDROP TABLE t",
        "",
        "PRAGMA query_only = OFF",
        "SET default_transaction_read_only = off",
    ],
)
def test_a_doubt_makes_a_statement_one_that_writes(query: str) -> None:
    if not query:
        with pytest.raises(DocumentError):
            effect("sql.query", query=query)
        return
    assert effect("sql.query", query=query) == "at_most_once"


BOTH = pytest.mark.parametrize("mysql", [False, True], ids=["others", "mysql"])


def bound(query: str, mysql: bool) -> set[str]:
    """The binds that SQLAlchemy finds, of which `binds` must tell the same; all else it must send as it is."""
    sent = text(escaped(query, mysql=mysql)).compile()
    assert str(sent).replace(" ::", "::") == query
    assert sent.params.keys() == binds(query, mysql=mysql)
    return set(sent.params)


@BOTH
@pytest.mark.parametrize(
    "query",
    [
        "SELECT a::int, x[:one], :one::int FROM t WHERE b = :one",
        "SELECT '10:30', ':none', 'it''s :none' || :one",
        'SELECT ":none", "a"":none" FROM t WHERE a = :one',
        "SELECT `:none` FROM t WHERE a = :one",
        "SELECT :one -- of :none, it's\n + 1",
        "SELECT /* :none, it's\n :none */ :one",
        "SELECT 'a:b', '::none', x'00' FROM t WHERE a = ':none:' AND b = (:one)",
        "SELECT ':none",
        "SELECT 1 /* :none",
    ],
)
def test_only_what_stands_in_no_text_name_or_comment_is_a_bind(query: str, mysql: bool) -> None:
    assert bound(query, mysql) == ({"one"} if ":one" in query else set())


@pytest.mark.parametrize(
    ("query", "others", "mysql"),
    [
        ("SELECT $$ :a $$, $b$ :c $$ :d $b$", "", "a c d"),
        ("SELECT $1, a$$, :a, b$$", "a", "a"),
        ("SELECT '\\' , :a, '", "a", ""),
        ("SELECT E'it\\'s :a', :b", "b", "b"),
        ("SELECT e # :a", "a", ""),
        ("SELECT 1 --:a", "", "a"),
        ("SELECT 1 /*! + :a */", "", "a"),
    ],
)
def test_a_text_and_a_comment_are_what_the_database_takes_for_them(query: str, others: str, mysql: str) -> None:
    assert binds(query, mysql=False) == set(others.split())
    assert binds(query, mysql=True) == set(mysql.split())


def test_a_bind_that_is_one_to_some_databases_may_be_given_and_may_be_left_out() -> None:
    for parameters in ({}, {"a": 1}):
        SqlQueryInputs.model_validate({"connection": "c", "query": "SELECT 1 # :a", "parameters": parameters})
    with pytest.raises(ValidationError, match="the query has no :b"):
        SqlQueryInputs.model_validate({"connection": "c", "query": "SELECT ':b' # :a", "parameters": {"b": 1}})


@pytest.mark.parametrize(
    ("operation", "inputs", "wanted"),
    [
        ("find", {}, "none"),
        ("count", {}, "none"),
        ("aggregate", {"pipeline": [{"$match": {"a": "{{ trigger.data.a }}"}}]}, "none"),
        ("insert", {"documents": {"a": 1}}, "at_most_once"),
        ("update", {"filter": {}, "update": {"$set": {"a": 1}}}, "at_most_once"),
        ("delete", {"filter": {}}, "at_most_once"),
    ],
)
def test_what_writes_to_mongodb_is_done_at_most_once(operation: str, inputs: dict[str, Any], wanted: str) -> None:
    assert effect("mongo.query", operation=operation, collection="c", **inputs) == wanted


MAIL = {"to": "a@b.c", "text": "x"}
FIND = {"operation": "find", "collection": "c"}


@pytest.mark.parametrize(
    ("use", "inputs", "told"),
    [
        ("sql.query", {"query": "SELECT {{ trigger.data.x }}"}, r"with\.query: .*takes no template.*`:name`"),
        ("sql.query", {"query": "SELECT :a"}, r"has :a, and nothing is given"),
        ("sql.query", {"query": "SELECT 1", "parameters": {"a": 1}}, r"has no :a"),
        ("sql.query", {"query": "SELECT 1", "max_rows": 1001}, r"with\.max_rows: "),
        ("mongo.query", {**FIND, "collection": "{{ trigger.data.c }}"}, r"with\.collection: .*takes no template"),
        ("mongo.query", {**FIND, "operation": "{{ trigger.data.c }}"}, r"with\.operation: .*takes no template"),
        ("mongo.query", {**FIND, "collection": "system.users"}, r"with\.collection: .*MongoDB's own"),
        ("mongo.query", {**FIND, "filter": {"$where": "1"}}, r"JavaScript"),
        ("mongo.query", {**FIND, "operation": "aggregate", "pipeline": [{"$out": "x"}]}, r"\$out writes"),
        ("mongo.query", {**FIND, "operation": "delete"}, r"filter: the operation delete needs it"),
        ("mongo.query", {**FIND, "update": {"$set": {}}}, r"update: the operation find does not take it"),
        ("mongo.query", {**FIND, "operation": "update", "filter": {}, "update": {"a": 1}}, r"operators such as \$set"),
        ("email.send", {"text": "x"}, r"0 recipients"),
        ("email.send", {**MAIL, "to": "nobody"}, r"with\.to: .*ann@example\.org"),
        ("email.send", {"to": "a@b.c"}, r"`text`, `html`"),
        ("email.send", {**MAIL, "attachments": [{"name": "a", "content": "?"}]}, r"with\.attachments\.0: .*Base64"),
        ("email.send", {**MAIL, "attachments": [{"name": "a", "text": "x" * (11 << 20)}]}, r"bytes together"),
        ("email.send", {**MAIL, "to": [f"a{n}@b.c" for n in range(101)]}, r"101 recipients"),
        ("llm.prompt", {"prompt": "x", "messages": [{"role": "user", "content": "y"}]}, r"either"),
        ("llm.prompt", {"prompt": "x", "temperature": 3}, r"with\.temperature"),
    ],
)
def test_what_can_never_work_is_refused_at_save_with_its_place(use: str, inputs: dict[str, Any], told: str) -> None:
    with pytest.raises(DocumentError, match=told) as refused:
        plan({"id": "it", "use": use, "with": {"connection": "c", **inputs}})
    assert str(refused.value).startswith("steps.0.with")


@pytest.mark.parametrize(
    ("value", "schema", "fits"),
    [
        (1, {"type": "integer"}, True),
        (1.0, {"type": "integer"}, True),
        (True, {"type": "integer"}, False),
        (True, {"type": "number"}, False),
        (None, {"type": ["string", "null"]}, True),
        ({}, {}, True),
        ({"a": {"b": 1}}, {"properties": {"a": {"properties": {"b": {"type": "string"}}}}}, False),
        ([[1], ["x"]], {"items": {"items": {"type": "integer"}}}, False),
        ("x", {"type": "colour"}, True),
        ({"a": 1}, {"properties": "nonsense", "required": "nonsense", "items": 5}, True),
    ],
)
def test_an_answer_is_held_to_the_words_of_its_schema_that_are_checked(value: Any, schema: Any, fits: bool) -> None:
    assert (mismatch(value, schema) is None) is fits
