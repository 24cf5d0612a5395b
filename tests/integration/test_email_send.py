"""`email.send` to a real SMTP server."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any, cast

import pytest
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from pydantic import SecretStr
from single_steps import error, outputs, run_step

from headrace.contracts.runs import StepResult
from headrace.engine.apps import AppConfig
from headrace.engine.connections import SmtpConnection

pytestmark = pytest.mark.integration


class Server:
    """Keeps what it takes; refuses recipients at `no.example` for good and at `later.example` for now."""

    def __init__(self) -> None:
        self.taken: list[Envelope] = []
        self.answer = "250 OK"
        self.first = ""
        """Of the first mail, where it is another."""
        self.offered = 0
        self.signed_in: list[bool] = []

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.endswith("@no.example"):
            return "550 nobody here"
        if address.endswith("@later.example"):
            return "450 come back"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if self.answer == "hang up":
            cast(Any, server).transport.abort()
            await asyncio.sleep(0)
            return "250 too late"
        self.offered += 1
        answer = self.first if self.offered == 1 and self.first else self.answer
        if answer.startswith("250"):
            self.taken.append(envelope)
        return answer

    def sign_in(self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object) -> AuthResult:
        ok = isinstance(data, LoginPassword) and data == LoginPassword(b"ann", b"hunter2-secret")
        self.signed_in.append(ok)
        return AuthResult(success=ok, handled=False)

    def mail(self) -> EmailMessage:
        (envelope,) = self.taken
        return cast(EmailMessage, message_from_bytes(cast(bytes, envelope.content), policy=default))


@pytest.fixture
def server() -> Server:
    return Server()


@asynccontextmanager
async def serving(handler: Server, **options: Any) -> AsyncGenerator[int]:
    """The port at which `handler` is served."""
    loop = asyncio.get_running_loop()
    made = await loop.create_server(lambda: SMTP(handler, loop=loop, **options), "127.0.0.1", 0)
    yield made.sockets[0].getsockname()[1]
    made.close()


@pytest.fixture
async def port(server: Server) -> AsyncGenerator[int]:
    async with serving(server) as found:
        yield found


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that only who is told so trusts, and its key."""
    directory = tmp_path_factory.mktemp("certificate")
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


