"""`groups reset`."""

from typing import Annotated

import typer

from headrace.cli.output import Failed, Json, UsageError, connected_settings, console, print_json, with_storage
from headrace.streams.admin import reset_group

app = typer.Typer(help="Consumer groups.", no_args_is_help=True)


@app.callback()
def groups() -> None:
    """Consumer groups."""


@app.command("reset")
def reset(
    group: Annotated[str, typer.Argument(help="As the service named it when it stopped")],
    to_earliest: Annotated[bool, typer.Option("--to-earliest", help="Read all that is retained again")] = False,
    to_latest: Annotated[bool, typer.Option("--to-latest", help="Pass by what came meanwhile")] = False,
    as_json: Json = False,
) -> None:
    """Set a stopped group's offsets, where it would not choose by itself."""
    if to_earliest == to_latest:
        raise UsageError("choose one: --to-earliest or --to-latest")
    settings = connected_settings()
    partitions = sorted(with_storage(settings, lambda storage: storage.groups.known(group)))
    if not partitions:
        raise Failed(f"group {group!r} has never committed an offset here")
    reset_group(settings.kafka, group, partitions, earliest=to_earliest)
    if as_json:
        print_json({"group": group, "partitions": len(partitions), "to": "earliest" if to_earliest else "latest"})
    else:
        console.print(f"{group}: {len(partitions)} partitions set; start its services", highlight=False)
