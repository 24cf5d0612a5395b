"""A schema registry after its documented REST API: `GET /schemas/ids/{id}`, `GET /subjects/{subject}/versions/{v}`."""

import json
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


class SchemaRegistry:
    """Schemas by number, each as the API answers it; it can be away (503) and is asked over HTTP."""

    def __init__(self) -> None:
        self.schemas: dict[int, Mapping[str, Any]] = {}
        self.versions: dict[str, Mapping[str, Any]] = {}
        """By `subject/version`."""
        self.is_away = False
        self.asked: list[str] = []
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status, body = registry.answer(urlsplit(self.path).path)
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                """Tests have logs of their own."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, path: str) -> tuple[int, Mapping[str, Any]]:
        self.asked.append(path)
        if self.is_away:
            return 503, {"error_code": 50301, "message": "away"}
        match path.strip("/").split("/"):
            case ["schemas", "ids", id] if int(id) in self.schemas:
                return 200, self.schemas[int(id)]
            case ["schemas", "ids", _]:
                return 404, {"error_code": 40403, "message": "Schema not found"}
            case ["subjects", subject, "versions", version] if f"{subject}/{version}" in self.versions:
                return 200, self.versions[f"{subject}/{version}"]
            case _:
                return 404, {"error_code": 404, "message": "HTTP 404 Not Found"}

    @contextmanager
    def served(self) -> Generator["SchemaRegistry"]:
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


def framed(id: int, value: bytes) -> bytes:
    """A value in the registry's wire format."""
    return b"\0" + id.to_bytes(4, "big") + value
