"""Compiled plans, by automation and version."""

from collections import OrderedDict

from headrace.contracts.automation import DocumentError
from headrace.contracts.jobs import Job
from headrace.engine import Plan, compile_plan
from headrace.storage import AutomationStore

MOST_PLANS = 10_000
"""Kept compiled: some kilobytes each. Versions are immutable, so one that was dropped is simply loaded again."""


class UnusablePlan(Exception):
    """The version of `job` does not exist or does not compile here; `type` is a stable word."""

    def __init__(self, job: Job, type: str, message: str) -> None:
        super().__init__(message)
        self.job = job
        self.type = type
        self.message = message


class Plans:
    """Loads each version once."""

    def __init__(self, automations: AutomationStore) -> None:
        self._automations = automations
        self._plans: OrderedDict[tuple[str, str, int], Plan] = OrderedDict()

    def cached(self, job: Job) -> Plan | None:
        """The job's plan if it is here."""
        return self._plans.get((job.app, job.automation, job.version))

    async def load(self, job: Job) -> Plan:
        """The job's plan; raises UnusablePlan, PlatformUnavailable."""
        name = f"{job.app}/{job.automation}"
        document = await self._automations.version(name, job.version)
        if document is None:
            raise UnusablePlan(job, "unknown_version", f"automation {name} has no version {job.version}")
        try:
            plan = compile_plan(document, job.version)
        except DocumentError as error:
            raise UnusablePlan(job, "cannot_compile", f"automation {name}, version {job.version}: {error}") from None
        self._plans[job.app, job.automation, job.version] = plan
        if len(self._plans) > MOST_PLANS:
            self._plans.popitem(last=False)
        return plan
