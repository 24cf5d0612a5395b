"""`mongo.query` on a real MongoDB: what it does, and what data cannot make it do."""

from collections.abc import AsyncGenerator
from decimal import Decimal
from typing import Any

import pytest
from pydantic import SecretStr
from pymongo import MongoClient
from single_steps import AT, error, outputs, run_step

from headrace.contracts.runs import StepResult
from headrace.engine.apps import AppConfig
from headrace.engine.connections import MongoConnection
from headrace.settings import Settings
from headrace.storage import AppDatabases

pytestmark = pytest.mark.integration


class Catalogue:
    """The app's connection `catalogue`, and a look at what is really there."""

    def __init__(self, settings: Settings, databases: AppDatabases) -> None:
        connection = MongoConnection(type="mongodb", uri=SecretStr(settings.mongodb), database=settings.prefix)
        self.config = AppConfig(connections={"catalogue": connection})
        self._databases = databases
        self._client: MongoClient[dict[str, Any]] = MongoClient(settings.mongodb)
        self.carriers = self._client[settings.prefix]["carriers"]

    async def do(self, operation: str, data: Any = None, **inputs: Any) -> StepResult:
        with_ = {"connection": "catalogue", "operation": operation, "collection": "carriers", **inputs}
        return await run_step("mongo.query", with_, config=self.config, mongodb=self._databases, data=data)

    def close(self) -> None:
        self._client.close()


@pytest.fixture
async def catalogue(settings: Settings) -> AsyncGenerator[Catalogue]:
    databases = AppDatabases()
    found = Catalogue(settings, databases)
    yield found
    await databases.close()
    found.close()


async def test_documents_are_inserted_found_changed_counted_and_deleted(catalogue: Catalogue) -> None:
    made = await catalogue.do("insert", documents=[{"_id": "UA", "planes": 3}, {"_id": "DL", "planes": 5}])
    assert outputs(made) == {"success": True, "ids": ["UA", "DL"], "inserted": 2}
    changed = await catalogue.do("update", filter={"_id": "UA"}, update={"$inc": {"planes": 1}})
    assert (outputs(changed)["matched"], outputs(changed)["modified"]) == (1, 1)
    found = await catalogue.do(
        "find", filter={"planes": {"$gt": "{{ trigger.data.n }}"}}, sort={"planes": -1}, data={"n": 3}
    )
    assert outputs(found)["documents"] == [{"_id": "DL", "planes": 5}, {"_id": "UA", "planes": 4}]
    summed = await catalogue.do("aggregate", pipeline=[{"$group": {"_id": None, "all": {"$sum": "$planes"}}}])
    assert outputs(summed)["documents"] == [{"_id": None, "all": 9}]
    assert outputs(await catalogue.do("count", filter={}))["count"] == 2
    assert outputs(await catalogue.do("delete", filter={"planes": {"$gte": 4}}, many=True))["deleted"] == 2


async def test_an_upsert_tells_the_new_id(catalogue: Catalogue) -> None:
    step = await catalogue.do("update", filter={"_id": "AA"}, update={"$set": {"planes": 1}}, upsert=True)
    assert (outputs(step)["ids"], outputs(step)["inserted"], outputs(step)["matched"]) == (["AA"], 1, 0)


async def test_object_ids_decimals_and_times_go_there_and_back(catalogue: Catalogue) -> None:
    made = await catalogue.do("insert", documents={"at": "{{ now }}", "big": 1 << 40})
    (id,) = outputs(made)["ids"]
    catalogue.carriers.update_one({}, [{"$set": {"fare": {"$toDecimal": "12.50"}}}])
    found = await catalogue.do("find", filter={"_id": {"$oid": "{{ trigger.data.id }}"}}, data={"id": id})
    assert outputs(found)["documents"] == [{"_id": id, "at": AT, "big": 1 << 40, "fare": Decimal("12.50")}]


async def test_more_than_asked_for_is_cut_and_it_says_so(catalogue: Catalogue) -> None:
    catalogue.carriers.insert_many([{"_id": number} for number in range(3)])
    for found in (await catalogue.do("find", limit=2), await catalogue.do("aggregate", pipeline=[], limit=2)):
        assert (outputs(found)["count"], outputs(found)["truncated"]) == (2, True)
    assert "truncated" not in outputs(await catalogue.do("find", limit=3))


