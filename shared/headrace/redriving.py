"""A dead letter to the record that takes up again what waits in it.

A run's job goes back with the next generation; every other record as it was read, to the topic that it was read from.
Only one of a topic that others write goes to `replay`: that topic has other readers.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import orjson

from headrace.contracts.cloudevents import REDRIVEN_HEADER, REPLAY_HEADER, Headers, repeating_headers
from headrace.contracts.deadletters import DeadLetter, cut_key, is_resumption
from headrace.contracts.errors import ContractError
from headrace.contracts.jobs import Job, job_key, location_text, read_job, redriven, write_job
from headrace.contracts.resumptions import (
    Resumption,
    read_resumption,
    redriven_resumption,
    resumption_headers,
    write_resumption,
)
from headrace.contracts.topics import JOBS, REPLAY, SOURCES, Topic
from headrace.installation import READS, carriers, source_topics
from headrace.settings import Settings
from headrace.storage import Storage
from headrace.streams import Outgoing
from headrace.streams.admin import read_one
from headrace.streams.producing import Placed

_JOB_HEADERS = frozenset(("traceparent", REPLAY_HEADER))
"""What the matcher gives a job: the rest was of the dead job's way."""


_MATCHER = "trigger_matcher"
"""The service that reads topics which are not the installation's."""


class NotRedrivable(Exception):
    """This letter cannot be redriven so; the message says why, and what could be done."""


@dataclass(frozen=True, slots=True)
class How:
    """How letters are redriven: a run goes on at the step that failed, or is begun anew (`is_restart`), with the
    version that it had or with its automation's latest. `edited` are bytes that go in place of the letter's.
    """

    is_restart: bool = False
    version: Literal["same", "latest"] = "same"
    edited: bytes | None = None


@dataclass(frozen=True, slots=True)
class WholeRecord:
    """A dead letter's record, nothing of it cut."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


class Redriver:
    """Makes the records of one command."""

    def __init__(self, settings: Settings, storage: Storage, how: How) -> None:
        self._settings = settings
        self._storage = storage
        self._how = how
        self._latest: dict[str, int | None] = {}
        self._carriers = _names(settings, carriers(settings))
        self._sources = _names(settings, SOURCES)
        self._replay = REPLAY.full_name(settings.prefix)
        self._known = frozenset(topic for service in READS for topic in source_topics(settings, service))

    async def outgoing(self, letter: DeadLetter) -> Placed:
        """The record that redrives `letter`; raises NotRedrivable, PlatformUnavailable, StreamFailed."""
        topic = letter.source.topic
        if topic not in self._known and letter.service == _MATCHER:
            return await self._of_others(letter)
        if topic not in self._known:
            raise NotRedrivable(f"it came from {topic}, which no service of this installation reads")
        if topic in self._carriers:
            return await self._carrier(letter)
        record = await self._whole(letter)
        headers = record.headers
        if topic in self._sources:
            headers = repeating_headers(headers, letter.source, letter.timestamp_ms)
        return _put_back(letter, record, headers)

    async def _of_others(self, letter: DeadLetter) -> Placed:
        """A record of a topic that others write. Where it stands again has other partitions than where it stood."""
        record = await self._whole(letter)
        # Outside of `replay` the header is not ours: whoever writes the topic does not say where its records stand.
        is_first = letter.source.topic != self._replay
        kept = [each for each in record.headers if not (is_first and each[0] == REDRIVEN_HEADER)]
        headers = repeating_headers(kept, letter.source, letter.timestamp_ms)
        return Placed(Outgoing(self._replay, record.key, record.value, headers))

    async def _carrier(self, letter: DeadLetter) -> Placed:
        is_edited = self._how.edited is not None
        if letter.job is not None and not is_edited:
            record = WholeRecord(letter.key, letter.job, [*letter.headers])
        else:
            record = await self._whole(letter)
        try:
            if letter.job is None and is_resumption(letter.headers):
                return self._resumption(read_resumption(record.value))
            # Of an older letter nobody knows; an event that is published twice is the same event.
            had_outcome = letter.run is not None and letter.run.had_outcome
            job = read_job(record.value)
            if is_edited:
                _refuse_another(job, letter)
            return await self.again(job, letter.headers, had_outcome=had_outcome)
        except ContractError as error:
            if is_edited or letter.job is not None:
                raise NotRedrivable(f"what would go back is no job: {error.message}") from None
            # Whoever could not read it may be mended by now.
            return _put_back(letter, record, record.headers)

    async def again(self, job: Job, headers: Headers, *, had_outcome: bool) -> Placed:
        """The job that takes `job`'s run up in its next generation; raises NotRedrivable, PlatformUnavailable.

        `headers` are those of the job's record. `had_outcome`: what the run had published is out.
        """
        version = job.version if self._how.version == "same" else await self._latest_of(f"{job.app}/{job.automation}")
        again = redriven(job, version=version, is_restart=self._how.is_restart, had_outcome=had_outcome)
        try:
            value = write_job(again)
        except orjson.JSONEncodeError as error:
            raise NotRedrivable(f"its trigger cannot be written as JSON again ({error})") from None
        key = job_key(job.app, job.automation, job.key).encode(errors="replace")
        kept = [(name, content) for name, content in headers if name in _JOB_HEADERS]
        return Placed(Outgoing(JOBS[job.priority].full_name(self._settings.prefix), key, value, kept))

    def _resumption(self, found: Resumption) -> Placed:
        if self._how.is_restart or self._how.version == "latest" or self._how.edited is not None:
            raise NotRedrivable("its run was parked and its job is in the run's journal: it can be resumed as it was")
        again = redriven_resumption(found)
        topic = JOBS[again.priority].full_name(self._settings.prefix)
        return Placed(Outgoing(topic, again.record_key, write_resumption(again), resumption_headers(again)))

    async def _whole(self, letter: DeadLetter) -> WholeRecord:
        edited = self._how.edited
        if edited is not None and not letter.envelope_cut:
            return WholeRecord(letter.key, edited, [*letter.headers])
        whole = await whole_record(self._settings, letter)
        return whole if edited is None else WholeRecord(whole.key, edited, whole.headers)

    async def _latest_of(self, automation: str) -> int:
        if automation not in self._latest:
            live = await self._storage.automations.live(automation)
            self._latest[automation] = None if live is None else live.version
        version = self._latest[automation]
        if version is None:
            raise NotRedrivable(
                f"there is no automation {automation} any more; --version same takes the version it had"
            )
        return version


_NAMES_A_RUN = ("run_id", "app", "automation", "generation", "segment", "cause")
"""By these a job is that of one run, at one place of it: with others it would be another's, or a stale copy."""


