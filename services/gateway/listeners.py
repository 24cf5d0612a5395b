"""Which webhooks there are, and what each asks of a request: what the live automations say that listen to them."""

from dataclasses import dataclass

from pydantic import ValidationError

from headrace.contracts.automation import Automation, LiveAutomation, LiveState, Verification, WebhookTrigger
from headrace.contracts.validation import explain
from headrace.following import tell_refused
from headrace.language import LanguageError, Template
from headrace.matching import dedupe_key
from headrace.streams import Record

_Name = tuple[str, str]
"""App and webhook."""


@dataclass(frozen=True, slots=True)
class Responder:
    """The automation whose run the caller waits for, at most `wait_s` seconds."""

    automation: str
    wait_s: float
    state: LiveState


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook's door. All of `verifications` must hold: where automations came to disagree, none opens a door that
    another one keeps closed. `dedupe_key` is None where they disagree on it: rather an event twice than one lost.
    Should several want to respond, the first by name does."""

    methods: frozenset[str]
    verifications: tuple[Verification, ...]
    dedupe_key: Template | None
    responder: Responder | None


class Listeners:
    """Keeps in step with the topic of automations. One thread applies, another looks up: what is found is replaced
    whole. An automation counts in whatever state it is: where it is disabled, events pass it by, and are kept."""

    def __init__(self) -> None:
        self._live: dict[str, LiveAutomation] = {}
        self._webhooks: dict[_Name, Webhook] = {}

    def find(self, app: str, webhook: str) -> Webhook | None:
        """The webhook; None where no automation listens to it."""
        return self._webhooks.get((app, webhook))

    def apply(self, record: Record) -> None:
        """Takes up a record of the topic. One that cannot be read is counted, logged with its place, and leaves what
        was before it."""
        id = (record.key or b"").decode(errors="replace")
        if record.value is None:
            self._replace(id, None)
            return
        try:
            live = LiveAutomation.model_validate_json(record.value)
            dedupe_key(live.document)
        except ValidationError as error:
            tell_refused(record, *explain(error, "automation"))
        except LanguageError as error:
            tell_refused(record, "bad_template", f"{error.path}: this gateway cannot compile it")
        else:
            known = self._live.get(id)
            if known is None or known.revision <= live.revision:
                self._replace(id, live)

    def _replace(self, id: str, live: LiveAutomation | None) -> None:
        changed = {_name_of(each.document) for each in (self._live.pop(id, None), live) if each is not None}
        if live is not None and isinstance(live.document.trigger, WebhookTrigger):
            self._live[id] = live
        for name in changed - {None}:
            if name is not None:
                self._rebuild(name)

    def _rebuild(self, name: _Name) -> None:
        listening = [each for each in self._live.values() if _name_of(each.document) == name]
        if listening:
            self._webhooks[name] = _webhook(listening)
        else:
            self._webhooks.pop(name, None)


def _name_of(document: Automation) -> _Name | None:
    trigger = document.trigger
    return (document.app, trigger.id) if isinstance(trigger, WebhookTrigger) else None


def _webhook(listening: list[LiveAutomation]) -> Webhook:
    triggers = [each.document.trigger for each in listening if isinstance(each.document.trigger, WebhookTrigger)]
    verifications: list[Verification] = []
    for each in triggers:
        if each.verify is not None and each.verify not in verifications:
            verifications.append(each.verify)
    methods = frozenset.intersection(*(frozenset(each.methods) for each in triggers))
    agree = len({each.dedupe_key for each in triggers}) == 1
    key = dedupe_key(listening[0].document) if agree else None
    return Webhook(frozenset(map(str, methods)), tuple(verifications), key, _responder(listening))


def _responder(listening: list[LiveAutomation]) -> Responder | None:
    for live in sorted(listening, key=lambda each: each.document.name):
        trigger = live.document.trigger
        if isinstance(trigger, WebhookTrigger) and trigger.respond is not None:
            return Responder(live.document.name, trigger.respond.wait, live.state)
    return None
