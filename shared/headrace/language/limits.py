"""What a template may use up; each keeps one author's mistake or malice from costing others a worker."""

from headrace.language.errors import limit

ITERATIONS = 100_000
"""Loop turns of one rendering: tens of milliseconds."""

TEXT = 1 << 20
"""Characters of any text that is built: language.md's 1 MB."""

SOURCE = 64 << 10
"""Characters of a template's source."""

DEPTH = 60
"""Nesting of expressions and blocks: each level costs Python stack frames, of which there are 1,000."""

INTEGER_BITS = 4_096
"""Of any integer that is computed; a power of two more digits takes seconds to print."""


def bounded(text: str) -> str:
    """`text`, unless it has grown past the limit."""
    if len(text) > TEXT:
        raise limit(f"a text of {len(text)} characters was built; {TEXT} are allowed")
    return text


def bounded_product(length: int, times: int) -> None:
    """Refuses a repetition before it is made."""
    if length * times > TEXT:
        raise limit(f"a repetition of {length} × {times} was asked for; {TEXT} are allowed")


def bounded_bits(bits: float) -> None:
    """Refuses an integer before it is computed."""
    if bits > INTEGER_BITS:
        raise limit(f"an integer of {bits:.0f} bits was asked for; {INTEGER_BITS} are allowed")
