"""Several automations at once: all of them go live, or it is said which did, and doing it again is safe."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._resource import ResourceType
from conftest import Installation
from pydantic import SecretStr
from pymongo import MongoClient
from yarl import URL

from headrace import applying
from headrace.applying import PartlyApplied
from headrace.chaos.proxy import Proxy
from headrace.contracts.automation import Automation, DocumentError, parse_automation
from headrace.contracts.topics import AUTOMATIONS
from headrace.documents import checked
from headrace.engine import PlatformUnavailable
from headrace.settings import Settings, load_settings
from headrace.storage import Saved, Storage

pytestmark = pytest.mark.integration


def automation(name: str, size: int = 1) -> Automation:
    trigger = {"type": "event", "event": "hello"}
    return parse_automation(
        {"name": name, "app": "shop", "trigger": trigger, "steps": [{"id": "x", "collect": "x" * size}]}
    )


def interrupted(storage: Storage, count: int, then: Callable[[], object]) -> Storage:
    """The storage, with `then` happening once it has saved so many automations."""
    saves, save = 0, storage.automations.save

    async def counted(automation: Automation, by: str, revision: int | None = None) -> Saved:
        nonlocal saves
        found = await save(automation, by, revision)
        saves += 1
        if saves == count:
            then()
        return found

    storage.automations.save = counted  # pyright: ignore[reportAttributeAccessIssue]
    return storage


def saved(settings: Settings) -> dict[str, int]:
    with MongoClient[Any](settings.mongodb) as client:
        return {each["_id"]: each["version"] for each in client[settings.prefix]["automations"].find()}


async def test_what_is_live_is_told_where_mongodb_goes_away_half_way_and_applying_again_completes_it(
    topics: Settings, storage: Storage
) -> None:
    proxy = Proxy()
    proxy.to(URL(topics.mongodb).port or 27017)
    uri = SecretStr(f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true")
    through = topics.model_copy(update={"mongodb_uri": uri})
    behind = Storage(through)
    try:
        cut = interrupted(behind, 1, lambda: proxy.be("cut"))
        with pytest.raises(PartlyApplied) as told:
            await applying.apply(through, cut, [automation(name) for name in "abc"], "test")
    finally:
        behind.close()
        proxy.close()
    assert "MongoDB is away" in str(told.value)
    assert "shop/a saved but not live yet; shop/b, shop/c not saved; apply again" in str(told.value)
    assert saved(topics) == {"shop/a": 1}
    done = await applying.apply(topics, storage, [automation(name) for name in "abc"], "test")
    assert [(each.live.document.id, each.live.version, each.changed) for each in done] == [
        ("shop/a", 1, False), ("shop/b", 1, True), ("shop/c", 1, True),
    ]  # fmt: skip


async def test_what_is_live_is_told_where_kafka_takes_some_only(topics: Settings, storage: Storage) -> None:
    topic = AUTOMATIONS.full_name(topics.prefix)

    def take_small_ones_only() -> None:
        entry = ConfigEntry("max.message.bytes", "5000", incremental_operation=AlterConfigOpType.SET)
        admin = AdminClient({**topics.kafka})
        for altered in admin.incremental_alter_configs(
            [ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])]
        ).values():
            altered.result(10)

    # Of one partition: what is sent together with the large one may be refused with it.
    large = automation("large", 100_000)
    small = [automation(f"small-{number}") for number in range(20)]
    with pytest.raises(PartlyApplied) as told:
        await applying.apply(topics, interrupted(storage, 21, take_small_ones_only), [large, *small], "test")
    live, _, left = str(told.value).partition("published; ")
    assert "shop/large" in left
    assert "shop/small" in live
    assert "saved but not live yet; apply again" in left
    assert len(saved(topics)) == 21


async def test_nothing_is_saved_where_kafka_is_away_or_has_not_the_topic(settings: Settings, storage: Storage) -> None:
    with pytest.raises(Exception, match=r"automations is missing"):
        await applying.apply(settings, storage, [automation("a")], "test")
    away = load_settings(**{**settings.model_dump(), "kafka_bootstrap_servers": "127.0.0.1:1"})
    with pytest.raises(PlatformUnavailable, match="Kafka is away"):
        await applying.apply(away, storage, [automation("a")], "test")
    assert saved(settings) == {}


def test_of_several_documents_none_goes_live_if_one_holds_what_cannot_be_stored(
    installation: Installation, tmp_path: Path
) -> None:
    head = "app: shop\ntrigger: {type: event, event: hello}\nsteps: [{id: x, collect: "
    file = tmp_path / "a.yaml"
    file.write_text(f"name: a\n{head}1}}]\n---\nname: b\n{head}{{y: [{1 << 63}]}}}}]\n")
    done = installation.headrace("apply", "-f", str(file))
    assert done.returncode == 1
    assert done.stderr == (
        f"{file}:9:31: steps.0.collect.y.0: a whole number beyond 64 bits cannot be kept exactly; "
        "quote it to have it as text\n"
    )
    assert saved(installation.settings) == {}


NAMES = ["$ref", "$id", "$where", "a.b", "", ".", "$", "_id", "__proto__", "\N{GRINNING FACE}", "\x01"]
VALUES = [(1 << 63) - 1, -(1 << 63), 1e308, 5e-324, -0.0, "\0", "\ufffe", "x" * 10_000, None, True, [[[[]]]], {}]


async def test_whatever_is_accepted_mongodb_holds_and_gives_back(topics: Settings, storage: Storage) -> None:
    collect = {**dict.fromkeys(NAMES, VALUES), "$ref": "x", "$id": 1, "nested": {"$ref": "x", "$id": {"$db": 5}}}
    document = checked({**automation("a").model_dump(by_alias=True), "steps": [{"id": "x", "collect": collect}]})
    (done,) = await applying.apply(topics, storage, [document], "test")
    assert await storage.automations.version("shop/a", 1) == done.live.document == document


async def test_a_loop_over_more_than_the_installation_allows_is_refused_with_the_setting_that_allows_it(
    topics: Settings, storage: Storage
) -> None:
    step = {"id": "each", "loop": {"over": [1], "max": 500}, "steps": [{"id": "x", "collect": 1}]}
    trigger = {"type": "event", "event": "hello"}
    wide = parse_automation({"name": "wide", "app": "shop", "trigger": trigger, "steps": [step]})
    with pytest.raises(DocumentError, match=r"shop/wide: step each: .* 500, and AUTOMATION_MAX_ITERATIONS allows 200"):
        await applying.apply(topics, storage, [automation("first"), wide], "ann")
    assert saved(topics) == {}
    larger = topics.model_copy(update={"max_iterations": 500})
    await applying.apply(larger, storage, [wide], "ann")
    assert saved(topics) == {"shop/wide": 1}
