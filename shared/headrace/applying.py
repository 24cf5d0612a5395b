"""Makes automations live: saved in MongoDB, published to Kafka, known to every living process that follows them."""

import asyncio
import time
from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from headrace.auditing import audited
from headrace.contracts.automation import Automation, DocumentError, LiveAutomation, LoopStep, WebhookTrigger, walk
from headrace.contracts.topics import AUTOMATIONS
from headrace.documents import check, encoded
from headrace.engine import PlatformUnavailable
from headrace.installation import FOLLOWERS, follower_group, group_name, topic_specs
from headrace.settings import Settings
from headrace.storage import Saved, Storage
from headrace.streams import StreamFailed
from headrace.streams.admin import check_topics, committed_offsets, member_client_ids
from headrace.streams.config import MAX_MESSAGE_BYTES

LIVE_TIMEOUT_S = 20.0
"""A follower commits its position every 0.2 s; one that is killed leaves its group after 3 s."""

PUBLISH_TIMEOUT_S = 20.0
"""The client's own limit of five minutes is longer than anyone waits at a prompt; an election takes a few seconds."""

_POLL_S = 0.1


class NotLive(Exception):
    """Saved and published, but a service did not take it up in time; applying again is safe."""


class PartlyApplied(Exception):
    """The platform failed half way: the message says what is live, what is not, and that applying again is safe."""


async def apply(
    settings: Settings, storage: Storage, automations: Sequence[Automation], by: str, *, revision: int | None = None
) -> list[Saved]:
    """Saves and publishes; returns when every living matcher, orchestrator and scheduler has all of them.

    All are checked before the first is saved, and so is that Kafka would take them. Idempotent: the same document again
    makes no version, but is published again in case an earlier try was cut short. `revision` is of the only one, as
    `AutomationStore.save` has it. Raises DocumentError, RevisionChanged, StreamFailed and PlatformUnavailable (then
    nothing was saved), PartlyApplied, NotLive.
    """
    for automation in automations:
        check(automation)
        _check_loops(settings, automation)
    await _check_webhooks(storage, automations)
    await asyncio.to_thread(_check_topic, settings)
    asked = {"automations": [each.id for each in automations]}
    async with audited(storage, "apply", by, asked, {}) as done:
        saved = await _save(storage, automations, by, revision)
        done.count = sum(each.changed for each in saved)
    await announce(settings, [each.live for each in saved])
    return saved


async def announce(settings: Settings, live: Sequence[LiveAutomation]) -> None:
    """Publishes what MongoDB holds, and returns when every living process that follows the automations has it; raises
    PartlyApplied, NotLive."""
    ends = await asyncio.to_thread(publish, settings, live)
    deadline = time.monotonic() + LIVE_TIMEOUT_S
    for service in FOLLOWERS:
        await _wait_for(settings, service, ends, deadline)


def _check_loops(settings: Settings, automation: Automation) -> None:
    for step in walk(automation.steps):
        if isinstance(step, LoopStep) and step.loop.max is not None and step.loop.max > settings.max_iterations:
            raise DocumentError(
                f"{automation.id}: step {step.id}: `max` of its loop is {step.loop.max}, and "
                f"AUTOMATION_MAX_ITERATIONS allows {settings.max_iterations} here"
            )


async def _check_webhooks(storage: Storage, automations: Sequence[Automation]) -> None:
    """Refuses two automations that would open one webhook in two ways; where two of them are applied at once, the
    gateway takes what both allow."""
    given = {each.id: each for each in automations if isinstance(each.trigger, WebhookTrigger)}
    found: dict[tuple[str, str], WebhookTrigger] = {}
    responding: dict[tuple[str, str], str] = {}
    for app in {each.app for each in given.values()}:
        live = {each.document.id: each.document for each in await storage.automations.all(app)}
        for automation in {**live, **{each.id: each for each in automations if each.app == app}}.values():
            trigger = automation.trigger
            if not isinstance(trigger, WebhookTrigger):
                continue
            if trigger.respond is not None:
                other = responding.setdefault((app, trigger.id), automation.id)
                if other != automation.id:
                    raise DocumentError(
                        f"webhook {trigger.id!r} of app {app!r}: {other} and {automation.id} both have `respond`, and "
                        "a caller gets one answer: leave it to one of them"
                    )
            first = found.setdefault((app, trigger.id), trigger)
            if first.door != trigger.door:
                raise DocumentError(
                    f"webhook {trigger.id!r} of app {app!r} is listened to by automations with different `methods`, "
                    f"`verify` or `dedupe_key`, of which {automation.id} is one: make them the same, and apply them "
                    "together"
                )