@pytest.mark.parametrize(
    ("operation", "inputs", "data"),
    [
        ("find", {"filter": {"_id": "{{ trigger.data.id }}"}}, {"id": {"$ne": None}}),
        ("find", {"filter": "{{ trigger.data.filter }}"}, {"filter": {"$where": "sleep(1000)"}}),
        ("find", {"filter": "{{ trigger.data.filter }}"}, {"filter": {"a": [{"$gt": ""}]}}),
        ("find", {"filter": {"$expr": {"$eq": ["$_id", "{{ trigger.data.id }}"]}}}, {"id": "$_id"}),
        ("find", {"projection": {"shown": "{{ trigger.data.what }}"}}, {"what": "$password"}),
        ("delete", {"filter": "{{ trigger.data }}", "many": True}, {"_id": {"$exists": True}}),
        ("update", {"filter": {}, "update": {"$set": "{{ trigger.data }}"}}, {"tags.$[]": 1}),
        ("update", {"filter": {}, "update": [{"$set": {"a": "{{ trigger.data.a }}"}}]}, {"a": "$password"}),
        ("insert", {"documents": "{{ trigger.data.rows }}"}, {"rows": [{"a": {"$set": 1}}]}),
        ("aggregate", {"pipeline": "{{ trigger.data.stages }}"}, {"stages": [{"$out": "stolen"}]}),
        ("aggregate", {"pipeline": [{"$project": {"a": "{{ trigger.data.a }}"}}]}, {"a": "$$ROOT"}),
        ("aggregate", {"pipeline": [{"$match": {"a": "{{ trigger.data.a }}"}}]}, {"a": {"$gt": ""}}),
    ],
)
async def test_an_operator_in_data_is_refused_with_its_path(
    catalogue: Catalogue, operation: str, inputs: dict[str, Any], data: Any
) -> None:
    catalogue.carriers.insert_one({"_id": "UA", "password": "hunter2"})
    step = await catalogue.do(operation, data=data, **inputs)
    assert error(step) == ("operator_in_data", False)
    assert "steps.0.with." in step.get("error", {}).get("message", "")
    assert list(catalogue.carriers.find()) == [{"_id": "UA", "password": "hunter2"}]


async def test_operators_as_json_text_are_no_operators(catalogue: Catalogue) -> None:
    step = await catalogue.do("delete", filter="{{ trigger.data.filter }}", data={"filter": '{"_id": {"$ne": 1}}'})
    assert error(step) == ("bad_input", False)


async def test_texts_that_begin_with_a_dollar_are_data_where_they_can_be_nothing_else(catalogue: Catalogue) -> None:
    price = {"price": "$5"}
    made = await catalogue.do("insert", documents={"price": "{{ trigger.data.price }}"}, data=price)
    assert made["status"] == "success", made
    for stages in (
        [{"$match": {"price": "{{ trigger.data.price }}"}}],
        [{"$match": {}}, {"$set": {"price": {"$literal": "{{ trigger.data.price }}"}}}],
    ):
        found = await catalogue.do("aggregate", pipeline=stages, data=price)
        assert [each["price"] for each in outputs(found)["documents"]] == ["$5"]


@pytest.mark.parametrize(
    ("operation", "inputs", "type"),
    [
        ("insert", {"documents": [{"_id": 2}, {"_id": 1}]}, "constraint"),
        ("find", {"filter": {"$nonsense": 1}}, "bad_query"),
        ("aggregate", {"pipeline": [{"$nonsense": {}}]}, "bad_query"),
        ("insert", {"documents": {"n": "{{ 2 ** 70 }}"}}, "bad_value"),
        ("find", {"filter": {"_id": {"$oid": "xyz"}}}, "bad_input"),
    ],
)
async def test_what_mongodb_refuses_is_told_by_its_kind(
    catalogue: Catalogue, operation: str, inputs: dict[str, Any], type: str
) -> None:
    catalogue.carriers.insert_one({"_id": 1})
    assert error(await catalogue.do(operation, **inputs)) == (type, False)


async def test_a_database_that_is_not_there_is_told_without_its_password() -> None:
    uri = SecretStr("mongodb://ann:hunter2-secret@127.0.0.1:1/?serverSelectionTimeoutMS=200")
    config = AppConfig(connections={"db": MongoConnection(type="mongodb", uri=uri, database="x")})
    databases = AppDatabases()
    inputs = {"connection": "db", "operation": "delete", "collection": "c", "filter": {}}
    step = await run_step("mongo.query", inputs, config=config, mongodb=databases)
    assert error(step) == ("connection", True)
    assert "hunter2" not in str(step)
    await databases.close()
