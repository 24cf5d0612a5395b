"""The live automations, found by what they listen to: the cost of a look-up does not grow with their number."""

from collections.abc import Iterator
from dataclasses import dataclass

from headrace.contracts.automation import (
    TAKES_EVENTS,
    Automation,
    AutomationTrigger,
    EventTrigger,
    LiveAutomation,
    RowTrigger,
    WebhookTrigger,
)
from headrace.language import (
    TRIGGER_ROOTS,
    Condition,
    LanguageError,
    Template,
    compile_condition,
    compile_template,
)

WILDCARD = "*"


@dataclass(frozen=True, slots=True)
class Definition:
    """A live automation with its trigger compiled."""

    live: LiveAutomation
    when: Condition | None
    key: Template | None
    only_if_changed: frozenset[str]
    responds: bool
    """A caller waits for its run."""


def compile_definition(live: LiveAutomation) -> Definition:
    """Compiles the trigger; raises LanguageError."""
    document, trigger = live.document, live.document.trigger
    return Definition(
        live=live,
        when=_when(document),
        key=_key(document),
        only_if_changed=frozenset(trigger.only_if_changed) if isinstance(trigger, RowTrigger) else frozenset(),
        responds=isinstance(trigger, WebhookTrigger) and trigger.respond is not None,
    )


def refusals(document: Automation) -> Iterator[LanguageError]:
    """All mistakes for which `compile_definition` would raise one."""
    for compiled in (_when, _key, dedupe_key):
        try:
            compiled(document)
        except LanguageError as error:
            yield from (error, *error.others)


def _when(document: Automation) -> Condition | None:
    source = document.trigger.when
    return None if source is None else compile_condition(source, roots=TRIGGER_ROOTS, path="trigger.when")


def _key(document: Automation) -> Template | None:
    if document.key is None:
        return None
    path, source = document.key
    return compile_template(source, roots=TRIGGER_ROOTS, path=path)


def dedupe_key(document: Automation) -> Template | None:
    """The template that names a delivery to a webhook, if the trigger has one; raises LanguageError."""
    trigger = document.trigger
    if not isinstance(trigger, WebhookTrigger) or trigger.dedupe_key is None:
        return None
    return compile_template(trigger.dedupe_key, roots=TRIGGER_ROOTS, path="trigger.dedupe_key")


_Key = tuple[str, str, str]
_Bucket = tuple[Definition, ...]

ANY = "*"
"""In place of an automation's name: every automation of the app."""


