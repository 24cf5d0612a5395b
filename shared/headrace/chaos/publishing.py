"""A load's events to Kafka, at their times."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future

from headrace.chaos.loads import LOADS
from headrace.chaos.loads.base import APP, SOURCE, FollowUp, LoadEvent
from headrace.embedded import StackError
from headrace.publisher import DELIVERY_TIMEOUT_MS, Published, Publisher, PublishError
from headrace.settings import Settings

LATE_S = 5.0
"""An event that follows another is confirmed within milliseconds; after so long there was an outage, and the matcher,
which comes back from it too, has half of the wait left."""


class Publishing:
    """Publishes events; afterwards `unconfirmed` says of which nobody knows whether Kafka has them, and `late` what was
    followed too late."""

    def __init__(self, settings: Settings, hush: tuple[float, float] | None = None) -> None:
        """`hush` is from when to when nothing is published: what would be then comes so much later, and not before
        `go_on` is called."""
        self._hush = hush
        self._back = asyncio.Event()
        servers = settings.kafka["bootstrap.servers"]
        # As in the settings: it breaks the connections itself.
        silent = {"log_level": settings.kafka["log_level"]}
        self._publisher = Publisher(APP, bootstrap_servers=servers, source=SOURCE, prefix=settings.prefix, kafka=silent)
        self._sent: dict[str, list[Future[Published]]] = {}
        self._followed: dict[str, Future[Published]] = {}
        self._late: set[str] = set()

    async def run(self, events: Sequence[LoadEvent]) -> None:
        """Publishes all of `events`, each at its time after now, those with a second time once more, and then what
        follows them."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        times: list[tuple[float, LoadEvent, FollowUp | None]] = []
        for event in events:
            follow_up = LOADS[event.load].follow_up(event)
            last = event.at if follow_up is None else event.at + follow_up.after_s
            # An event and the one that follows it are not torn apart: what follows would come too late.
            later = self._later(last)
            times.append((event.at + later, event, None))
            if event.again_at is not None:
                times.append((event.again_at + (later or self._later(event.again_at)), event, None))
            if follow_up is not None:
                times.append((last + later, event, follow_up))
        for at, event, follow_up in sorted(times, key=lambda each: each[0]):
            await asyncio.sleep(max(0.0, began + at - loop.time()))
            if self._hush is not None and at >= self._hush[1]:
                await self._back.wait()
            if follow_up is None:
                self._submit(event, LOADS[event.load].data(event))
            else:
                self._follow(event, follow_up)

    def go_on(self) -> None:
        """The hush is over: what was away is really back."""
        self._back.set()

    def unconfirmed(self) -> frozenset[str]:
        """Ids of events none of whose records was confirmed and at least one was sent; waits for the last of them.

        Raises StackError where one that follows another was not confirmed: what must come of it nobody can say.
        """
        self._publisher.flush()
        for id, sent in self._followed.items():
            if not _arrived(sent):
                raise StackError(f"Kafka did not confirm the event {id} within {DELIVERY_TIMEOUT_MS / 1000:.0f} s")
        return frozenset(id for id, sent in self._sent.items() if not any(_arrived(each) for each in sent))

    @property
    def late(self) -> frozenset[str]:
        """Ids of events whose follower Kafka had only LATE_S after it was published: whoever waits for that may have
        given up before."""
        return frozenset(self._late)

    @property
    def records(self) -> int:
        """How many records were sent, duplicates included."""
        return sum(len(sent) for sent in self._sent.values()) + len(self._followed)

    def close(self) -> None:
        """Ends the publisher."""
        self._publisher.close()

    def _later(self, at: float) -> float:
        """By how much what is due at `at` is postponed."""
        begins, ends = self._hush or (at + 1, at)
        return ends - begins if at >= begins else 0.0

    def _submit(self, event: LoadEvent, data: Mapping[str, object]) -> None:
        future = self._publisher.submit_event(f"chaos.{event.load}", data, key=event.customer, id=event.id)
        self._sent.setdefault(event.id, []).append(future)

    def _follow(self, event: LoadEvent, follow_up: FollowUp) -> None:
        # Under the same key: it must not overtake the event that it follows.
        id, data = f"{event.id}-followed", {"origin": event.id}
        sent = self._publisher.submit_event(follow_up.type, data, key=event.customer, id=id)
        self._followed[id] = sent
        by = time.monotonic() + LATE_S
        sent.add_done_callback(lambda _: self._late.add(event.id) if time.monotonic() > by else None)


def _arrived(sent: "Future[Published]") -> bool:
    try:
        sent.result()
    except PublishError:
        return False
    return True
