"""`topics`, `schema`."""

from enum import StrEnum
from typing import Annotated

import orjson
import typer

from headrace.cli.output import Json, connected_settings, console, print_json, print_table
from headrace.contracts.jobs import Job
from headrace.contracts.rows import RowChange
from headrace.contracts.runs import run_schema
from headrace.contracts.topics import TOPICS
from headrace.installation import topic_specs
from headrace.schema import automation_schema
from headrace.streams.admin import make_topics


class Document(StrEnum):
    """What has a JSON Schema."""

    AUTOMATION = "automation"
    JOB = "job"
    RUN = "run"
    ROW = "row"


def topics(
    make: Annotated[bool, typer.Option("--make", help="Make those that are missing, check the others.")] = False,
    as_json: Json = False,
) -> None:
    """The topics of this installation, and what is on them."""
    if make:
        settings = connected_settings()
        made = make_topics(settings.kafka, topic_specs(settings))
        if as_json:
            print_json({"made": made})
        else:
            console.print(f"made: {', '.join(made) or 'none, all were there'}", highlight=False)
        return
    rows = [(each.name, each.key, each.value, each.cleanup) for each in TOPICS]
    if as_json:
        print_json([dict(zip(("topic", "key", "value", "cleanup"), row, strict=True)) for row in rows])
    else:
        print_table(("topic", "key", "value", "cleanup"), rows)


def schema(document: Annotated[Document, typer.Argument()] = Document.AUTOMATION) -> None:
    """The JSON Schema of an automation (for editors), or of a message."""
    schemas = {
        Document.AUTOMATION: automation_schema,
        Document.JOB: Job.model_json_schema,
        Document.ROW: RowChange.model_json_schema,
        Document.RUN: run_schema,
    }
    # A file of an editor's, and of a repository: it is read, and compared.
    print(orjson.dumps(schemas[document](), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode())
