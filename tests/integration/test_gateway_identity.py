"""Keys over HTTP, tokens of an issuer, rates and TLS, as a gateway's callers meet them."""

import json
import ssl
from collections.abc import Callable, Generator, Sequence
from datetime import UTC, datetime, timedelta
from http.client import HTTPSConnection
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from conftest import DEADLINE_S, Installation, run_headrace, until
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from gateway_support import APP, client_of, key_of
from oidc_support import AUDIENCE, Issuer, serving

from headrace.embedded import Supervisor
from headrace.settings import Settings

pytestmark = pytest.mark.integration

Start = Callable[[Settings, Sequence[str]], Supervisor]
ROOT = f"/api/v1/apps/{APP}"


def test_a_key_is_made_shown_once_listed_and_revoked(shared_gateway: Installation) -> None:
    admin = client_of(shared_gateway, key_of(shared_gateway, "admin", "*"))
    made = admin.post("/api/v1/keys", {"name": "ci", "scopes": {APP: "editor"}, "expires_at": "2099-01-01T00:00:00Z"})
    assert (made.status, made.headers["cache-control"]) == (201, "no-store")
    text, id = made.json["text"], made.json["key"]
    assert text.startswith(made.json["prefix"] + "_")
    client = client_of(shared_gateway, text)
    assert client.get("/api/v1/me").json["scopes"] == {APP: "editor"}
    listed = admin.get("/api/v1/keys")
    (found,) = (each for each in listed.json["keys"] if each["key"] == id)
    assert (found["scopes"], found["state"], found["expires_at"][:4]) == ({APP: "editor"}, "valid", "2099")
    assert text not in listed.body.decode()
    until(lambda: _found(admin.get("/api/v1/keys").json, id)["used_at"] is not None, "the note of its use")
    assert client.get("/api/v1/keys").problem == "forbidden"
    assert admin.call("DELETE", f"/api/v1/keys/{id}").status == 204
    until(lambda: client.get("/api/v1/me").status == 401, "the key to be forgotten")
    assert admin.call("DELETE", f"/api/v1/keys/{id}").problem == "revoked"
    assert admin.call("DELETE", "/api/v1/keys/nobody").problem == "not_found"
    actions = admin.get("/api/v1/audit").json["actions"]
    assert [each["action"] for each in actions if each["asked"].get("key") == id] == ["revoke_key", "create_key"]
    assert text not in json.dumps(actions)


def _found(listed: Any, id: str) -> Any:
    return next(each for each in listed["keys"] if each["key"] == id)


def test_the_admin_of_an_app_makes_keys_of_that_app_alone(shared_gateway: Installation) -> None:
    admin = client_of(shared_gateway, key_of(shared_gateway, "admin", "mine"))
    other = shared_gateway.headrace("keys", "create", "theirs", "--role", "viewer", "--app", "theirs", "--json")
    for scopes in ({"theirs": "viewer"}, {"*": "viewer"}, {"mine": "viewer", "theirs": "viewer"}):
        assert admin.post("/api/v1/keys", {"name": "x", "scopes": scopes}).problem == "forbidden"
    assert admin.post("/api/v1/keys", {"name": "x", "scopes": {"mine": "viewer"}}).status == 201
    assert {app for each in admin.get("/api/v1/keys").json["keys"] for app in each["scopes"]} == {"mine"}
    assert admin.call("DELETE", f"/api/v1/keys/{json.loads(other.stdout)['key']}").problem == "not_found"
    for wrong in ({"name": ""}, {"scopes": {}}, {"scopes": {"mine": "root"}}, {"expires_at": "soon"}):
        assert admin.post("/api/v1/keys", {"name": "x", "scopes": {"mine": "viewer"}, **wrong}).problem == "bad_shape"
    late = {"name": "x", "scopes": {"mine": "viewer"}, "expires_at": "2001-01-01T00:00:00Z"}
    assert admin.post("/api/v1/keys", late).problem == "bad_key"


@pytest.fixture
def issuer() -> Generator[Issuer]:
    with serving() as found:
        found.add("one")
        yield found


