"""A run: compiled once per version, executed step by step, ended by one record."""

from headrace.engine.cancelling import Cancellation
from headrace.engine.compilation import compile_plan
from headrace.engine.context import AutomationContext, AutomationMetadata, get_metadata, has_errored, is_cron
from headrace.engine.decisions import HandOver, Hold, Leave, Postpone
from headrace.engine.ends import end_for_caller, end_of, no_run_for_caller
from headrace.engine.errors import PlatformUnavailable, StepCrashed, StepError
from headrace.engine.journal import Journal
from headrace.engine.keys import step_key
from headrace.engine.orchestrator import Orchestrator, Outcome
from headrace.engine.plan import Plan
from headrace.engine.ports import Claim, Claimed, Clock, OwnershipLost, Ports, RunHeads, Standing, SystemClock
from headrace.engine.publications import Publication
from headrace.engine.record import encode_record
from headrace.engine.replies import reply_of, reply_without_run
from headrace.engine.rows import (
    Author,
    NewRow,
    QueryRefused,
    RowConflict,
    RowCreated,
    RowDelete,
    RowDeleted,
    RowEffect,
    RowEntry,
    RowMissing,
    RowPage,
    RowQuery,
    RowRefused,
    RowStore,
    RowUpdate,
    RowUpdated,
    SortBy,
)
from headrace.engine.run import Started
from headrace.engine.scripts.messages import Script, ScriptFailed, ScriptResult, ScriptRunner
from headrace.engine.scripts.pool import ScriptPool
from headrace.engine.web.messages import HttpAnswer, HttpFailure, HttpRequest, HttpTransport
from headrace.engine.web.transport import AioHttpTransport

__all__ = [
    "AioHttpTransport",
    "Author",
    "AutomationContext",
    "AutomationMetadata",
    "Cancellation",
    "Claim",
    "Claimed",
    "Clock",
    "HandOver",
    "Hold",
    "HttpAnswer",
    "HttpFailure",
    "HttpRequest",
    "HttpTransport",
    "Journal",
    "Leave",
    "NewRow",
    "Orchestrator",
    "Outcome",
    "OwnershipLost",
    "Plan",
    "PlatformUnavailable",
    "Ports",
    "Postpone",
    "Publication",
    "QueryRefused",
    "RowConflict",
    "RowCreated",
    "RowDelete",
    "RowDeleted",
    "RowEffect",
    "RowEntry",
    "RowMissing",
    "RowPage",
    "RowQuery",
    "RowRefused",
    "RowStore",
    "RowUpdate",
    "RowUpdated",
    "RunHeads",
    "Script",
    "ScriptFailed",
    "ScriptPool",
    "ScriptResult",
    "ScriptRunner",
    "SortBy",
    "Standing",
    "Started",
    "StepCrashed",
    "StepError",
    "SystemClock",
    "compile_plan",
    "encode_record",
    "end_for_caller",
    "end_of",
    "get_metadata",
    "has_errored",
    "is_cron",
    "no_run_for_caller",
    "reply_of",
    "reply_without_run",
    "step_key",
]
