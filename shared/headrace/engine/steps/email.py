"""`email.send`: one mail through a configured server."""

import ssl
from email.headerregistry import Address
from typing import ClassVar

from aiosmtplib import (
    SMTP,
    SMTPAuthenticationError,
    SMTPException,
    SMTPRecipientsRefused,
    SMTPResponseException,
    SMTPSenderRefused,
)

from headrace.engine.connections import SmtpConnection
from headrace.engine.errors import StepError
from headrace.engine.run import Run
from headrace.engine.steps.base import AwaitingStep, Outputs, Perform, checked
from headrace.engine.steps.connections import NO_CONNECTION, ConnectionRef, connection_of
from headrace.engine.steps.email_inputs import EmailSendInputs, address
from headrace.engine.steps.email_message import message_id, written

_PORTS = {"starttls": 587, "tls": 465, "none": 25}


class EmailSend(AwaitingStep):
    """Sends a mail, at most once. If the server refuses some of the recipients the others get it, and the outputs say
    who does not; the step fails when it refuses all."""

    use = "email.send"
    inputs = EmailSendInputs
    outputs: ClassVar[dict[str, str]] = {
        "message_id": "the mail's Message-ID, the same for each attempt",
        "accepted": "addresses that the server took",
        "refused": "an array of {address, code, reason} of those that it did not take",
    }
    effect = "at_most_once"
    errors: ClassVar[dict[str, str]] = {
        "no_connection": NO_CONNECTION,
        "sender_not_allowed": "`from` is neither the connection's nor among its allowed senders",
        "connection": "the server cannot be reached, or ended the talk before the mail was sent; retryable",
        "certificate": "the server has no certificate that is trusted, or offers no TLS",
        "authentication": "the server does not accept user and password",
        "recipients_refused": "the server took none of the recipients; retryable if it said so of all",
        "refused": "the server did not take the mail; retryable if it said so (a code of 4xx)",
        "unknown_outcome": "the connection ended while the mail was being handed over",
    }
    example = """\
- id: tell
  use: email.send
  with:
    connection: mail
    to: "{{ trigger.row.contact }}"
    subject: "Flight {{ trigger.row.flight }} is late"
    text: "It leaves {{ trigger.row.dep_delay }} minutes later."
"""

    def bind(self, rendered: Outputs) -> Perform:
        """Validates the inputs."""
        inputs = checked(EmailSendInputs, rendered)

        async def perform(run: Run) -> Outputs:
            connection = connection_of(run, inputs.connection, SmtpConnection)
            sender = _sender(inputs, connection)
            try:
                mail = written(inputs, sender, run.key, run.now)
            except ValueError as error:
                raise StepError("bad_input", f"inputs: the mail cannot be written ({type(error).__name__})") from None
            refused = await _sent(mail, sender, inputs.recipients(), connection, inputs.connection)
            taken = [each for each in inputs.recipients() if each not in refused]
            told = [{"address": each, "code": code, "reason": why} for each, (code, why) in refused.items()]
            return {"success": True, "message_id": message_id(run.key, sender), "accepted": taken, "refused": told}

        return perform


def _sender(inputs: EmailSendInputs, connection: SmtpConnection) -> Address:
    if not inputs.from_:
        return Address(addr_spec=connection.from_)
    sender = address(inputs.from_[0])
    wanted = sender.addr_spec.lower()
    allowed = (connection.from_, *connection.allowed_senders)
    if wanted in allowed or f"@{sender.domain.lower()}" in connection.allowed_senders:
        return sender
    raise StepError("sender_not_allowed", f"inputs: from: allowed are {', '.join(allowed)}")


Refused = dict[str, tuple[int, str]]


async def _sent(
    mail: bytes, sender: Address, to: list[str], connection: SmtpConnection, name: ConnectionRef
) -> Refused:
    """Hands the mail over; answers who was refused. Raises StepError."""
    told = f"connection {name}: "
    server = await _connected(connection, told)
    try:
        refused, _ = await server.sendmail(sender.addr_spec, to, mail)
    except SMTPRecipientsRefused as error:
        codes = [each.code for each in error.recipients]
        passing = all(400 <= code < 500 for code in codes)
        message = f"{told}the server took none of the recipients ({', '.join(map(str, codes))})"
        raise StepError("recipients_refused", message, retryable=passing, nothing_done=True) from None
    except SMTPSenderRefused as error:
        raise _refused(told + "the server does not take this sender", error.code) from None
    except SMTPResponseException as error:
        raise _refused(told + "the server did not take the mail", error.code) from None
    except (SMTPException, OSError) as error:
        why = f"the connection ended while the mail was handed over ({type(error).__name__})"
        raise StepError("unknown_outcome", f"{told}{why}; whether it was sent is not known") from None
    finally:
        # Not QUIT: the mail's fate is decided, and a server that does not answer would only cost time.
        server.close()
    return {recipient: (answer.code, answer.message) for recipient, answer in refused.items()}


async def _connected(connection: SmtpConnection, told: str) -> SMTP:
    password = connection.password
    try:
        server = SMTP(
            hostname=connection.host,
            port=connection.port or _PORTS[connection.tls],
            use_tls=connection.tls == "tls",
            start_tls=connection.tls == "starttls",
            tls_context=None if connection.tls == "none" else _trust(connection),
            username=connection.username,
            password=None if password is None else password.get_secret_value(),
            timeout=connection.timeout,
        )
        await server.connect()
    except SMTPAuthenticationError as error:
        raise StepError("authentication", f"{told}user and password are not accepted ({error.code})") from None
    except (SMTPException, OSError) as error:
        if isinstance(error, ssl.SSLError) or isinstance(error.__cause__, ssl.SSLError) or "STARTTLS" in str(error):
            raise StepError("certificate", f"{told}no TLS that is trusted ({type(error).__name__})") from None
        why = f"the server cannot be reached ({type(error).__name__})"
        raise StepError("connection", told + why, retryable=True, nothing_done=True) from None
    return server


def _trust(connection: SmtpConnection) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=connection.ca_file)


def _refused(why: str, code: int) -> StepError:
    return StepError("refused", f"{why} ({code})", retryable=400 <= code < 500, nothing_done=True)