class Index:
    """Definitions by (app, kind, name) of what they listen to, and by (app, literal beginning of an event pattern).

    One thread changes it while another looks up: buckets are immutable and replaced whole.
    """

    def __init__(self) -> None:
        self._by_id: dict[str, Definition] = {}
        self._named: dict[_Key, _Bucket] = {}
        self._patterns: dict[tuple[str, str], _Bucket] = {}
        self._prefix_lengths: dict[str, tuple[int, ...]] = {}
        self._awaited: dict[tuple[str, str], frozenset[str]] = {}
        """By app and type of event the automations whose runs may wait for such."""

    def __len__(self) -> int:
        return len(self._by_id)

    def put(self, definition: Definition) -> bool:
        """Makes it the live one of its automation unless a higher revision is known; says whether it was taken."""
        live = definition.live
        known = self._by_id.get(live.document.id)
        if known is not None and known.live.revision > live.revision:
            return False
        self.remove(live.document.id)
        self._by_id[live.document.id] = definition
        for type in live.awaits:
            key = live.document.app, type
            self._awaited[key] = self._awaited.get(key, frozenset()) | {live.document.id}
        if live.state in TAKES_EVENTS:
            self._add(definition)
        return True

    def remove(self, automation_id: str) -> None:
        """Forgets an automation."""
        known = self._by_id.pop(automation_id, None)
        if known is None:
            return
        for type in known.live.awaits:
            key = known.live.document.app, type
            self._awaited[key] = self._awaited[key] - {automation_id}
            if not self._awaited[key]:
                del self._awaited[key]
        if known.live.state not in TAKES_EVENTS:
            return
        app, trigger = known.live.document.app, known.live.document.trigger
        if isinstance(trigger, EventTrigger):
            beginning = (app, _literal_beginning(trigger))
            self._patterns[beginning] = _without(self._patterns[beginning], known)
        else:
            key = _key_of(known)
            self._named[key] = _without(self._named[key], known)

    def for_row(self, app: str, type: str, table: str) -> _Bucket:
        """Definitions that listen to this kind of change of this table."""
        return self._named.get((app, type, table), ())

    def for_webhook(self, app: str, webhook: str) -> _Bucket:
        """Definitions that listen to this webhook."""
        return self._named.get((app, "webhook", webhook), ())

    def for_start(self, app: str, automation: str) -> Definition | None:
        """The definition of this name, if people and automations may start it."""
        return next(iter(self._named.get((app, "manual", automation), ())), None)

    def for_tick(self, app: str, automation: str) -> Definition | None:
        """The definition of this name, if it fires by the clock."""
        return next(iter(self._named.get((app, "cron", automation), ())), None)

    def for_end(self, app: str, automation: str, type: str) -> _Bucket:
        """Definitions that listen to this kind of end of this automation; of its own end none is told."""
        heard = (*self._named.get((app, type, automation), ()), *self._named.get((app, type, ANY), ()))
        return tuple(each for each in heard if each.live.document.name != automation)

    def for_event(self, app: str, type: str) -> Iterator[Definition]:
        """Definitions whose pattern matches this event type."""
        for length in self._prefix_lengths.get(app, ()):
            if length > len(type):
                return
            for definition in self._patterns.get((app, type[:length]), ()):
                trigger = definition.live.document.trigger
                if isinstance(trigger, EventTrigger) and matches_pattern(trigger.event, type):
                    yield definition

    def is_awaited(self, app: str, type: str) -> bool:
        """Whether a run may wait for events of this type, also one of an automation that is disabled."""
        return (app, type) in self._awaited

    def _add(self, definition: Definition) -> None:
        app, trigger = definition.live.document.app, definition.live.document.trigger
        if not isinstance(trigger, EventTrigger):
            key = _key_of(definition)
            self._named[key] = (*self._named.get(key, ()), definition)
            return
        beginning = _literal_beginning(trigger)
        self._patterns[app, beginning] = (*self._patterns.get((app, beginning), ()), definition)
        lengths = self._prefix_lengths.get(app, ())
        if len(beginning) not in lengths:
            self._prefix_lengths[app] = tuple(sorted((*lengths, len(beginning))))


def _key_of(definition: Definition) -> _Key:
    document = definition.live.document
    match document.trigger:
        case RowTrigger(type=type, table=table):
            return document.app, type, table
        case WebhookTrigger(id=webhook):
            return document.app, "webhook", webhook
        case AutomationTrigger(type=type, automation=automation):
            return document.app, type, automation
        case trigger:
            # Of these its own name is what it is started by.
            return document.app, trigger.type, document.name


def _without(bucket: _Bucket, definition: Definition) -> _Bucket:
    return tuple(each for each in bucket if each is not definition)


def _literal_beginning(trigger: EventTrigger) -> str:
    return trigger.event.partition(WILDCARD)[0]


def matches_pattern(pattern: str, type: str) -> bool:
    """Whether `type` matches `pattern`, in which `*` stands for any text. Linear: each part is sought once."""
    first, *rest = pattern.split(WILDCARD)
    if not rest:
        return type == pattern
    last = rest.pop()
    if not type.startswith(first) or not type.endswith(last) or len(type) < len(first) + len(last):
        return False
    position, end = len(first), len(type) - len(last)
    for part in rest:
        found = type.find(part, position, end)
        if found < 0:
            return False
        position = found + len(part)
    return True
