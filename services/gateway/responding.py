"""The answer to a synchronous webhook."""

from http import HTTPStatus

from starlette.responses import Response

from headrace.contracts.replies import NOT_STARTED, Reply
from services.gateway.answers import answer
from services.gateway.problems import Problem

_WELL = frozenset(("success", "stopped"))
"""Ends of a run that are no failure."""


def run_url(app: str, run_id: str) -> str:
    """Where a run is found, by who has a key."""
    return f"/api/v1/apps/{app}/runs/{run_id}"


def accepted(event_id: str) -> Response:
    """Kafka has the event, and nobody waits for what becomes of it."""
    return answer({"id": event_id}, HTTPStatus.ACCEPTED)


def accepted_run(event_id: str, app: str, run_id: str) -> Response:
    """The same, with the run that will answer."""
    url = run_url(app, run_id)
    return answer({"id": event_id, "run_id": run_id, "url": url}, HTTPStatus.ACCEPTED, {"Location": url})


def replied(reply: Reply, event_id: str, app: str, run_id: str) -> Response:
    """What the run's end comes to; raises Problem for a run that failed, with nothing of its error: the caller may be
    anybody who knows the URL, and an error quotes what it failed on."""
    if reply.status == NOT_STARTED:
        return accepted(event_id)
    url = run_url(app, run_id)
    if reply.status not in _WELL:
        told = f"the run ended {reply.status}; who has a key of the app finds it at {url}"
        raise Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "run_failed", told, instance=url)
    if reply.oversize is not None:
        told = f"the answer has {reply.oversize} bytes, more than are sent or kept; the run is at {url}"
        raise Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "answer_too_large", told, instance=url)
    return answer(reply.value) if reply.answers else Response(status_code=HTTPStatus.NO_CONTENT)