@pytest.fixture
async def secure_port(server: Server, certificate: tuple[Path, Path]) -> AsyncGenerator[int]:
    """The server with STARTTLS, which wants a password."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    async with serving(
        server, tls_context=context, require_starttls=True, auth_required=True, authenticator=server.sign_in
    ) as found:
        yield found


async def send(port: int, inputs: dict[str, Any], data: Any = None, retry: Any = None, **connection: Any) -> StepResult:
    found = SmtpConnection.model_validate(
        {"type": "smtp", "host": "127.0.0.1", "port": port, "tls": "none", "from": "desk@example.org", **connection}
    )
    mail = {"connection": "mail", "text": "hello", **inputs}
    config = AppConfig(connections={"mail": found})
    return await run_step("email.send", mail, retry, config=config, data=data)


async def test_a_mail_arrives_whole(server: Server, port: int) -> None:
    step = await send(
        port,
        {
            "to": "Ann Möller <ann@example.org>, bob@example.org",
            "cc": ["carl@example.org"],
            "bcc": "dora@example.org",
            "reply_to": "answers@example.org",
            "subject": "Grüße an {{ trigger.data.name }}",
            "text": "plain",
            "html": "<p>rich</p>",
            "attachments": [
                {"name": "täglich.csv", "type": "text/csv", "text": "a,b"},
                {"name": "x.bin", "content": "AAEC"},
            ],
        },
        data={"name": "Ann"},
    )
    assert step["status"] == "success", step
    mail = server.mail()
    assert server.taken[0].rcpt_tos == ["ann@example.org", "bob@example.org", "carl@example.org", "dora@example.org"]
    assert (mail["From"], mail["Subject"], mail["Cc"]) == ("desk@example.org", "Grüße an Ann", "carl@example.org")
    assert mail["To"] == "Ann Möller <ann@example.org>, bob@example.org"
    assert "dora" not in str(mail)
    assert mail["Message-ID"] == outputs(step)["message_id"]
    body, rich = mail.get_body(("plain",)), mail.get_body(("html",))
    assert body is not None
    assert rich is not None
    assert (body.get_content().strip(), rich.get_content().strip()) == ("plain", "<p>rich</p>")
    files = {each.get_filename(): each.get_payload(decode=True) for each in mail.iter_attachments()}
    assert files == {"täglich.csv": b"a,b", "x.bin": b"\0\1\2"}


async def test_the_same_step_of_the_same_run_always_has_the_same_message_id(server: Server, port: int) -> None:
    first, second = [await send(port, {"to": "a@example.org"}) for _ in range(2)]
    assert outputs(first)["message_id"] == outputs(second)["message_id"]


@pytest.mark.parametrize(
    "hostile",
    [
        "x\r\nBcc: eve@example.org",
        "x\nBcc: eve@example.org",
        "=?utf-8?q?x=0D=0ABcc=3A_eve=40example.org?=",
        "=?utf-8?b?eA0KQmNjOiBldmVAZXhhbXBsZS5vcmcNCg0KYm9keQ==?=",
        "x\u2028Bcc: eve@example.org",
        "x\0Bcc: eve@example.org",
    ],
)
@pytest.mark.parametrize("place", ["subject", "to", "reply_to", "file", "from"])
async def test_no_text_becomes_a_header_or_a_recipient(server: Server, port: int, place: str, hostile: str) -> None:
    text = "{{ trigger.data.text }}"
    mail: dict[str, Any] = {"to": "a@example.org"}
    if place == "file":
        mail["attachments"] = [{"name": text, "text": "x"}]
    elif place == "subject":
        mail["subject"] = text
    else:
        mail[place] = f'"{text}" <desk@example.org>'
    step = await send(port, mail, data={"text": hostile})
    if step["status"] == "error":
        assert error(step) == ("bad_input", False)
        assert server.taken == []
        return
    assert server.mail().get_all("Bcc") is None
    assert len(server.taken[0].rcpt_tos) == 1


async def test_an_invitation_is_a_calendar_in_which_texts_stay_texts(server: Server, port: int) -> None:
    invite = {
        "start": "2013-01-01T10:00:00+01:00",
        "end": "2013-01-01T11:00:00+01:00",
        "summary": "Rebooking; gate 5\nATTENDEE:mailto:eve@example.org",
        "description": "ü" * 200,
    }
    step = await send(port, {"to": "ann@example.org", "invite": invite})
    assert step["status"] == "success", step
    (calendar,) = [part for part in server.mail().walk() if part.get_content_type() == "text/calendar"]
    assert calendar.get_param("method") == "REQUEST"
    lines = cast(bytes, calendar.get_payload(decode=True)).decode().splitlines()
    assert "DTSTART:20130101T090000Z" in lines
    assert r"SUMMARY:Rebooking\; gate 5\nATTENDEE:mailto:eve@example.org" in lines
    assert [line for line in lines if line.startswith("ATTENDEE")] == [
        "ATTENDEE;ROLE=REQ-PARTICIPANT;RSVP=TRUE:mailto:ann@example.org"
    ]
    assert max(len(line.encode()) for line in lines) <= 75


async def test_recipients_that_are_refused_are_told_and_the_others_get_the_mail(server: Server, port: int) -> None:
    step = await send(port, {"to": ["ann@example.org", "bob@no.example"]})
    assert step["status"] == "success"
    assert outputs(step)["accepted"] == ["ann@example.org"]
    assert outputs(step)["refused"] == [{"address": "bob@no.example", "code": 550, "reason": "nobody here"}]


@pytest.mark.parametrize(("address", "retryable"), [("bob@no.example", False), ("bob@later.example", True)])
async def test_a_mail_that_nobody_may_get_is_an_error(port: int, address: str, retryable: bool) -> None:
    assert error(await send(port, {"to": address})) == ("recipients_refused", retryable)


@pytest.mark.parametrize(
    ("answer", "type", "retryable"),
    [("451 busy", "refused", True), ("554 spam", "refused", False), ("hang up", "unknown_outcome", False)],
)
async def test_what_the_server_says_of_the_mail_decides(
    server: Server, port: int, answer: str, type: str, retryable: bool
) -> None:
    server.answer = answer
    assert error(await send(port, {"to": "ann@example.org"})) == (type, retryable)


@pytest.mark.parametrize(("first", "status", "offered"), [("451 busy", "success", 2), ("554 spam", "error", 1)])
async def test_a_mail_that_was_not_taken_for_now_is_sent_again_where_the_author_says_so(
    server: Server, port: int, first: str, status: str, offered: int
) -> None:
    server.first = first
    step = await send(port, {"to": "ann@example.org"}, retry={"attempts": 3, "backoff": "10ms"})
    assert (step["status"], server.offered, len(server.taken)) == (status, offered, int(status == "success"))


async def test_only_senders_that_the_operator_allows_are_used(server: Server, port: int) -> None:
    allowed = {"allowed_senders": ("boss@example.org", "@team.example")}
    for sender in ("boss@example.org", "Any <any@team.example>", "desk@example.org"):
        assert (await send(port, {"to": "a@example.org", "from": sender}, **allowed))["status"] == "success"
    step = await send(port, {"to": "a@example.org", "from": "eve@example.org"}, **allowed)
    assert error(step) == ("sender_not_allowed", False)
    assert len(server.taken) == 3


async def test_a_server_that_is_not_there_is_worth_another_try(port: int) -> None:
    assert error(await send(1, {"to": "a@example.org"})) == ("connection", True)


async def test_the_password_goes_only_through_tls_that_is_trusted(
    server: Server, secure_port: int, certificate: tuple[Path, Path]
) -> None:
    account = {"tls": "starttls", "username": "ann", "password": SecretStr("hunter2-secret")}
    mail = {"to": "a@example.org"}
    assert error(await send(secure_port, mail, **account)) == ("certificate", False)
    assert server.signed_in == []
    step = await send(secure_port, mail, **account, ca_file=certificate[0])
    assert step["status"] == "success", step
    wrong = {**account, "password": SecretStr("wrong-secret"), "ca_file": certificate[0]}
    step = await send(secure_port, mail, **wrong)
    assert error(step) == ("authentication", False)
    assert "secret" not in str(step)


async def test_starttls_is_insisted_on(port: int) -> None:
    assert error(await send(port, {"to": "a@example.org"}, tls="starttls"))[0] == "certificate"
