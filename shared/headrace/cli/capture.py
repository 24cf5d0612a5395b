"""`capture resume-at`, `capture snapshot`: where change capture goes on when it cannot go on by itself."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from headrace.cli.output import Failed, Json, UsageError, connected_settings, console, print_json, with_storage
from headrace.contracts.errors import ContractError
from headrace.contracts.positions import (
    ChangePosition,
    Position,
    SnapshotPosition,
    Stamp,
    beginning_at,
    read_stamp,
    write_position,
)
from headrace.installation import capture_config
from headrace.settings import Settings
from headrace.storage import ChangesRefused, PositionLost, Storage
from headrace.streams.admin import member_client_ids
from headrace.streams.source import write_place

app = typer.Typer(help="Change capture: where it goes on.", no_args_is_help=True)


@app.callback()
def capture() -> None:
    """Change capture: where it goes on."""


@app.command("resume-at")
def resume_at(
    time: Annotated[str, typer.Argument(help="2026-11-26T16:30:00Z, or SECONDS.NUMBER as the service named it")],
    as_json: Json = False,
) -> None:
    """Go on with the changes of rows from TIME on; those before it, since the service stopped, get no event."""
    settings = _stopped()
    position = beginning_at(_stamp(time))
    with_storage(settings, lambda storage: _try(storage, position))
    _write(settings, position, as_json)


@app.command("snapshot")
def snapshot(as_json: Json = False) -> None:
    """Publish every row as it is now (op `r`, which triggers nothing), then go on with the changes from now on."""
    settings = _stopped()
    now = with_storage(settings, lambda storage: storage.changes.now())
    _write(settings, SnapshotPosition(now), as_json)


def _stopped() -> Settings:
    """The settings; raises Failed while a capture lives, which would write its own place over ours."""
    settings = connected_settings()
    group = capture_config(settings).group
    if members := member_client_ids(settings.kafka, group):
        raise Failed(f"change_capture is running ({', '.join(sorted(members))}): stop it first")
    return settings


def _stamp(text: str) -> Stamp:
    try:
        return read_stamp(text)
    except ContractError:
        pass
    try:
        time = datetime.fromisoformat(text)
        # The oplog counts from 1 within a second.
        return Stamp(int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()), 1)
    except (ValueError, OverflowError):
        raise UsageError(f"{text!r} is no time: expected one such as 2026-11-26T16:30:00Z, or SECONDS.NUMBER") from None


async def _try(storage: Storage, position: ChangePosition) -> None:
    try:
        await storage.changes.open(position)
        await storage.changes.read(0.1)
    except (PositionLost, ChangesRefused) as error:
        oldest = await storage.changes.oldest()
        reach = "" if oldest is None else f"; its changes reach back to {oldest.isoformat()}"
        raise Failed(f"MongoDB cannot go on there: {error}{reach}") from None
    finally:
        await storage.changes.close()


def _write(settings: Settings, position: Position, as_json: bool) -> None:
    config = capture_config(settings)
    write_place(config, write_position(position))
    if as_json:
        kind = "snapshot" if isinstance(position, SnapshotPosition) else "resume-at"
        print_json({"group": config.group, "to": kind, "time": position.time.time, "stamp": str(position.time)})
    else:
        what = "every row, and then the changes" if isinstance(position, SnapshotPosition) else "the changes"
        console.print(f"{config.group}: {what} from {position.time.time.isoformat()} on; start it", highlight=False)
