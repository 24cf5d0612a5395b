"""Tables and rows over HTTP, on a real MongoDB."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import orjson
import pytest
from conftest import Installation
from gateway_support import APP, Answer, Client, client_of, key_of

from headrace.embedded import Supervisor
from headrace.settings import Settings

pytestmark = pytest.mark.integration

TABLES = f"/api/v1/apps/{APP}/tables"
ROWS = f"{TABLES}/tickets/rows"
TICKETS = {
    "columns": {
        "subject": {"type": "text", "required": True},
        "hours": "number",
        "open": "boolean",
        "due": "time",
        "tags": "array",
        "zip": "any",
    }
}


@pytest.fixture
def gateway(topics: Settings, start_services: Callable[[Settings, Sequence[str]], Supervisor]) -> Installation:
    return Installation(topics, start_services(topics, ("gateway",)))


@pytest.fixture
def editor(gateway: Installation) -> Client:
    return client_of(gateway, key_of(gateway, "editor"))


def put(client: Client, path: str, value: object, **headers: str) -> Answer:
    sent = {name.replace("_", "-"): each for name, each in headers.items()}
    return client.call("PUT", path, orjson.dumps(value), {"Content-Type": "application/json", **sent})


def patch(client: Client, path: str, value: object, **headers: str) -> Answer:
    sent = {name.replace("_", "-"): each for name, each in headers.items()}
    return client.call("PATCH", path, orjson.dumps(value), {"Content-Type": "application/json", **sent})


def post(client: Client, path: str, value: object, **headers: str) -> Answer:
    return client.post(path, value, **{name.replace("_", "-"): each for name, each in headers.items()})


def fields(answer: Answer) -> list[str]:
    return [each["field"] for each in answer.json["errors"]]


def test_a_table_is_defined_seen_changed_by_revision_and_taken_away(editor: Client) -> None:
    path = f"{TABLES}/tickets"
    assert editor.get(path).problem == "not_found"
    made = put(editor, path, TICKETS, If_None_Match="*")
    assert (made.status, made.headers["etag"], made.json["misfits"]) == (201, '"1"', [])
    assert put(editor, path, TICKETS).status == 200, "the same again changes nothing"
    assert put(editor, path, TICKETS, If_None_Match="*").problem == "changed"
    more = {"columns": {**TICKETS["columns"], "more": "any"}}
    assert put(editor, path, more, If_Match='"2"').problem == "changed"
    assert put(editor, path, more, If_Match='"1"').headers["etag"] == '"2"'
    assert [(each["name"], each["revision"]) for each in editor.get(TABLES).json["tables"]] == [("tickets", 2)]
    wrong = put(editor, path, {"columns": {"a": "txt", "_b": "text"}, "app": "bank"})
    assert (wrong.problem, fields(wrong)) == ("bad_table", ["app"])
    wrong = put(editor, path, {"columns": {"a": "txt", "_b": "text"}})
    assert (wrong.problem, fields(wrong)) == ("bad_table", ["columns.a", "columns._b"])
    assert put(editor, path, [1]).problem == "bad_shape"
    assert put(editor, f"{TABLES}/Wrong%20name", TICKETS).problem == "bad_name"
    assert editor.call("DELETE", path, headers={"If-Match": '"1"'}).problem == "changed"
    assert editor.call("DELETE", path).status == 204
    assert editor.call("DELETE", path).problem == "not_found"


def test_a_row_is_created_once_read_changed_only_as_it_was_seen_and_deleted(editor: Client) -> None:
    put(editor, f"{TABLES}/tickets", TICKETS)
    row = {"subject": "late", "hours": 1.5, "due": "2013-01-01T00:00:00+01:00", "tags": ["a"]}
    made = post(editor, ROWS, row, Idempotency_Key="k1")
    assert made.status == 201
    assert made.json == {"_id": made.json["_id"], **row, "due": "2012-12-31T23:00:00Z"}
    again = post(editor, ROWS, row, Idempotency_Key="k1")
    assert (again.status, again.json) == (200, made.json)
    path = made.headers["location"]
    seen = editor.get(path)
    assert (seen.json, seen.headers["etag"]) == (made.json, made.headers["etag"])
    kept = editor.get(path, **{"If-None-Match": seen.headers["etag"]})
    assert (kept.status, kept.body) == (304, b"")
    changed = patch(editor, path, {"hours": 2, "tags": None}, If_Match=seen.headers["etag"])
    assert changed.json == {"_id": made.json["_id"], "subject": "late", "hours": 2, "due": "2012-12-31T23:00:00Z"}
    assert patch(editor, path, {"hours": 3}, If_Match=seen.headers["etag"]).problem == "changed"
    assert editor.call("DELETE", path, headers={"If-Match": seen.headers["etag"]}).problem == "changed"
    assert editor.call("DELETE", path, headers={"If-Match": changed.headers["etag"]}).status == 204
    assert [editor.get(path).problem, patch(editor, path, {"hours": 1}).problem] == ["not_found"] * 2
    assert editor.call("DELETE", path).problem == "not_found"


def test_of_many_who_change_a_row_as_they_saw_it_one_does(editor: Client) -> None:
    made = post(editor, ROWS, {"_id": "a/b c", "n": 0})
    assert made.headers["location"] == f"{ROWS}/a%2Fb%20c"
    path, tag = made.headers["location"], made.headers["etag"]
    with ThreadPoolExecutor(8) as pool:
        done = [*pool.map(lambda n: patch(editor, path, {"n": n}, If_Match=tag).status, range(1, 9))]
    assert sorted(done) == [200, *[412] * 7]
    assert editor.get(path).json["n"] == done.index(200) + 1


def test_what_does_not_fit_is_refused_with_its_columns(editor: Client) -> None:
    put(editor, f"{TABLES}/tickets", TICKETS)
    refused = post(editor, ROWS, {"hours": "x", "due": "tomorrow", "colour": 1})
    assert refused.problem == "row_refused"
    for told in ("'subject' must be given", "'hours': expected number", "'due': expected time", "no column 'colour'"):
        assert told in refused.json["detail"]
    wrong = post(editor, ROWS, {"$where": 1})
    assert (wrong.problem, fields(wrong)) == ("bad_row", ["$where"])
    assert fields(post(editor, ROWS, {"_origin": "x", "subject": "s"})) == ["_origin"]
    assert fields(post(editor, ROWS, {"_id": [7], "subject": "s"})) == ["_id"]
    assert post(editor, ROWS, [1]).problem == "bad_row"
    assert post(editor, ROWS, {"_id": "1", "subject": "s"}).status == 201
    assert post(editor, ROWS, {"_id": "1", "subject": "t"}).problem == "row_exists"
    assert post(editor, ROWS, {"subject": "s"}, Idempotency_Key="k" * 300).problem == "bad_header"
    assert post(editor, f"/api/v1/apps/{APP}/tables/Bad.name/rows", {"a": 1}).problem == "bad_name"


def test_rows_are_queried_page_by_page(editor: Client) -> None:
    for number in range(7):
        post(editor, ROWS, {"_id": f"r{number}", "n": number, "even": number % 2 == 0})
    asked: dict[str, Any] = {"filter": {"all": [{"field": "even", "op": "eq", "value": True}]}, "limit": 3}
    asked["sort"] = [{"column": "n", "desc": True}]
    first = editor.post(f"{ROWS}/query", asked).json
    assert "cursor" in first, first
    second = editor.post(f"{ROWS}/query", {**asked, "cursor": first["cursor"]}).json
    assert [row["n"] for row in first["rows"] + second["rows"]] == [6, 4, 2, 0]
    assert second["cursor"] is None
    first = editor.get(f"{ROWS}?limit=4").json
    rest = editor.get(f"{ROWS}?limit=4&cursor={first['cursor']}").json
    assert [row["_id"] for row in first["rows"] + rest["rows"]] == [f"r{number}" for number in range(7)]
    for wrong, field in (
        ({"filter": {"all": [{"field": "n", "op": "like"}]}}, "filter.all.0"),
        ({"sort": [{"column": "$n"}]}, "sort.0.column"),
        ({"limit": 0}, "limit"),
        ({"cursor": "x"}, "cursor"),
        ({"where": "1"}, "where"),
    ):
        answer = editor.post(f"{ROWS}/query", wrong)
        assert answer.status == 422, answer.body
        assert fields(answer)[0].startswith(field), answer.json
    assert fields(editor.get(f"{ROWS}?limit=x")) == ["query.limit"]


def test_rows_are_imported_each_by_itself_and_the_same_import_again_makes_none_twice(editor: Client) -> None:
    put(editor, f"{TABLES}/tickets", TICKETS)
    lines = [
        "_id,subject,hours,open,due,tags,zip",
        'a,first,1.5,true,2013-01-01,"[1, 2]",01234',
        "b,,2,false,,,",
        "c,third,many,maybe,,,",
        "d,fourth,,,,,",
        "e,short",
        ",no id,1,,,,",
    ]

    def imported(body: str, kind: str) -> Any:
        headers = {"Content-Type": kind, "Idempotency-Key": "import"}
        answer = editor.call("POST", f"{ROWS}/import", body, headers)
        assert answer.status == 200, answer.body
        return answer.json

    done = imported("\r\n".join(lines), "text/csv; charset=utf-8")
    assert (done["created"], done["known"], done["refused"]) == (3, 0, 3)
    assert [each["line"] for each in done["errors"]] == [3, 4, 6]
    assert "'subject' must be given" in done["errors"][0]["message"]
    assert "'hours': expected number" in done["errors"][1]["message"]
    assert "'open': expected boolean" in done["errors"][1]["message"]
    assert "fewer" in done["errors"][2]["message"]
    assert editor.get(f"{ROWS}/a").json == {
        "_id": "a", "subject": "first", "hours": 1.5, "open": True, "due": "2013-01-01T00:00:00Z", "tags": [1, 2],
        "zip": "01234",
    }  # fmt: skip
    assert imported("\r\n".join(lines), "text/csv") == {**done, "created": 0, "known": 3}
    done = imported('{"subject": "x"}\n\n{"subject": 1}\nnonsense\n[1]\n', "application/x-ndjson")
    assert (done["created"], [each["line"] for each in done["errors"]]) == (1, [3, 4, 5])
    for body, kind, problem in (
        ("a,a\n1,2", "text/csv", "bad_csv"),
        ('a\n"open', "text/csv", "bad_csv"),
        ("", "text/csv", "bad_csv"),
        ("x", "text/plain", "content_type"),
        ("a\n" + "1\n" * 10_001, "text/csv", "over_limit"),
    ):
        assert editor.call("POST", f"{ROWS}/import", body, {"Content-Type": kind}).problem == problem


def test_each_role_may_what_it_may_and_other_apps_are_out_of_reach(gateway: Installation, editor: Client) -> None:
    post(editor, ROWS, {"_id": "1", "secret": "ours"})
    viewer, operator = (client_of(gateway, key_of(gateway, role)) for role in ("viewer", "operator"))
    other = client_of(gateway, key_of(gateway, "admin", "bank"))
    assert viewer.get(f"{ROWS}/1").status == 200
    assert viewer.post(ROWS, {"a": 1}).problem == "forbidden"
    assert operator.post(ROWS, {"a": 1}).status == 201
    assert put(operator, f"{TABLES}/tickets", TICKETS).problem == "forbidden"
    for answer in (
        other.get(f"{ROWS}/1"),
        other.get(TABLES),
        other.post(f"{ROWS}/query", {}),
        other.call("DELETE", f"{ROWS}/1"),
        other.call("POST", f"{ROWS}/import", "a\n1", {"Content-Type": "text/csv"}),
    ):
        assert answer.problem == "forbidden"
    audited = orjson.loads(gateway.headrace("audit", "--json").stdout)
    assert all(each["by"].startswith("key ") or each["by"] == "test" for each in audited)