def _refuse_another(edited: Job, letter: DeadLetter) -> None:
    """Raises NotRedrivable if the edited job is not one of the letter's run."""
    try:
        own: object = read_job(letter.job if letter.job is not None else letter.value)
    except ContractError:
        # Nobody could read it: what the service that gave it up knew of its run, if anything.
        own = letter.run
    for name in _NAMES_A_RUN:
        meant = getattr(own, name, None)
        if meant is not None and getattr(edited, name) != meant:
            shown = "" if name == "cause" else f": {getattr(edited, name)}, the letter's is {meant}"
            raise NotRedrivable(f"what would go back is another run's job by its `{name}`{shown}; leave that as it is")


def _put_back(letter: DeadLetter, record: WholeRecord, headers: list[tuple[str, bytes]]) -> Placed:
    # To the partition that it stood in: whoever published it may have chosen it otherwise than we do.
    return Placed(Outgoing(letter.source.topic, record.key, record.value, headers), letter.source.partition)


async def whole_record(settings: Settings, letter: DeadLetter) -> WholeRecord:
    """The record of a letter: what the letter has of it, if that is all, else as it stands in its topic.

    Raises NotRedrivable where it is gone, and StreamFailed.
    """
    if not letter.truncated and not letter.envelope_cut:
        return WholeRecord(letter.key, letter.value, [*letter.headers])
    place = letter.source
    found = await asyncio.to_thread(read_one, settings.kafka, *place)
    kept = letter.value or b""
    is_it = (
        found is not None
        and len(found.value or b"") == letter.size
        and (found.value or b"").startswith(kept)
        and cut_key(found.key) == letter.key
    )
    if found is None or not is_it:
        came = f"{len(kept)} of its {letter.size} bytes" if letter.truncated else "a part of its key or its headers"
        raise NotRedrivable(f"{location_text(place)} is gone from its topic, and only {came} came with the letter")
    return WholeRecord(found.key, found.value, [*found.headers])


def _names(settings: Settings, topics: Iterable[Topic]) -> frozenset[str]:
    return frozenset(topic.full_name(settings.prefix) for topic in topics)
