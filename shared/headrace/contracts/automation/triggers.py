"""What starts an automation."""

from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field, StringConstraints, field_validator, model_validator

from headrace.contracts.automation.schedules import check_schedule
from headrace.contracts.automation.values import ConditionSource, Duration, Name, Part
from headrace.contracts.automation.verification import Verification
from headrace.contracts.validation import Said


class RowTrigger(Part):
    """Fires on a change of a row of `table`; `only_if_changed` names columns of which one must differ."""

    type: Literal["row.created", "row.updated", "row.deleted"]
    table: Name
    when: ConditionSource | None = None
    only_if_changed: tuple[str, ...] = ()


class EventTrigger(Part):
    """Fires on domain events whose CloudEvents type matches the pattern `event`; `*` stands for any text."""

    type: Literal["event"]
    event: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    when: ConditionSource | None = None


Method = Literal["POST", "PUT", "PATCH", "GET", "DELETE"]

_WITHOUT_BODY: frozenset[Method] = frozenset({"GET", "DELETE"})


LONGEST_WAIT_S = 300.0
"""Of a caller: proxies give a connection on which nothing comes up after a minute, unless they are told otherwise."""


class Respond(Part):
    """The caller gets the value of the run's `collect` step; after `wait` it is told where the run will be found."""

    wait: Annotated[Duration, Field(le=LONGEST_WAIT_S)] = 30.0
    """How long the caller waits, at the most."""


class WebhookTrigger(Part):
    """Fires on a request to the app's webhook `id`.

    Automations of one app that listen to the same `id` agree in all but `when` and `respond`: there is one door.
    """

    type: Literal["webhook"]
    id: Name
    when: ConditionSource | None = None
    methods: Annotated[tuple[Method, ...], Field(min_length=1)] = ("POST",)
    """The requests that are taken."""
    verify: Verification | None = None
    """How the sender proves who it is; without it, whoever knows the URL is believed."""
    dedupe_key: Annotated[str, StringConstraints(min_length=1)] | None = None
    """A template that gives the delivery's id, in place of the scheme's: deliveries with the same one are one event."""
    respond: Respond | None = None
    """Makes it synchronous: the caller waits for this automation's run. Of a webhook's automations one may have it."""

    @field_validator("methods")
    @classmethod
    def _once(cls, methods: tuple[Method, ...]) -> tuple[Method, ...]:
        if len(set(methods)) < len(methods):
            raise ValueError("a method is there twice")
        return methods

    @model_validator(mode="after")
    def _signs_a_body(self) -> Self:
        if self.verify is not None and self.verify.scheme != "token" and not _WITHOUT_BODY.isdisjoint(self.methods):
            raise ValueError(
                "a signature of a request without a body is the same for all of them: with `verify` other than a "
                "token, `methods` are POST, PUT and PATCH"
            )
        return self

    @property
    def door(self) -> tuple[object, ...]:
        """What all that listen to one webhook have the same."""
        return self.methods, self.verify, self.dedupe_key


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("unknown time zone; expected a name such as Europe/Berlin or UTC") from None
    return name


class CronTrigger(Part):
    """Fires at the times of `schedule` (five fields, six with seconds first, `@daily`, `@every 5m`) in `timezone`.

    `missed` says what becomes of times at which nothing could fire: none of them, the last, or all.
    """

    type: Literal["cron"]
    schedule: Annotated[
        str,
        StringConstraints(strip_whitespace=True, min_length=1),
        AfterValidator(check_schedule),
        # For editors; what is wrong is said by `check_schedule`.
        Field(json_schema_extra={"pattern": r"^\s*(@\w+|@every\s+\S+|\S+(\s+\S+){4,5})\s*$"}),
    ]
    timezone: Annotated[str, AfterValidator(_zone)] = "UTC"
    missed: Literal["skip", "run_once", "run_all"] = "run_once"
    when: ConditionSource | None = None


class ManualTrigger(Part):
    """Fires when a person or another automation starts it, with the document's `fields`."""

    type: Literal["manual"]
    when: ConditionSource | None = None


class AutomationTrigger(Part):
    """Fires when a run of `automation` (of the same app; `*` for any) has ended: at all, or other than well."""

    type: Literal["automation.finished", "automation.failed"]
    automation: Annotated[
        str,
        StringConstraints(pattern=r"^([a-z0-9_-]{1,64}|\*)$"),
        Said("expected the name of an automation, or * for any"),
    ]
    when: ConditionSource | None = None


Trigger = Annotated[
    RowTrigger | EventTrigger | WebhookTrigger | CronTrigger | ManualTrigger | AutomationTrigger,
    Field(discriminator="type"),
]

TRIGGER_TYPES = (
    "row.created",
    "row.updated",
    "row.deleted",
    "event",
    "webhook",
    "cron",
    "manual",
    "automation.finished",
    "automation.failed",
)
TRIGGERS = (RowTrigger, EventTrigger, WebhookTrigger, CronTrigger, ManualTrigger, AutomationTrigger)
