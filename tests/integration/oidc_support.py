"""An issuer of tokens of the tests' own, over real HTTP: discovery, key set, keys that it signs with."""

import json
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

AUDIENCE = "headrace-tests"


@dataclass
class Issuer:
    """Its keys by id, with their algorithm; what it serves can be changed while it runs."""

    url: str = ""
    keys: dict[str, tuple[Any, str]] = field(default_factory=dict)
    documents: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    is_down: bool = False
    names_algorithms: bool = True

    def add(self, id: str, algorithm: str = "RS256") -> None:
        """A new key, which the key set has from now on."""
        made = {
            "R": lambda: rsa.generate_private_key(65537, 2048),
            "P": lambda: rsa.generate_private_key(65537, 2048),
            "E": lambda: ec.generate_private_key(ec.SECP256R1()),
        }.get(algorithm[0] if algorithm != "EdDSA" else "", ed25519.Ed25519PrivateKey.generate)()
        self.keys[id] = (made, algorithm)

    def token(self, kid: str, signed_by: str = "", algorithm: str = "", **claims: Any) -> str:
        """A token that names `kid`; None for a claim leaves it out."""
        key, own = self.keys[signed_by or kid]
        now = int(time.time())
        given = {"iss": self.url, "aud": AUDIENCE, "sub": "u-1", "iat": now, "exp": now + 600, **claims}
        present = {name: value for name, value in given.items() if value is not None}
        return jwt.encode(present, key, algorithm or own, headers={"kid": kid})

    def public_pem(self, kid: str) -> bytes:
        public = self.keys[kid][0].public_key()
        return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)

    def answer(self, path: str) -> Any:
        self.asked.append(path)
        if path in self.documents:
            return self.documents[path]
        if path == "/.well-known/openid-configuration":
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        if path == "/keys":
            return {"keys": [self._jwk(id) for id in self.keys]}
        return None

    def _jwk(self, id: str) -> dict[str, Any]:
        key, algorithm = self.keys[id]
        made = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)  # type: ignore[call-overload]
        named = {"alg": algorithm} if self.names_algorithms else {}
        return {**made, **named, "kid": id, "use": "sig"}


@contextmanager
def serving() -> Generator[Issuer]:
    """An issuer that answers until the block ends."""
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = None if issuer.is_down else issuer.answer(self.path)
            body = json.dumps(found).encode()
            self.send_response(503 if found is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
