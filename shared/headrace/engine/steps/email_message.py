"""A mail as bytes: made by Python's email package, which folds, encodes and refuses line breaks in headers."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.parser import BytesHeaderParser
from email.policy import SMTP
from email.utils import format_datetime

from headrace.contracts.jobs import derived_uuid
from headrace.engine.steps.email_inputs import EmailSendInputs, Invite, address

_POLICY = SMTP.clone(cte_type="7bit")
"""Servers without 8BITMIME take it too."""

_FOLD = 74
"""Bytes of a calendar's line, so that with the space of a continued one it has RFC 5545's 75."""


def message_id(key: str, sender: Address) -> str:
    """The same for every attempt at the step: a receiver that gets a mail twice can tell."""
    return f"<{derived_uuid(key)}@{sender.domain}>"


def written(inputs: EmailSendInputs, sender: Address, key: str, at: datetime) -> bytes:
    """The mail as it is sent, without its blind copies' recipients; raises ValueError for one that cannot be written.

    What stands in it is read again: a header that we did not write is never sent, whatever the email package made.
    """
    mail = _message(inputs, sender, key, at)
    encoded = mail.as_bytes()
    if BytesHeaderParser().parsebytes(encoded).keys() != mail.keys():
        raise ValueError("a text would have become a header")
    return encoded


def _message(inputs: EmailSendInputs, sender: Address, key: str, at: datetime) -> EmailMessage:
    mail = EmailMessage(policy=_POLICY)
    mail["From"] = sender
    for header, addresses in (("To", inputs.to), ("Cc", inputs.cc), ("Reply-To", inputs.reply_to)):
        if addresses:
            mail[header] = tuple(address(each) for each in addresses)
    mail["Subject"] = inputs.subject
    mail["Date"] = format_datetime(at)
    mail["Message-ID"] = message_id(key, sender)
    # RFC 3834: no out-of-office notes to a machine.
    mail["Auto-Submitted"] = "auto-generated"
    if inputs.text is not None:
        mail.set_content(_clean(inputs.text))
    if inputs.html is not None:
        if inputs.text is None:
            mail.set_content(_clean(inputs.html), subtype="html")
        else:
            mail.add_alternative(_clean(inputs.html), subtype="html")
    if inputs.invite is not None:
        calendar = invitation(inputs.invite, sender, [address(each) for each in inputs.to], key, at)
        mail.add_alternative(calendar, subtype="calendar", params={"method": "REQUEST"})
    for each in inputs.attachments:
        main, _, sub = each.type.partition("/")
        mail.add_attachment(each.bytes(), maintype=main, subtype=sub, filename=each.name)
    return mail


def invitation(invite: Invite, sender: Address, to: Sequence[Address], key: str, at: datetime) -> str:
    """The calendar object (RFC 5545) that invites `to`."""
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//Headrace//EN",
        "METHOD:REQUEST",
        "BEGIN:VEVENT",
        f"UID:{derived_uuid(key)}",
        f"DTSTAMP:{_time(at)}",
        f"DTSTART:{_time(invite.start)}",
        f"DTEND:{_time(invite.end)}",
        f"SUMMARY:{_text(invite.summary)}",
        *([f"LOCATION:{_text(invite.location)}"] if invite.location else []),
        *([f"DESCRIPTION:{_text(invite.description)}"] if invite.description else []),
        f"ORGANIZER:mailto:{sender.addr_spec}",
        *[f"ATTENDEE;ROLE=REQ-PARTICIPANT;RSVP=TRUE:mailto:{each.addr_spec}" for each in to],
        "END:VEVENT",
        "END:VCALENDAR",
    ]
    return "\r\n".join(part for line in lines for part in _folded(line)) + "\r\n"


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def _text(text: str) -> str:
    for special in ("\\", ";", ","):
        text = text.replace(special, "\\" + special)
    lines = (line for line in text.splitlines())
    return "\\n".join("".join(each for each in line if each.isprintable()) for line in lines)


def _folded(line: str) -> Iterator[str]:
    part, size, begin = "", 0, ""
    for character in line:
        width = len(character.encode(errors="replace"))
        if size + width > _FOLD:
            yield begin + part
            part, size, begin = "", 0, " "
        part, size = part + character, size + width
    yield begin + part


def _clean(text: str) -> str:
    """Halves of surrogate pairs have no form in a mail."""
    return text.encode(errors="replace").decode()
