"""Dead letters as they are found, shown and acted upon: each once, with what became of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple, cast, get_args

from motor.motor_asyncio import AsyncIOMotorClientSession
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import BulkWriteError

from headrace.contracts.cloudevents import Location
from headrace.contracts.deadletters import DeadLetter, read_dead_letter
from headrace.contracts.jobs import location_text
from headrace.contracts.topics import DEAD_LETTERS
from headrace.storage.driver import Database, Document, reaching_mongodb, write_faults

LetterState = Literal["open", "redriven", "discarded"]
LETTER_STATES: tuple[LetterState, ...] = get_args(LetterState)


class ArrivedLetter(NamedTuple):
    """A letter as it stands on its topic: its bytes and what they say."""

    location: Location
    value: bytes
    letter: DeadLetter


@dataclass(frozen=True, slots=True)
class Letter:
    """What is found of a letter without reading it. `id` is its own place, `source` that of the record it is about,
    `bytes` how many the letter has.

    `action` is the audited action that took it out of the state `open`.
    """

    id: str
    at: datetime
    service: str
    error: str
    message: str
    source: str
    app: str
    automation: str
    key: str
    run_id: str
    generation: int
    bytes: int
    state: LetterState
    action: str
    acted_at: datetime | None


@dataclass(frozen=True, slots=True)
class LetterFilter:
    """Which letters: all that is given must be so. `error` is the reason's type; times are of the letters; `until` is
    not within. `run_id` comes with `key`, by which they are found."""

    ids: Sequence[str] = field(default_factory=tuple[str, ...])
    app: str | None = None
    automation: str | None = None
    error: str | None = None
    key: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    state: LetterState | None = "open"
    run_id: str | None = None


_FOUND_BY: Sequence[Sequence[str]] = (
    ("state",),
    ("app", "state"),
    ("automation", "state"),
    ("error", "state"),
    ("key",),
)
_WITHOUT_BYTES = {"letter": 0}


class DeadLetterStore:
    """Collection `dead_letters`: `_id` = the letter's topic/partition/offset, `letter` its bytes, what it is found by,
    `state` and who changed that. Letters go when their topic would forget them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._letters = database["dead_letters"]
        self._audit = database["audit"]

    async def prepare(self) -> None:
        """Makes the indexes."""
        order = [("at", ASCENDING), ("_id", ASCENDING)]
        found_by = [IndexModel([*((name, ASCENDING) for name in names), *order]) for names in _FOUND_BY]
        kept_s = (DEAD_LETTERS.retention_ms or 0) // 1000
        await self._letters.create_indexes([*found_by, IndexModel("at", expireAfterSeconds=kept_s)])

    async def record(self, letters: Sequence[ArrivedLetter], recorded_at: datetime) -> None:
        """Adds those that are not there; repeatable: what became of a letter stays. Raises PlatformUnavailable."""
        if not letters:
            return
        documents = [_document(each, recorded_at) for each in letters]
        with reaching_mongodb():
            try:
                await self._letters.insert_many(documents, ordered=False)
            except BulkWriteError as error:
                if write_faults(error).refused:
                    raise

    async def find(self, asked: LetterFilter, limit: int, behind: tuple[datetime, str] | None = None) -> list[Letter]:
        """Letters, newest first, from behind the one of this time and id on; raises PlatformUnavailable."""
        query, order = _query(asked), [("at", DESCENDING), ("_id", DESCENDING)]
        if behind is not None:
            at, id = behind
            query["$or"] = [{"at": {"$lt": at}}, {"at": at, "_id": {"$lt": id}}]
        with reaching_mongodb():
            found = await self._letters.find(query, _WITHOUT_BYTES).sort(order).limit(limit).to_list(None)
        return [_letter(each) for each in found]

    async def count(self, asked: LetterFilter) -> int:
        """How many there are; raises PlatformUnavailable."""
        with reaching_mongodb():
            return await self._letters.count_documents(_query(asked))

    async def walk(self, asked: LetterFilter, after: Letter | None, most: int) -> list[Letter]:
        """The next letters behind `after`, at most `most`, oldest first; raises PlatformUnavailable."""
        query = _query(asked)
        if after is not None:
            query["$or"] = [{"at": {"$gt": after.at}}, {"at": after.at, "_id": {"$gt": after.id}}]
        order = [("at", ASCENDING), ("_id", ASCENDING)]
        with reaching_mongodb():
            found = await self._letters.find(query, _WITHOUT_BYTES).sort(order).limit(most).to_list(None)
        return [_letter(each) for each in found]

    async def read(self, ids: Sequence[str]) -> dict[str, DeadLetter]:
        """The letters themselves, by id; those that are gone are left out. Raises PlatformUnavailable."""
        with reaching_mongodb():
            found = await self._letters.find({"_id": {"$in": [*ids]}}, {"letter": 1}).to_list(None)
        return {str(each["_id"]): read_dead_letter(bytes(each["letter"])) for each in found}

    async def mark(
        self, ids: Sequence[str], before: LetterState | None, state: LetterState, action: str, at: datetime
    ) -> int:
        """Those of `ids` that are in the state `before` come into `state`, and `action` counts them: both or neither.

        Answers how many there were. Raises PlatformUnavailable.
        """
        asked: Document = {"_id": {"$in": [*ids]}}
        if before is not None:
            asked["state"] = before
        change = {"$set": {"state": state, "action": action, "acted_at": at}}

        async def write(session: AsyncIOMotorClientSession) -> int:
            marked = await self._letters.update_many(asked, change, session=session)
            counted = {"$inc": {"count": marked.matched_count}, "$set": {"counted_at": at}}
            await self._audit.update_one({"_id": action}, counted, session=session)
            return marked.matched_count

        with reaching_mongodb():
            async with await self._database.client.start_session() as session:
                return cast(int, await session.with_transaction(write))


def _document(arrived: ArrivedLetter, recorded_at: datetime) -> Document:
    letter = arrived.letter
    return {
        "_id": location_text(arrived.location),
        "at": letter.at,
        "service": letter.service,
        "error": letter.reason.type,
        "message": letter.reason.message,
        "source": location_text(letter.source),
        "app": letter.app,
        "automation": letter.automation,
        "key": letter.key_text,
        "run_id": "" if letter.run is None else letter.run.run_id,
        "generation": 0 if letter.run is None else letter.run.generation,
        "bytes": len(arrived.value),
        "state": "open",
        "action": "",
        "acted_at": None,
        "recorded_at": recorded_at,
        "letter": arrived.value,
    }


def _letter(document: Document) -> Letter:
    return Letter(
        id=document["_id"],
        at=document["at"],
        service=document["service"],
        error=document["error"],
        message=document["message"],
        source=document["source"],
        app=document["app"],
        automation=document["automation"],
        key=document["key"],
        run_id=document["run_id"],
        generation=int(document["generation"]),
        bytes=int(document["bytes"]),
        state=document["state"],
        action=document["action"],
        acted_at=document["acted_at"],
    )


def _query(asked: LetterFilter) -> Document:
    given = {
        "app": asked.app,
        "automation": asked.automation,
        "error": asked.error,
        "key": asked.key,
        "state": asked.state,
        "run_id": asked.run_id,
    }
    query: Document = {name: value for name, value in given.items() if value is not None}
    if asked.ids:
        query["_id"] = {"$in": [*asked.ids]}
    times = {name: value for name, value in (("$gte", asked.since), ("$lt", asked.until)) if value is not None}
    if times:
        query["at"] = times
    return query
