"""What an author wrote, compiled piece by piece; mistakes are collected, so that they are mended in one go."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches

from headrace.contracts.automation import ConditionSource, Mistake
from headrace.engine.plan import Fields
from headrace.language import (
    RUN_ROOTS,
    Condition,
    Guard,
    LanguageError,
    Scope,
    Value,
    compile_condition,
    compile_value,
    placed,
)

NOWHERE = Scope({}, "", datetime.fromtimestamp(0, UTC))
"""Where constants are rendered: they refer to nothing."""


class Sources:
    """Compiles templates and conditions; `mistakes` are those found so far, with their paths."""

    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []

    def wrong(self, path: str, message: str) -> None:
        """Notes a mistake."""
        self.mistakes.append(Mistake(path, message))

    def _refused(self, error: LanguageError) -> None:
        self.mistakes += (Mistake(each.path, placed(each)) for each in (error, *error.others))

    def fields(self, sources: Mapping[str, object], path: str) -> Fields:
        """Named values; those that are mistakes are left out."""
        values = {name: self.value(value, f"{path}.{name}") for name, value in sources.items()}
        return Fields({name: value for name, value in values.items() if value is not None}, NOWHERE)

    def optional(
        self, source: ConditionSource | None, path: str, roots: frozenset[str] = RUN_ROOTS
    ) -> Condition | None:
        """The condition where there is one."""
        return None if source is None else self.condition(source, path, roots)

    def condition(self, source: ConditionSource, path: str, roots: frozenset[str] = RUN_ROOTS) -> Condition | None:
        """The condition; None after a mistake."""
        try:
            return compile_condition(source, roots=roots, path=path)
        except LanguageError as error:
            self._refused(error)
            return None

    def value(self, source: object, path: str, guard: Guard | None = None) -> Value | None:
        """The value, every string in it a template; None after a mistake."""
        try:
            return compile_value(source, roots=RUN_ROOTS, path=path, guard=guard)
        except LanguageError as error:
            self._refused(error)
            return None


def nearest(name: str, known: Mapping[str, object]) -> Sequence[str]:
    """The known name that may have been meant; none where nothing is close."""
    return get_close_matches(name, list(known), n=1)


def suggestion(name: str, known: Mapping[str, object]) -> str:
    """What may have been meant by a name that is not known."""
    close = nearest(name, known)
    return f"; did you mean `{close[0]}`?" if close else f"; there are {', '.join(sorted(known))}"
