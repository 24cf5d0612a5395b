"""`mongo.query`: one operation on a configured MongoDB."""

from collections.abc import Mapping
from typing import ClassVar

from headrace.contracts.automation import Retry
from headrace.engine.connections import MongoConnection
from headrace.engine.run import Run
from headrace.engine.steps.base import AwaitingStep, Effect, Outputs, Perform, checked
from headrace.engine.steps.connections import NO_CONNECTION, connection_of, not_here
from headrace.engine.steps.mongo_inputs import READS, MongoQueryInputs, refuse_operators
from headrace.language import Guard


class MongoQuery(AwaitingStep):
    """Finds, aggregates, counts, inserts, updates or deletes documents.

    Operators come from the definition only. `{$oid: text}` stands for an ObjectId; answers give its text. Reading has
    no effect and is made again when its run is; writing is made at most once.
    """

    use = "mongo.query"
    inputs = MongoQueryInputs
    outputs: ClassVar[dict[str, str]] = {
        "documents": "of find and aggregate: the documents, ObjectIds as text",
        "count": "of find, aggregate and count: how many",
        "truncated": "true where there were more than `limit`, or than 1 MB",
        "ids": "of insert: the new documents' ids; of an upsert: the new one's",
        "inserted": "how many were inserted",
        "matched": "of update: how many fitted",
        "modified": "of update: how many were changed by it",
        "deleted": "of delete: how many",
    }
    effect = "at_most_once"
    errors: ClassVar[dict[str, str]] = {
        "no_connection": NO_CONNECTION,
        "operator_in_data": "a template gave a name that begins with $, or in an expression a text that does",
        "connection": "the database cannot be reached (retryable), or does not accept us",
        "timeout": "the operation took longer than the connection allows; retryable",
        "constraint": "a document violates a unique index or the collection's rules",
        "bad_value": "a value has no form in MongoDB",
        "bad_query": "the database does not accept the operation",
        "unknown_outcome": "the connection broke while a write was under way",
    }
    only_constant: ClassVar[dict[str, str]] = {
        "operation": "it decides whether the step writes; use a branch",
        "collection": "data would choose what is read and written; use a branch",
    }
    retry = Retry(attempts=3, backoff=1.0, factor=2.0, max=30.0)
    example = """\
- id: carrier
  use: mongo.query
  with:
    connection: catalogue
    operation: find
    collection: carriers
    filter: {code: "{{ trigger.row.carrier }}", retired: {$exists: false}}
    limit: 1
"""

    def effect_of(self, constants: Mapping[str, object]) -> Effect:
        """None of what reads: an aggregation with `$out` or `$merge` is refused."""
        operation = constants.get("operation")
        return "none" if isinstance(operation, str) and operation in READS else self.effect

    def guard(self) -> Guard:
        """Refuses operators in data."""
        return refuse_operators

    def bind(self, rendered: Outputs) -> Perform:
        """Validates the inputs and that they fit the operation."""
        inputs = checked(MongoQueryInputs, rendered)
        operation = inputs.wanted()

        async def perform(run: Run) -> Outputs:
            connection = connection_of(run, inputs.connection, MongoConnection)
            if run.ports.mongodb is None:
                raise not_here("MongoDB databases")
            done = await run.ports.mongodb.execute(run.job.app, inputs.connection, connection, operation)
            return {"success": True, **done}

        return perform
