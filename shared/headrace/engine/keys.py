"""The name of one step of one run: what makes its effects recognisable however often it is executed."""

from headrace.contracts.jobs import Job


def key_prefix(job: Job) -> str:
    """What the keys of all steps of this job begin with: a run that is resumed keeps them, whatever its generation."""
    return f"{job.run_id}/{job.restart}/"


def step_key(job: Job, path: str, iteration: str = "0") -> str:
    """`run_id/generation of the last restart/step path/iteration`, the same for every attempt at this step of this run.

    `path` are the ids from the outermost step to this one, joined by dots; `iteration` is "0" outside of loops.
    """
    return f"{key_prefix(job)}{path}/{iteration}"
