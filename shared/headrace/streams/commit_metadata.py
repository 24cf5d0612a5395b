"""The metadata text beside a committed offset: a version character, then the transaction's token.

By the token an unknown commit is recognised: whoever reads it back knows that exactly that transaction happened.
The broker refuses more than 4,095 characters, and NUL.
"""

from itertools import count
from uuid import uuid4

_VERSION = "1"


class Tokens:
    """Makes a token for each transaction, unlike any other process's or earlier one's."""

    def __init__(self) -> None:
        self._process = uuid4().hex
        self._count = count(1)

    def next(self) -> str:
        """The metadata text for the next transaction."""
        return f"{_VERSION};{self._process}.{next(self._count)}"
