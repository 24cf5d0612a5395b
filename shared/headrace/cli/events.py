"""`events publish`, `events tail`."""

import sys
from typing import Annotated
from uuid import uuid4

import orjson
import typer
from confluent_kafka import Consumer

from headrace.cli.output import Json, UsageError, connected_settings, console, print_json
from headrace.contracts.topics import EVENTS, ROWS
from headrace.publisher import Publisher, PublishError
from headrace.streams.records import read_message

app = typer.Typer(help="Publish events, watch them.", no_args_is_help=True)


@app.command("publish")
def publish(
    type: Annotated[str, typer.Argument(help="The CloudEvents type, for example order.created")],
    data: Annotated[str, typer.Argument(help="JSON, or - to read it from standard input")],
    app_name: Annotated[str, typer.Option("--app", help="The app whose automations see it")],
    key: Annotated[str | None, typer.Option("--key", help="Events of one key stay in order")] = None,
    id: Annotated[str | None, typer.Option("--id", help="The same id again is the same event")] = None,
    as_json: Json = False,
) -> None:
    """Publish a domain event and wait for Kafka's confirmation."""
    try:
        body: object = orjson.loads(sys.stdin.read() if data == "-" else data)
    except orjson.JSONDecodeError as error:
        raise UsageError(f"the data are not JSON: {error}") from None
    settings = connected_settings()
    servers = settings.kafka["bootstrap.servers"]
    with Publisher(app_name, bootstrap_servers=servers, prefix=settings.prefix, kafka=settings.kafka) as publisher:
        published = publisher.event(type, body, key=key, id=id)
    if as_json:
        print_json(published._asdict())
    else:
        console.print(f"{published.id} at {published.topic}/{published.partition}/{published.offset}", highlight=False)


@app.command("tail")
def tail(
    rows: Annotated[bool, typer.Option("--rows", help="Row changes instead of domain events")] = False,
    count: Annotated[int, typer.Option("--count", help="End after so many; 0 goes on until Ctrl-C", min=0)] = 0,
    from_beginning: Annotated[bool, typer.Option("--from-beginning")] = False,
) -> None:
    """Print events as they come, one JSON object a line."""
    settings = connected_settings()
    consumer = Consumer(
        {
            **settings.kafka,
            # A group of its own, never committed: watching changes nothing.
            "group.id": f"{settings.prefix}-tail-{uuid4()}",
            "auto.offset.reset": "earliest" if from_beginning else "latest",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([(ROWS if rows else EVENTS).full_name(settings.prefix)])
    seen = 0
    try:
        while count == 0 or seen < count:
            message = consumer.poll(0.2)
            if message is None:
                continue
            if (error := message.error()) is not None:
                raise PublishError(f"reading failed: {error}")
            record = read_message(message)
            attributes = {name: value.decode(errors="replace") for name, value in record.headers}
            body = (record.value or b"").decode(errors="replace")
            print_json({"offset": record.offset, "partition": record.partition, **attributes, "body": body})
            seen += 1
    finally:
        consumer.close()