def test_a_token_opens_what_its_roles_say_beside_api_keys(
    topics: Settings, start_services: Start, issuer: Issuer
) -> None:
    settings = topics.model_copy(
        update={"oidc_issuer": issuer.url, "oidc_audience": AUDIENCE, "oidc_roles_claim": "realm.roles"}
    )
    gateway = Installation(settings, start_services(settings, ("gateway",)))
    text = issuer.token("one", email="ann@example.org", realm={"roles": ["shop:operator"]})
    client = client_of(gateway, text)
    assert client.get("/api/v1/me").json == {"key": "u-1", "name": "ann@example.org", "scopes": {APP: "operator"}}
    event = {"specversion": "1.0", "id": "1", "source": "/t", "type": "t"}
    assert client.call("POST", f"{ROOT}/events", json.dumps(event), _CLOUDEVENT).status == 202
    assert client.get("/api/v1/apps/bank/runs").problem == "forbidden"
    assert client.call("PUT", f"{ROOT}/environment/X", "{}").problem == "forbidden"
    assert client_of(gateway, issuer.token("one")).get(f"{ROOT}/runs").problem == "forbidden"
    expired = client_of(gateway, issuer.token("one", exp=1)).get("/api/v1/me")
    assert (expired.status, expired.problem, "expired" in expired.json["detail"]) == (401, "unauthorized", True)
    assert client_of(gateway, key_of(gateway, "viewer")).get("/api/v1/me").status == 200
    # What it does is its own in the audit.
    admin = client_of(gateway, issuer.token("one", sub="u-2", realm={"roles": ["*:admin"]}))
    assert admin.post("/api/v1/keys", {"name": "x", "scopes": {APP: "viewer"}}).status == 201
    assert admin.get("/api/v1/audit").json["actions"][0]["by"] == "oidc u-2 (u-2)"


_CLOUDEVENT = {"Content-Type": "application/cloudevents+json"}


def test_who_sends_too_much_is_told_when_to_try_again_and_others_are_not(
    topics: Settings, start_services: Start
) -> None:
    settings = topics.model_copy(update={"http_key_rate": 2, "http_app_rate": 8, "http_webhook_rate": 3})
    gateway = Installation(settings, start_services(settings, ("gateway",)))
    gateway.apply(
        *(
            {
                "name": f"hook-{id}",
                "app": APP,
                "trigger": {"type": "webhook", "id": id},
                "steps": [{"id": "out", "collect": "1"}],
            }
            for id in ("one", "two")
        )
    )
    until(lambda: client_of(gateway).post("/webhooks/shop/two").status == 202, "the webhook to be known")
    first, second = (client_of(gateway, key_of(gateway, "viewer")) for _ in range(2))
    answers = [first.get(f"{ROOT}/runs") for _ in range(40)]
    refused = [each for each in answers if each.status == 429]
    assert refused
    assert {each.status for each in answers} == {200, 429}
    assert {each.problem for each in refused} == {"too_many"}
    assert all(int(each.headers["retry-after"]) >= 1 for each in refused)
    assert second.get("/api/v1/me").status == 200
    # All keys of an app together.
    many = [client_of(gateway, key_of(gateway, "viewer")) for _ in range(2)]
    told = [client.get(f"{ROOT}/runs") for _ in range(30) for client in many]
    assert {each.status for each in told} == {200, 429}
    hooks = [client_of(gateway).post("/webhooks/shop/one") for _ in range(60)]
    assert {each.status for each in hooks} == {202, 429}
    assert next(each for each in hooks if each.status == 429).problem == "too_many"
    assert client_of(gateway).post("/webhooks/shop/two").status == 202


def test_over_tls_the_gateway_speaks_no_old_version_and_tells_browsers_to_stay(
    topics: Settings, start_services: Start, tmp_path: Path
) -> None:
    certificate, key = certificate_of(tmp_path)
    settings = topics.model_copy(
        update={"http_tls_certificate": certificate, "http_tls_key": key, "http_tls_minimum": "1.3"}
    )
    gateway = Installation(settings, start_services(settings, ("gateway",)))
    port = gateway.process("gateway-0").http_port
    assert port is not None
    trusting = ssl.create_default_context(cafile=str(certificate))
    connection = HTTPSConnection("127.0.0.1", port, context=trusting, timeout=DEADLINE_S)
    connection.request("GET", "/openapi.json")
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("strict-transport-security")) == (200, "max-age=31536000")
    connection.close()
    old = ssl.create_default_context(cafile=str(certificate))
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        HTTPSConnection("127.0.0.1", port, context=old, timeout=DEADLINE_S).request("GET", "/openapi.json")


def test_in_clear_nothing_is_said_of_tls_and_no_answer_is_kept_or_framed(shared_gateway: Installation) -> None:
    for path in ("/openapi.json", "/api/v1/me", "/nothing", "/webhooks/shop/none"):
        headers = client_of(shared_gateway).get(path).headers
        assert "strict-transport-security" not in headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_a_certificate_that_is_none_stops_the_gateway_with_the_settings_name(topics: Settings, tmp_path: Path) -> None:
    certificate, _ = certificate_of(tmp_path)
    for update in (
        {"http_tls_certificate": certificate},
        {"http_tls_certificate": certificate, "http_tls_key": certificate},
    ):
        done = run_headrace(topics.model_copy(update=update), "service", "gateway")
        assert (done.returncode, "HEADRACE_HTTP_TLS_KEY" in done.stdout + done.stderr) == (2, True), done


def certificate_of(directory: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that nobody but itself signed, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")]), datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate, private = directory / "certificate.pem", directory / "key.pem"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, private
