"""What whom may do: roles, each of which holds those before it, in one app or in all."""

from collections.abc import Mapping
from typing import Literal, get_args

Role = Literal["viewer", "operator", "editor", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
"""viewer: reads; operator: also publishes events, switches automations, cancels runs, acts on dead letters; editor:
also changes automations; admin: also sees who did what."""

ALL_APPS = "*"
"""In place of an app's name: every app, also those to come, and what belongs to none."""

Scopes = Mapping[str, Role]
"""The role by app."""


def allows(scopes: Scopes, app: str, role: Role) -> bool:
    """Whether `scopes` hold `role` in `app`; ALL_APPS asks for it in every one."""
    wanted = ROLES.index(role)
    held = (scopes[name] for name in {app, ALL_APPS} if name in scopes)
    return any(ROLES.index(each) >= wanted for each in held)
