"""`headrace dlq` as people and scripts meet it, on letters that lie in MongoDB already."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from confluent_kafka import KafkaException
from conftest import Installation
from dlq_support import audit, dlq, refused
from pymongo import MongoClient

from headrace import letter_actions
from headrace.contracts.cloudevents import Location
from headrace.contracts.deadletters import About, Reason, Refused, about_carrier, dead_letter, read_dead_letter
from headrace.contracts.jobs import Job, job_key, write_job
from headrace.embedded import Supervisor
from headrace.engine import Claim
from headrace.redriving import How
from headrace.settings import Settings
from headrace.storage import ArrivedLetter, LetterFilter, Storage
from headrace.streams import producing

pytestmark = pytest.mark.integration

AT = datetime(2013, 1, 1, tzinfo=UTC)
NOW = datetime.now(UTC)
NEVER = asyncio.Event
"""Is set: nobody stops what is done here."""


def job(number: int, app: str) -> Job:
    return Job.model_validate(
        {
            "format": 1, "run_id": f"r{number}", "app": app, "automation": "orders", "version": 1, "generation": 0,
            "segment": 0, "attempt": 1, "key": f"k{number}", "priority": "low", "trigger": {},
            "cause": {"id": "1", "source": "s", "type": "t", "topic": "e", "partition": 0, "offset": 0, "time": AT},
        }
    )  # fmt: skip


def arrived(prefix: str, number: int, topic: str, value: bytes, app: str, error: str = "broken") -> ArrivedLetter:
    is_job = topic.startswith("jobs.")
    about = about_carrier(value, ()) if is_job else About(app)
    place = Location(f"{prefix}.{topic}", 0, number % 1000)
    key = job_key(app, "orders", f"k{number}").encode() if is_job else b"k\x1b"
    headers = [("ce_app", app.encode()), ("odd", b"\xff\x1b")]
    at = NOW - timedelta(hours=number)
    letter = dead_letter(
        "svc", Refused(place, key, value, headers, 7), Reason(type=error, message="why\x1b"), at, about
    )
    return ArrivedLetter(Location(f"{prefix}.jobs.dlq", 0, number % 1000), letter, read_dead_letter(letter))


@pytest.fixture
async def kept(topics: Settings, storage: Storage, tmp_path: Path) -> Installation:
    """Without services: three jobs of two apps, an event that is no text, one that is, and one that is much."""
    prefix = topics.prefix
    found = [arrived(prefix, n, "jobs.low", write_job(job(n, app)), app) for n, app in ((1, "shop"), (2, "shop"))]
    found.append(arrived(prefix, 3, "jobs.low", write_job(job(3, "airport")), "airport"))
    found.append(arrived(prefix, 4, "events", b"\xff" * 5_000, "shop", "not_json"))
    found.append(arrived(prefix, 5, "events", "{é\x1b[31m\nred".encode(), "shop", "not_json"))
    found.append(arrived(prefix, 6, "events", b"x" * 70_000, "shop", "not_json"))
    await storage.dead_letters.record(found, NOW)
    return Installation(topics, Supervisor(topics, tmp_path / "logs"))


def id_of(installation: Installation, number: int) -> str:
    return f"{installation.settings.prefix}.jobs.dlq/0/{number}"


def open_letters(installation: Installation) -> int:
    return installation.ask(lambda storage: storage.dead_letters.count(LetterFilter()))


def test_letters_are_listed_newest_first_by_filters(kept: Installation) -> None:
    def numbers(*filters: str) -> list[int]:
        return [int(each["letter"].rpartition("/")[2]) for each in dlq(kept, "list", *filters)]

    assert numbers() == [1, 2, 3, 4, 5, 6]
    assert numbers("--limit", "2") == [1, 2]
    assert numbers("--app", "airport") == [3]
    assert numbers("--automation", "orders", "--app", "shop") == [1, 2]
    assert numbers("--error", "not_json") == [4, 5, 6]
    assert numbers("--key", "k2") == [2]
    hours = [(NOW - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%S") for hours in (4.5, 2.5)]
    assert numbers("--since", hours[0], "--until", hours[1]) == [3, 4]
    assert numbers("--state", "redriven") == []
    lines = kept.headrace("dlq", "list", columns=40).stdout.splitlines()
    assert len(lines) == 7
    assert lines[1].split()[0] == id_of(kept, 1)
    assert "shop/orders" in lines[1]
    assert "\x1b" not in "".join(lines)


def test_a_letter_is_shown_with_its_bytes_and_can_do_nothing_to_a_terminal(kept: Installation) -> None:
    shown = kept.headrace("dlq", "show", id_of(kept, 1)).stdout
    for words in ("broken", "why", f"{kept.settings.prefix}.jobs.low/0/1", "r1", '"run_id":"r1"', "open"):
        assert words in shown
    text = kept.headrace("dlq", "show", id_of(kept, 5)).stdout
    assert "{é\ufffd[31m\nred" in text
    assert "\x1b" not in text
    binary = kept.headrace("dlq", "show", id_of(kept, 4)).stdout
    assert "00000010  ff ff" in binary
    assert "3976 bytes more" in binary
    cut = kept.headrace("dlq", "show", id_of(kept, 6)).stdout
    assert "70000 bytes, the first 65536 are here" in cut
    found = dlq(kept, "show", id_of(kept, 4))
    assert (found["size"], found["truncated"], found["value"]["base64"][:4]) == (5_000, False, "////")
    assert found["headers"]["odd"] == {"base64": "/xs="}


def test_a_dry_run_counts_and_changes_nothing(kept: Installation) -> None:
    for action in (("redrive",), ("discard", "--reason", "x")):
        assert dlq(kept, *action, "--app", "shop", "--dry-run")["count"] == 5
        assert dlq(kept, *action, "--all", "--error", "not_json", "--dry-run")["count"] == 3
    assert "5 would be redriven" in kept.headrace("dlq", "redrive", "--app", "shop", "--dry-run").stdout
    assert (open_letters(kept), audit(kept)) == (6, [])
    assert kept.read(f"{kept.settings.prefix}.jobs.low") == []


def test_what_is_discarded_is_no_longer_open_and_says_who_and_why(kept: Installation) -> None:
    done = dlq(kept, "discard", "--error", "not_json", "--reason", "a test of theirs", "--by", "ann")
    assert done["discarded"] == 3
    assert [each["error"] for each in dlq(kept, "list")] == ["broken"] * 3
    (action,) = audit(kept)
    assert (action["action"], action["by"], action["count"], action["ended"]) == ("discard", "ann", 3, "done")
    assert (action["how"], action["asked"]["error"]) == ({"reason": "a test of theirs"}, "not_json")
    assert action["id"] == done["action"]
    shown = kept.headrace("dlq", "show", id_of(kept, 4)).stdout
    assert "discarded by ann" in shown
    assert "a test of theirs" in shown
    refused(kept.headrace("dlq", "redrive", id_of(kept, 4)), 1, "is discarded since")
    assert dlq(kept, "redrive", id_of(kept, 4), "--state", "discarded")["redriven"] == 1
    first, second = audit(kept)
    assert (first["action"], second["action"]) == ("redrive", "discard")
    assert "discard" in kept.headrace("audit").stdout


def test_a_redriven_job_goes_to_the_topic_of_its_priority_under_its_key(kept: Installation) -> None:
    assert dlq(kept, "redrive", id_of(kept, 2), id_of(kept, 3), "--restart")["redriven"] == 2
    jobs = [orjson.loads(value) for value in kept.read(f"{kept.settings.prefix}.jobs.low")]
    assert sorted((each["run_id"], each["generation"], each["restart"]) for each in jobs) == [
        ("r2", 1, 1),
        ("r3", 1, 1),
    ]
    assert open_letters(kept) == 4
    (action,) = audit(kept)
    assert (action["how"]["mode"], action["how"]["version"], action["count"]) == ("restart", "same", 2)
    refused(kept.headrace("dlq", "redrive", id_of(kept, 2)), 1, "is redriven since")


def test_bytes_that_kafka_does_not_take_leave_their_letter_open(kept: Installation, tmp_path: Path) -> None:
    giant = tmp_path / "giant"
    giant.write_bytes(b"x" * (10 << 20))
    done = dlq(kept, "redrive", id_of(kept, 5), "--value", str(giant), code=1)
    assert "Kafka refuses the record" in done["reasons"][0]["reason"]
    assert open_letters(kept) == 6
    told = kept.headrace("dlq", "redrive", id_of(kept, 5), "--value", str(giant))
    assert id_of(kept, 5) in told.stderr
    assert "0 redriven, 1 not" in told.stdout


async def test_what_kafka_does_not_confirm_stays_open(
    kept: Installation, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producing, "DELIVERY_TIMEOUT_MS", 500)
    away = kept.settings.model_copy(update={"kafka_bootstrap_servers": "127.0.0.1:1"})
    vars(away).pop("kafka", None)
    with pytest.raises(KafkaException):
        await letter_actions.redrive(away, storage, LetterFilter(app="airport"), How(), "ann", NEVER())
    assert await storage.dead_letters.count(LetterFilter()) == 6
    (action,) = await storage.audit.find(9)
    assert (action.count, action.ended) == (0, "failed")


async def test_letters_made_since_the_command_began_are_not_redriven_by_it(
    storage: Storage, kept: Installation
) -> None:
    asked = letter_actions.as_of_now(LetterFilter(app="shop"))
    late = arrived(kept.settings.prefix, -1, "jobs.low", write_job(job(9, "shop")), "shop")
    await storage.dead_letters.record([late], NOW)
    assert len(await storage.dead_letters.walk(asked, None, 99)) == 5


async def test_a_redriven_run_keeps_its_journal_for_as_long_as_its_job_may_wait(
    kept: Installation, storage: Storage
) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    owners = {run: Claim(run, Location("e", 0, 0), Location("j", 0, 0), 0, 0, f"of {run}") for run in ("r1", "r2")}
    for claim in owners.values():
        await storage.heads.claim(claim)
        await storage.heads.append(claim, 0, b"{}")
    await storage.heads.expire({"r1": 0}, soon)
    await letter_actions.redrive(
        kept.settings, storage, LetterFilter(app="shop", error="broken"), How(), "ann", NEVER()
    )
    with MongoClient[dict[str, Any]](kept.settings.mongodb, tz_aware=True) as client:
        database = client[kept.settings.prefix]
        ends: dict[str, Any] = {
            each["_id"]: each.get("expires_at")
            for name in ("run_heads", "run_journal")
            for each in database[name].find()
        }
    a_month = datetime.now(UTC) + timedelta(days=29)
    assert ends["r1/00000000"] > a_month
    assert ends["r1"] > ends["r1/00000000"]
    # Whoever has not ended does not expire at all.
    assert (ends["r2"], ends["r2/00000000"]) == (None, None)


MISTAKES = [
    (("show", "nothing"), 1, "no dead letter 'nothing'"),
    (("redrive", "nothing"), 1, "no dead letter 'nothing'"),
    (("redrive",), 2, "--all"),
    (("discard", "--reason", "x"), 2, "--all"),
    (("discard", "--all"), 2, "--reason"),
    (("discard", "--all", "--reason", " "), 2, "--reason"),
    (("redrive", "--all", "--rate", "fast"), 2, "--rate"),
    (("redrive", "--all", "--rate", "0/s"), 2, "--rate"),
    (("redrive", "--app", "x", "--value", "/dev/null"), 2, "--value"),
    (("redrive", "a", "b", "--value", "/dev/null"), 2, "--value"),
    (("redrive", "a", "--value", "no-such-file"), 2, "no-such-file"),
    (("redrive", "a", "--version", "3"), 2, "version"),
    (("list", "--state", "odd"), 2, "state"),
]


@pytest.mark.parametrize(("arguments", "code", "words"), MISTAKES, ids=lambda value: str(value)[:40])
def test_a_mistake_is_one_sentence_and_an_exit_code(
    topics: Settings, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    refused(Installation(topics, Supervisor(topics, tmp_path)).headrace("dlq", *arguments), code, words)
