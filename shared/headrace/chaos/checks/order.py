"""Order per lane: runs of one (app, automation, ordering key) start as their jobs stand in the jobs topic."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from headrace.chaos.checks.runs import grouped
from headrace.chaos.checks.violation import Finding, Violation
from headrace.chaos.observations import JobSeen, Observations


@dataclass(frozen=True, slots=True)
class _Start:
    job: JobSeen
    at: int


def lanes_start_in_order(seen: Observations) -> Finding:
    """Within a lane and a jobs partition, `started_at` and the first calls of a path ascend with the jobs' offsets.

    A run that was handed over, waited, was tried again or redriven lets its successors pass, and so do dead letters.
    Of a duplicate the first job counts; of a run that was done again after a crash its first start.
    """
    first_jobs = _first_jobs(seen.jobs)
    starts = _earliest((run.run, run.started) for run in seen.runs)
    exempt = _exempt(seen)
    jobs = [job for id, job in first_jobs.items() if id not in exempt]
    violations = list(_descents(jobs, starts, "started"))
    calls = grouped(seen.calls, lambda call: call.path)
    for path, made in calls.items():
        arrivals = _earliest((call.run, call.arrived) for call in made)
        violations += _descents(jobs, arrivals, f"called {path}")
    lanes = {(job.lane, job.place.topic, job.place.partition) for job in jobs}
    return Finding(tuple(violations), {"lanes": len(lanes), "misordered": len(violations), "exempt": len(exempt)})


def _first_jobs(jobs: Sequence[JobSeen]) -> dict[str, JobSeen]:
    """Each run's job that stands first in the jobs topic."""
    firsts: dict[str, JobSeen] = {}
    for job in jobs:
        if not job.retry and (job.run not in firsts or job.place.offset < firsts[job.run].place.offset):
            firsts[job.run] = job
    return firsts


def _exempt(seen: Observations) -> set[str]:
    on_retry = {job.run for job in seen.jobs if job.retry or job.attempt > 1 or job.segment > 0 or job.generation > 0}
    retry_places = {job.place for job in seen.jobs if job.retry}
    return on_retry | {run.run for run in seen.runs if run.attempt > 1 or run.job in retry_places}


def _earliest(times: Iterable[tuple[str, int]]) -> Mapping[str, int]:
    """The earliest time of each run."""
    found: dict[str, int] = {}
    for run, at in times:
        found[run] = min(at, found.get(run, at))
    return found


def _descents(jobs: Sequence[JobSeen], times: Mapping[str, int], what: str) -> Iterator[Violation]:
    """Neighbours in a lane of which the later job's time is the earlier one."""
    timed = [_Start(job, times[job.run]) for job in jobs if job.run in times]
    lanes = grouped(timed, lambda start: (start.job.lane, start.job.place.topic, start.job.place.partition))
    for (lane, _, _), starts in lanes.items():
        starts.sort(key=lambda start: start.job.place.offset)
        latest = starts[0]
        for start in starts[1:]:
            if start.at < latest.at:
                told = f"{what} before its predecessor in lane {'/'.join(lane)}"
                yield Violation(start.job.run, told, (_told(latest), _told(start)))
            else:
                latest = start


def _told(start: _Start) -> str:
    return f"job {start.job.place} of run {start.job.run} at {start.at} µs"
