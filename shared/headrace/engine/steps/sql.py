"""`sql.query`: one statement on a configured database, its parameters bound."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Self

from pydantic import Field, StringConstraints, model_validator

from headrace.contracts.automation import Retry
from headrace.engine.connections import SqlConnection
from headrace.engine.ports import SqlStatement
from headrace.engine.run import Run
from headrace.engine.sql.binds import binds
from headrace.engine.sql.statements import reads
from headrace.engine.steps.base import AwaitingStep, Effect, Inputs, Outputs, Perform, checked
from headrace.engine.steps.connections import NO_CONNECTION, ConnectionRef, connection_of, not_here
from headrace.engine.steps.inputs import JsonObject

MAX_ROWS = 1_000
"""Of one answer: what a run keeps of it goes through its journal. More is a job for a query with its own window."""


class SqlQueryInputs(Inputs):
    """`query` with binds such as `:carrier`, which `parameters` gives; a list is `IN :codes`. There are
    none in texts, quoted names and comments, as the database reads these.

    `writes` says that a SELECT calls functions that write.
    """

    connection: ConnectionRef
    query: Annotated[str, StringConstraints(min_length=1, max_length=32_768)]
    parameters: JsonObject = Field(default_factory=dict)
    max_rows: Annotated[int, Field(ge=1, le=MAX_ROWS)] = MAX_ROWS
    writes: bool = False

    @model_validator(mode="after")
    def _every_bind_is_given(self) -> Self:
        # Which database reads it is known where it is executed: there the rest is refused.
        mysql, others = binds(self.query, mysql=True), binds(self.query, mysql=False)
        if missing := sorted((mysql & others) - self.parameters.keys()):
            raise ValueError(f"parameters: the query has :{missing[0]}, and nothing is given for it")
        if unused := sorted(self.parameters.keys() - (mysql | others)):
            raise ValueError(f"parameters: the query has no :{unused[0][:64]}")
        return self


class SqlQuery(AwaitingStep):
    """Executes one statement on a PostgreSQL, MySQL, MariaDB or SQLite database.

    A statement that only reads has no effect: it is made again when its run is. Any other commits by itself, and is
    made at most once: when its worker dies meanwhile the step ends as `unknown_outcome`.
    """

    use = "sql.query"
    inputs = SqlQueryInputs
    outputs: ClassVar[dict[str, str]] = {
        "rows": "an array of objects by column; decimals and times as such; of two columns of one name the last",
        "row_count": "how many rows, or how many a statement without rows changed",
        "truncated": "true where there were more than `max_rows`, or than 1 MB",
    }
    effect = "at_most_once"
    errors: ClassVar[dict[str, str]] = {
        "bad_input": "an input does not fit, or a bind has no value; the message names it",
        "no_connection": NO_CONNECTION,
        "connection": "the database cannot be reached (retryable), or does not accept user, password or database",
        "busy": "all connections of the pool are in use; retryable",
        "conflict": "a deadlock or serialization failure: nothing was done; retryable",
        "timeout": "the statement took longer than the connection allows; retryable",
        "constraint": "the rows violate a constraint",
        "bad_value": "a parameter's value does not fit its column, or is one that the database cannot take",
        "bad_statement": "the database does not accept the statement, or it is more than one",
        "read_only": "the statement writes, in a place that only reads",
        "unknown_outcome": "the connection or the time ended while a write was under way",
        "database": "any other complaint of the database, by its code",
    }
    only_constant: ClassVar[dict[str, str]] = {
        "query": "write a bind such as `:name` and give its value in `parameters`: data would become SQL",
        "writes": "it decides how the run is kept",
    }
    retry = Retry(attempts=3, backoff=1.0, factor=2.0, max=30.0)
    example = """\
- id: late
  use: sql.query
  with:
    connection: warehouse
    query: SELECT carrier, count(*) AS flights FROM delays WHERE minutes > :least GROUP BY carrier
    parameters: {least: "{{ trigger.row.dep_delay }}"}
"""

    def effect_of(self, constants: Mapping[str, object]) -> Effect:
        """None where the statement only reads; the database is asked to hold it to that."""
        query, writes = constants.get("query"), constants.get("writes", False)
        return "none" if isinstance(query, str) and writes in (False, "false") and reads(query) else self.effect

    def bind(self, rendered: Outputs) -> Perform:
        """Validates the inputs, and that every bind is given."""
        inputs = checked(SqlQueryInputs, rendered)
        only_reads = reads(inputs.query) and not inputs.writes

        async def perform(run: Run) -> Outputs:
            connection = connection_of(run, inputs.connection, SqlConnection)
            if run.ports.sql is None:
                raise not_here("SQL databases")
            is_read = only_reads or connection.read_only
            statement = SqlStatement(inputs.query, inputs.parameters, inputs.max_rows, is_read)
            done = await run.ports.sql.execute(run.job.app, inputs.connection, connection, statement)
            outputs: Outputs = {"success": True, "rows": list(done.rows), "row_count": done.count}
            return {**outputs, "truncated": True} if done.truncated else outputs

        return perform
