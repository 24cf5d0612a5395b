"""What a check answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that was broken: which run or partition, in which words, and the offsets or times that show it."""

    subject: str
    what: str
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. `counts` are figures to report that judge nothing."""

    violations: tuple[Violation, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict[str, int])
