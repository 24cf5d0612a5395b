"""Who owns a run: the decision, and how a head is stored. No I/O."""

from collections.abc import Sequence
from dataclasses import dataclass

from headrace.contracts.cloudevents import Location
from headrace.engine.ports import Claim, Standing
from headrace.storage.driver import Document


@dataclass(frozen=True, slots=True)
class Head:
    """A run's ownership as it stands in the store; `entries` counts its journal, `expiring` says that it has an end."""

    source: Location
    job: Location
    generation: int
    segment: int
    owner: str
    entries: int = 0
    expiring: bool = False


def judge(head: Head | None, claim: Claim) -> Standing:
    """What `claim` finds, `head` being what is stored of its run.

    - No head: `new`.
    - The head is another source record's: `duplicate`, whatever the generation. A redrive keeps the source, so a
      higher generation with another one is a duplicate of a redriven event.
    - (generation, segment) lower than the head's: `stale`, a copy of a job whose work has ended.
    - Equal, from the same job record: `taken_over`, a redelivery. It is never dropped, whatever the head says: Kafka
      may not have committed what the earlier owner made.
    - Equal, from another job record: `stale`, a second copy of the job that is at work or was.
    - Greater: `advanced`. The segment rises only here, when the job that carries it makes its claim.
    """
    if head is None:
        return "new"
    if claim.source != head.source:
        return "duplicate"
    claimed, held = (claim.generation, claim.segment), (head.generation, head.segment)
    if claimed == held:
        return "taken_over" if claim.job == head.job else "stale"
    return "advanced" if claimed > held else "stale"


def new_head(claim: Claim) -> Document:
    """The document of a run that nobody had claimed."""
    return {"_id": claim.run_id, "source": [*claim.source], **owned_by(claim), "entries": 0}


def owned_by(claim: Claim) -> Document:
    """The fields that a claim writes into a head that there is."""
    return {
        "job": [*claim.job],
        "generation": claim.generation,
        "segment": claim.segment,
        "owner": claim.owner,
    }


def read_head(document: Document) -> Head:
    """The head in a stored document."""
    return Head(
        source=_location(document["source"]),
        job=_location(document["job"]),
        generation=int(document["generation"]),
        segment=int(document["segment"]),
        owner=str(document["owner"]),
        entries=int(document["entries"]),
        expiring="expires_at" in document,
    )


def entry_id(run_id: str, number: int) -> str:
    """The `_id` of a journal entry; padded, so that ids of a run sort as their numbers."""
    return f"{run_id}/{number:08d}"


def _location(stored: Sequence[object]) -> Location:
    topic, partition, offset = stored
    return Location(str(topic), int(str(partition)), int(str(offset)))
