"""Makes automations live: saved in MongoDB, published to Kafka, known to every living process that follows them."""

import asyncio
import time
from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from headrace.contracts.automation import Automation, LiveAutomation
from headrace.contracts.topics import AUTOMATIONS
from headrace.documents import check, encoded
from headrace.installation import FOLLOWERS, follower_group, group_name
from headrace.settings import Settings
from headrace.storage import Saved, Storage
from headrace.streams.admin import committed_offsets, member_client_ids
from headrace.streams.config import MAX_MESSAGE_BYTES

LIVE_TIMEOUT_S = 20.0
"""A follower commits its position every 0.2 s; one that is killed leaves its group after 3 s."""

_POLL_S = 0.1


class NotLive(Exception):
    """Saved and published, but a service did not take it up in time; applying again is safe."""


async def apply(settings: Settings, storage: Storage, automations: Sequence[Automation], by: str) -> list[Saved]:
    """Saves and publishes; returns when every living matcher and orchestrator has all of them.

    Idempotent: the same document again makes no version, but is published again in case an earlier try was cut short.
    Raises LanguageError and DocumentError (then nothing was saved), PlatformUnavailable, NotLive.
    """
    for automation in automations:
        check(automation)
    saved = [await storage.automations.save(automation, by) for automation in automations]
    ends = _publish(settings, [each.live for each in saved])
    await _wait_for_followers(settings, ends)
    return saved


def _publish(settings: Settings, live: Sequence[LiveAutomation]) -> dict[int, int]:
    """Publishes and answers the offset behind the last record, by partition."""
    ends: dict[int, int] = {}
    errors: list[KafkaError] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        if error is not None:
            errors.append(error)
        else:
            partition = int(message.partition() or 0)
            ends[partition] = max(ends.get(partition, 0), int(message.offset() or 0) + 1)

    producer = Producer(
        {
            **settings.kafka,
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "message.max.bytes": MAX_MESSAGE_BYTES,
        }
    )
    topic = AUTOMATIONS.full_name(settings.prefix)
    for each in live:
        producer.produce(topic, encoded(each), each.document.id.encode(), on_delivery=delivered)
    producer.flush()
    if errors:
        raise KafkaException(errors[0])
    return ends


async def _wait_for_followers(settings: Settings, ends: dict[int, int]) -> None:
    deadline = time.monotonic() + LIVE_TIMEOUT_S
    for service in FOLLOWERS:
        while behind := _behind(settings, service, ends):
            if time.monotonic() > deadline:
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
