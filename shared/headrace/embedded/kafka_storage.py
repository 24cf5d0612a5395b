"""The embedded broker's log directory: formatted once, reused ever after, mended when a formatting was cut short."""

import secrets
import shutil
from base64 import urlsafe_b64encode
from enum import Enum
from pathlib import Path

from headrace.embedded.errors import PartDied, StackError
from headrace.embedded.jars import KAFKA_VERSION
from headrace.embedded.processes import Children

NODE_ID = "1"

FORMAT_TIMEOUT_S = 60.0
"""It takes a second; on a loaded machine more."""

_METADATA_TOPIC = "__cluster_metadata-0"
"""KRaft's own log; formatting and a first, unfinished start write nothing else."""


class Condition(Enum):
    """What a log directory is."""

    FORMATTED = "formatted"
    UNFORMATTED = "unformatted"
    """Missing, empty or half formatted; it holds no records, so it may be made anew."""
    BROKEN = "broken"
    """It holds records and has lost what says whose they are."""


def condition(data: Path) -> Condition:
    """Looks at a log directory. Kafka's formatter writes `meta.properties` last and in one piece."""
    if _meta_is_whole(data / "meta.properties"):
        return Condition.FORMATTED
    return Condition.BROKEN if _holds_records(data) else Condition.UNFORMATTED


def prepare(children: Children, directory: Path, java: str, classpath: str, config: Path) -> None:
    """Formats `directory`/data unless it is; raises StackError where that would lose records."""
    data, formatted_by = directory / "data", directory / "formatted-by"
    found = condition(data)
    if found is Condition.FORMATTED:
        _check_version(directory, formatted_by)
        return
    if found is Condition.BROKEN:
        raise StackError(
            f"the broker's data in {data} have no usable meta.properties; put the file back, or remove "
            f"{directory} to begin with an empty broker"
        )
    if data.exists():
        shutil.rmtree(data)
    cluster_id = urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")
    # Given as --cluster-id=…: an id may begin with "-".
    tool = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", "-c", str(config)]
    child = children.spawn("Kafka's formatter", [java, *FAST_START, "-cp", classpath, *tool], directory / "format.log")
    try:
        if not child.join(FORMAT_TIMEOUT_S):
            raise StackError(f"{child.name} took over {FORMAT_TIMEOUT_S:.0f} s; its log is {child.log}")
        if child.exit_code != 0:
            child.check()
        formatted_by.write_text(KAFKA_VERSION)
    except PartDied as error:
        raise StackError(f"the broker's log directory {data} could not be formatted: {error}") from None
    finally:
        children.discard(child)


FAST_START = (
    # The first compiler only: half the CPU of a start (2.8 s for 5.2 s), and still half of it, at more records a
    # second, after a million transactional records: the second compiler never earns back its work here.
    "-XX:TieredStopAtLevel=1",
    # No collector threads beside the services; a heap this small is collected in milliseconds.
    "-XX:+UseSerialGC",
)


def _check_version(directory: Path, formatted_by: Path) -> None:
    """A broker cannot read what a newer one has formatted, and says so in a way that nobody understands."""
    # Before this was noted, 4.4 formatted.
    found = formatted_by.read_text().strip() if formatted_by.exists() else "4.4.0"
    if [int(part) for part in found.split(".")] > [int(part) for part in KAFKA_VERSION.split(".")]:
        raise StackError(
            f"the broker's data in {directory} were made by Kafka {found}, and this is {KAFKA_VERSION}; remove that "
            "directory to begin with an empty broker, or name a running one in KAFKA_BOOTSTRAP_SERVERS"
        )


def _meta_is_whole(meta: Path) -> bool:
    try:
        lines = meta.read_text(errors="replace").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return False
    found = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return found.get("node.id") == NODE_ID and bool(found.get("cluster.id")) and found.get("version") == "1"


def _holds_records(data: Path) -> bool:
    return any(log.parent.name != _METADATA_TOPIC and log.stat().st_size > 0 for log in data.glob("*/*.log"))
