"""`event.publish`: a domain event, emitted with the run's end."""

from typing import Annotated, ClassVar

from pydantic import AfterValidator

from headrace.contracts import limits
from headrace.contracts.cloudevents import Event
from headrace.contracts.errors import ContractError
from headrace.contracts.jobs import derived_uuid
from headrace.contracts.representable import refuse_deep
from headrace.contracts.reserved import RESERVED
from headrace.contracts.topics import EVENTS
from headrace.engine.errors import StepError
from headrace.engine.plain import dumps
from headrace.engine.publications import own_event, published
from headrace.engine.run import Run
from headrace.engine.steps.base import Compute, Inputs, Outputs, PureStep, checked
from headrace.engine.steps.inputs import Attribute


def _not_reserved(type: str) -> str:
    if type.lower().startswith(RESERVED):
        raise ValueError("types that begin with `headrace.` are Headrace's own")
    return type


def _in_header(text: str) -> str:
    if not text.isprintable():
        raise ValueError("it becomes a header and may hold no control characters")
    return _in_key(text)


def _in_key(text: str) -> str:
    if len(text.encode(errors="replace")) > limits.ATTRIBUTE:
        raise ValueError(f"it has more than {limits.ATTRIBUTE} bytes")
    return text


HeaderText = Annotated[Attribute, AfterValidator(_in_header)]


class EventPublishInputs(Inputs):
    """`type` and `data` of the event.

    `source` is `headrace/<app>/<automation>`, `topic` the common events topic (a full name), and `key`, which orders
    events, the job's key, where they are not given.
    """

    type: Annotated[HeaderText, AfterValidator(_not_reserved)]
    data: object = None
    key: Annotated[Attribute, AfterValidator(_in_key)] | None = None
    subject: HeaderText | None = None
    source: HeaderText | None = None
    topic: Attribute | None = None


class EventPublish(PureStep):
    """Publishes an event in the transaction that ends the run, even if a later step fails."""

    use = "event.publish"
    inputs = EventPublishInputs
    outputs: ClassVar[dict[str, str]] = {
        "id": "the event's ce_id, the same each time this step of this run is done",
        "topic": "where it goes",
    }
    effect = "once"
    errors: ClassVar[dict[str, str]] = {
        "bad_input": "an input does not fit; the message names it",
        "too_large": "`data` has more than 1 MB as JSON",
        "topic_refused": "the app may not publish to `topic`",
    }
    example = """
- id: tell
  use: event.publish
  with:
    type: flight.late
    subject: "{{ trigger.id }}"
    data: {flight: "{{ trigger.row.flight }}", minutes: "{{ trigger.row.dep_delay }}"}
"""

    def bind(self, rendered: Outputs) -> Compute:
        """Validates the inputs; the topic's permission needs the run."""
        inputs = checked(EventPublishInputs, rendered)
        body = dumps(inputs.data)
        if len(body) > limits.EVENT_BODY:
            raise StepError("too_large", f"inputs: data: {len(body)} bytes as JSON; {limits.EVENT_BODY} are accepted")
        try:
            refuse_deep(body, "data")
        except ContractError as error:
            raise StepError("bad_input", f"inputs: {error.message}") from None

        def compute(run: Run) -> Outputs:
            topic = _topic(inputs.topic, run)
            event = _event(inputs, run)
            run.publications.append(published(event, topic, inputs.key or run.job.key, body))
            return {"success": True, "id": event.id, "topic": topic}

        return compute


def _topic(wanted: str | None, run: Run) -> str:
    ports = run.ports
    common = EVENTS.full_name(ports.prefix)
    if wanted is None or wanted == common:
        return common
    # Our own topics carry our own contracts; no permission opens them.
    if wanted.startswith(f"{ports.prefix}.") or not ports.allowed_topics(run.job.app, wanted):
        raise StepError(
            "topic_refused", f"the app {run.job.app} may not publish to this topic; {common} is open to all"
        )
    return wanted


def _event(inputs: EventPublishInputs, run: Run) -> Event:
    return own_event(
        run.job,
        derived_uuid(run.key),
        inputs.type,
        run.now,
        subject=inputs.subject or "",
        source=inputs.source or "",
    )
