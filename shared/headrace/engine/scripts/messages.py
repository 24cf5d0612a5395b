"""What the engine asks of whatever runs scripts, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Script:
    """`code` is the body of a function of `inputs` and `context`.

    The same `seed` and `now_ms` (milliseconds since 1970) give it the same random numbers and the same time.
    """

    code: str
    inputs: Mapping[str, object]
    context: Mapping[str, object]
    seed: bytes
    now_ms: int


@dataclass(frozen=True, slots=True)
class ScriptResult:
    """What the function returned, as JSON has it, and the lines it logged."""

    value: object
    logs: tuple[str, ...]


class ScriptFailed(Exception):
    """A script gave nothing; `type` is a stable word, the message is for the author, `logs` are its lines so far."""

    def __init__(self, type: str, message: str, logs: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.type = type
        self.message = message
        self.logs = logs


class ScriptRunner(Protocol):
    """Runs scripts of all apps."""

    async def run(self, app: str, script: Script) -> ScriptResult:
        """Runs one script; apps take turns where many wait. Cancelling it ends the script.

        Raises ScriptFailed, and PlatformUnavailable where no process can be had.
        """
        ...


class NoScripts:
    """A ScriptRunner for engines that are given none."""

    async def run(self, app: str, script: Script) -> ScriptResult:
        """Raises ScriptFailed `script_unavailable`."""
        raise ScriptFailed("script_unavailable", "scripts cannot be run here")
