"""Tells a webhook's waiting caller that there will be no run to answer it."""

from collections.abc import Sequence

from headrace.contracts.cloudevents import Event
from headrace.contracts.jobs import run_id
from headrace.contracts.replies import NOT_STARTED, Reply, write_reply
from headrace.contracts.topics import REPLIES
from headrace.matching import Index, Match, MatchError
from headrace.streams import Outgoing


def refusals_told(
    index: Index, event: Event, webhook: str, found: Sequence[Match | MatchError], prefix: str
) -> list[Outgoing]:
    """The replies for those automations that respond to the webhook and have no run of this event."""
    responding = [each for each in index.for_webhook(event.app, webhook) if each.responds]
    if not responding or event.replay:
        return []  # whoever replays an event is not who sent it
    fates = {each.definition.live.document.name: each for each in found}
    made: list[Outgoing] = []
    for definition in responding:
        name = definition.live.document.name
        fate = fates.get(name)
        if isinstance(fate, Match):
            continue  # its run answers
        reply = Reply(status=NOT_STARTED if fate is None else "dead_lettered")
        run = run_id(event.app, name, event)
        made.append(Outgoing(REPLIES.full_name(prefix), run.encode(), write_reply(reply)))
    return made
