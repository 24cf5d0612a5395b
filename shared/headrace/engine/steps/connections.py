"""What steps that use a connection have in common."""

from typing import Annotated, TypeVar

from pydantic import StringConstraints

from headrace.contracts.validation import Said
from headrace.engine.connections import LlmConnection, MongoConnection, SmtpConnection, SqlConnection
from headrace.engine.errors import StepError
from headrace.engine.run import Run
from headrace.engine.steps.inputs import ShortText

ConnectionT = TypeVar("ConnectionT", LlmConnection, MongoConnection, SmtpConnection, SqlConnection)

ConnectionRef = Annotated[
    ShortText, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$"), Said("expected a connection's name")
]
"""The name of one of the app's connections."""

NO_CONNECTION = "the app has no connection of this name, or it is of another type; not retryable"
"""The entry `no_connection` of these steps' tables of errors."""


def connection_of(run: Run, name: str, kind: type[ConnectionT]) -> ConnectionT:
    """The connection `name` of the run's app, and of no other; raises StepError `no_connection`."""
    found = run.app.connections.get(name)
    if isinstance(found, kind):
        return found
    fitting = sorted(each for each, connection in run.app.connections.items() if isinstance(connection, kind))
    there = f"there are {', '.join(fitting)}" if fitting else "it has none of this type; an operator configures them"
    what = kind.model_fields["type"].annotation
    type_name = str(what).removeprefix("typing.Literal['").removesuffix("']")
    raise StepError("no_connection", f"the app {run.job.app} has no {type_name} connection {name}: {there}")


def not_here(what: str) -> StepError:
    """This process was started without a way to what the step needs."""
    return StepError("not_available", f"this process has no way to {what}: runs of the orchestrator have")
