"""What a role opens."""

import pytest

from headrace.contracts.roles import ALL_APPS, ROLES, Scopes, allows

pytestmark = pytest.mark.unit


def test_each_role_holds_those_before_it_and_none_behind() -> None:
    for held, role in enumerate(ROLES):
        assert [allows({"shop": role}, "shop", asked) for asked in ROLES] == [number <= held for number in range(4)]


@pytest.mark.parametrize(
    ("scopes", "app", "is_allowed"),
    [
        ({}, "shop", False),
        ({"shop": "admin"}, "bank", False),
        ({"shop": "admin"}, ALL_APPS, False),
        ({ALL_APPS: "editor"}, "shop", True),
        ({ALL_APPS: "editor"}, ALL_APPS, True),
        ({ALL_APPS: "viewer", "shop": "editor"}, "shop", True),
        ({ALL_APPS: "viewer", "shop": "editor"}, "bank", False),
    ],
)
def test_a_role_is_of_its_app_or_of_all(scopes: Scopes, app: str, is_allowed: bool) -> None:
    assert allows(scopes, app, "editor") == is_allowed