def _check_topic(settings: Settings) -> None:
    topic = AUTOMATIONS.full_name(settings.prefix)
    try:
        check_topics(settings.kafka, [spec for spec in topic_specs(settings) if spec.name == topic])
    except KafkaException as error:
        raise PlatformUnavailable(f"Kafka is away ({error.args[0].str()})") from None


async def _save(storage: Storage, automations: Sequence[Automation], by: str, revision: int | None) -> list[Saved]:
    saved: list[Saved] = []
    for automation in automations:
        try:
            saved.append(await storage.automations.save(automation, by, revision))
        except PlatformUnavailable as error:
            if not saved:
                raise
            done = [each.live.document.id for each in saved]
            left = [each.id for each in automations[len(saved) :]]
            raise PartlyApplied(
                f"{error}: {', '.join(done)} saved but not live yet; {', '.join(left)} not saved; {_AGAIN}"
            ) from error
    return saved


_AGAIN = "apply again: what is saved already is taken up, and makes no other version"


def publish(settings: Settings, live: Sequence[LiveAutomation]) -> dict[int, int]:
    """Publishes what MongoDB holds and answers the offset behind the last record, by partition; raises PartlyApplied.
    Again changes nothing."""
    ends: dict[int, int] = {}
    published: set[bytes] = set()
    errors: list[KafkaError] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            errors.append(error)
        else:
            published.add(bytes(message.key() or b""))
            partition = int(message.partition() or 0)
            ends[partition] = max(ends.get(partition, 0), int(message.offset() or 0) + 1)

    producer = Producer(
        {
            **settings.kafka,
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "message.max.bytes": MAX_MESSAGE_BYTES,
            "message.timeout.ms": int(PUBLISH_TIMEOUT_S * 1000),
        }
    )
    topic = AUTOMATIONS.full_name(settings.prefix)
    for each in live:
        producer.produce(topic, encoded(each), each.document.id.encode(), on_delivery=delivered)
    producer.flush()
    if errors:
        done = [each.document.id for each in live if each.document.id.encode() in published]
        left = [each.document.id for each in live if each.document.id.encode() not in published]
        said = f"{', '.join(done)} published; " if done else ""
        raise PartlyApplied(f"Kafka: {errors[0].str()}: {said}{', '.join(left)} saved but not live yet; {_AGAIN}")
    return ends


async def _wait_for(settings: Settings, service: str, ends: dict[int, int], deadline: float) -> None:
    while True:
        is_late = time.monotonic() > deadline
        try:
            behind = await asyncio.to_thread(_behind, settings, service, ends)
        except (KafkaException, StreamFailed) as error:
            # A coordinator that is elected, or made for the first group ever, answers so for a moment.
            if is_late:
                said = error.args[0].str() if isinstance(error, KafkaException) else str(error)
                raise NotLive(f"saved and published, but Kafka cannot say who has it ({said}): apply again") from error
        else:
            if not behind:
                return
            if is_late:
                raise NotLive(
                    f"saved and published, but {service} {', '.join(behind)} has not taken it up within "
                    f"{LIVE_TIMEOUT_S:.0f} s: look at its log, then apply again"
                )
        await asyncio.sleep(_POLL_S)


def _behind(settings: Settings, service: str, ends: dict[int, int]) -> list[str]:
    """The slots of the service's living processes that do not know all that was published."""
    clients = member_client_ids(settings.kafka, group_name(settings, service))
    slots = {client.rpartition("-")[2] for client in clients}
    return sorted(slot for slot in slots if not _has(settings, follower_group(settings, service, slot), ends))


def _has(settings: Settings, group: str, ends: dict[int, int]) -> bool:
    positions = committed_offsets(settings.kafka, group, AUTOMATIONS.full_name(settings.prefix))
    return all(positions.get(partition, 0) >= end for partition, end in ends.items())
