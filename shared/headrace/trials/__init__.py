"""Automations tried on this machine, without Kafka and MongoDB: the real matcher, the real engine, rows in memory."""

from headrace.trials.cases import CaseResult, Difference, try_case
from headrace.trials.events import BadTrialEvent, Fired, NotFired, fire
from headrace.trials.junit import junit_xml
from headrace.trials.rows import MemoryRows
from headrace.trials.running import Trial, Tried, try_automation

__all__ = [
    "BadTrialEvent",
    "CaseResult",
    "Difference",
    "Fired",
    "MemoryRows",
    "NotFired",
    "Trial",
    "Tried",
    "fire",
    "junit_xml",
    "try_automation",
    "try_case",
]
