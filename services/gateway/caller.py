"""Who asks."""

from dataclasses import dataclass
from typing import Literal

from headrace.contracts.roles import Scopes


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: an API key, or a person or program whom the issuer of tokens knows. `by` is how the audit names
    them."""

    id: str
    name: str
    scopes: Scopes
    kind: Literal["key", "oidc"] = "key"

    @property
    def by(self) -> str:
        """The id, with the name for people."""
        return f"{self.kind} {self.id} ({self.name})"
