"""What tests of dead letters share: the command line's answers, and steps that can be broken and mended."""

import subprocess
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import orjson
from conftest import Installation

_MODULE = '''"""A step with a bug that goes away when the file `mended` lies beside this module."""

from pathlib import Path

from headrace.engine.steps.base import Inputs, PureStep


class Fragile(PureStep):
    """Crashes until it is mended."""

    use = "test.fragile"
    inputs = Inputs
    outputs = {}
    effect = "none"

    def bind(self, rendered):
        def compute(run):
            if not (Path(__file__).parent / "mended").exists():
                raise RuntimeError("a bug")
            return {"success": True}

        return compute


fragile = Fragile()
'''


def install_fragile(directory: Path) -> Path:
    """Writes the step's package into `directory`, which then belongs on PYTHONPATH; answers the file that mends it."""
    info = directory / "headrace_fragile-1.0.dist-info"
    info.mkdir(parents=True)
    (directory / "headrace_fragile.py").write_text(_MODULE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: headrace-fragile\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[headrace.steps]\nfragile = headrace_fragile:fragile\n")
    return directory / "mended"


def dlq(installation: Installation, *arguments: str, code: int = 0) -> Any:
    """What `headrace dlq … --json` answers; fails the test if it ends with another code."""
    done = installation.headrace("dlq", *arguments, "--json")
    assert done.returncode == code, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return orjson.loads(done.stdout)


def audit(installation: Installation) -> Any:
    """What `headrace audit --json` answers, but how a test's automations were applied."""
    done = installation.headrace("audit", "--json")
    assert done.returncode == 0, done.stderr
    return [each for each in orjson.loads(done.stdout) if each["action"] != "apply"]


def held(installation: Installation) -> int:
    """How many timers the scheduler holds, as their automations are paused or catch up."""
    metrics = installation.get("scheduler-0", "/metrics").splitlines()
    return sum(int(float(line.split(" ")[1])) for line in metrics if line.startswith("headrace_timers_held{"))


def letters(installation: Installation, *arguments: str) -> list[Any]:
    """The letters that are found once all is quiet, the oldest first."""
    installation.await_quiet()
    return dlq(installation, "list", *arguments)[::-1]


def refused(done: "subprocess.CompletedProcess[str]", code: int, words: str) -> None:
    """The command says `words` and ends with `code`."""
    assert done.returncode == code, (done.stdout, done.stderr)
    assert words in done.stderr
    assert "Traceback" not in done.stderr


class OtherSide:
    """An HTTP server on the loopback that remembers (path, Idempotency-Key) of every request, and answers 503 to the
    paths in `away`, else how many it has had of that path. A context manager."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self.away: set[str] = set()
        self._lock = Lock()
        side = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, answer = side.answer(self.path, self.headers["Idempotency-Key"])
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            # Hundreds connect at once; whom the default of 5 turns away comes back a second later.
            request_queue_size = 1_000

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, path: str, key: str) -> tuple[int, bytes]:
        with self._lock:
            self.requests.append((path, key))
            asked = len(self.keys(path))
        return (503, b"{}") if path in self.away else (200, orjson.dumps({"answer": asked}))

    def keys(self, path: str) -> list[str]:
        """The keys of the requests to a path, in order."""
        return [key for at, key in self.requests if at == path]

    def __enter__(self) -> "OtherSide":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
