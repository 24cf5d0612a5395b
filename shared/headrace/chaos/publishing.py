"""A load's events to Kafka, at their times."""

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import Future

from headrace.chaos.loads import LOADS
from headrace.chaos.loads.base import APP, SOURCE, LoadEvent
from headrace.publisher import Published, Publisher, PublishError
from headrace.settings import Settings


class Publishing:
    """Publishes events; afterwards `unconfirmed` says of which nobody knows whether Kafka has them."""

    def __init__(self, settings: Settings) -> None:
        servers = settings.kafka["bootstrap.servers"]
        # The client would tell of every broken connection on our terminal: the harness breaks them.
        silent = {"log_level": "0"}
        self._publisher = Publisher(APP, bootstrap_servers=servers, source=SOURCE, prefix=settings.prefix, kafka=silent)
        self._sent: dict[str, list[Future[Published]]] = {}

    async def run(self, events: Sequence[LoadEvent]) -> None:
        """Publishes all of `events`, each at its time after now, those with a second time once more."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        times = [(event.at, event) for event in events]
        times += [(event.again_at, event) for event in events if event.again_at is not None]
        for at, event in sorted(times, key=lambda each: each[0]):
            await asyncio.sleep(max(0.0, began + at - loop.time()))
            self._submit(event, LOADS[event.load].data(event))

    def unconfirmed(self) -> frozenset[str]:
        """Ids of events none of whose records was confirmed and at least one was sent; waits for the last of them."""
        self._publisher.flush()
        return frozenset(id for id, sent in self._sent.items() if not any(_arrived(each) for each in sent))

    @property
    def records(self) -> int:
        """How many records were sent, duplicates included."""
        return sum(len(sent) for sent in self._sent.values())

    def close(self) -> None:
        """Ends the publisher."""
        self._publisher.close()

    def _submit(self, event: LoadEvent, data: Mapping[str, object]) -> None:
        future = self._publisher.submit_event(f"chaos.{event.load}", data, key=event.customer, id=event.id)
        self._sent.setdefault(event.id, []).append(future)


def _arrived(sent: "Future[Published]") -> bool:
    try:
        sent.result()
    except PublishError:
        return False
    return True
