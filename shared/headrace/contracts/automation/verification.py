"""How a webhook's sender proves who it is: the schemes, as a trigger's `verify` has them."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from headrace.contracts.automation.values import Duration, Part, VariableName
from headrace.contracts.validation import Said

HeaderName = Annotated[
    str,
    # RFC 9110 §5.6.2, a token; at most what our own protocol's limits leave room for.
    StringConstraints(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$", to_lower=True),
    Said("expected the name of a header"),
]

Secrets = Annotated[tuple[VariableName, ...], Field(min_length=1, max_length=2)]
"""Names of the app's secrets. Two while one is replaced by the other: the holder of either is believed."""


class _Scheme(Part):
    secrets: Secrets
    """The names of the app's secrets (HEADRACE_APPS_FILE) of which one must fit; two while one replaces the other."""


class _Timed(_Scheme):
    tolerance: Annotated[Duration, Field(le=86_400)] = 300.0
    """How far the sender's clock may be from ours, and so how old a recorded request may be that is sent again."""


class HmacVerification(_Scheme):
    """The HMAC-SHA256 of the body's bytes in a header: what most senders without a scheme of their own do."""

    scheme: Literal["hmac"]
    header: HeaderName
    """Where the signature stands."""
    encoding: Literal["hex", "base64"] = "hex"
    prefix: Annotated[str, StringConstraints(max_length=32)] = ""
    """What stands before the signature in the header, such as `sha256=`."""


class GithubVerification(_Scheme):
    """GitHub's `X-Hub-Signature-256`. The delivery's id is `X-GitHub-Delivery`."""

    scheme: Literal["github"]


class StripeVerification(_Timed):
    """Stripe's `Stripe-Signature: t=…,v1=…`. The delivery's id is the event's `id`."""

    scheme: Literal["stripe"]


class StandardVerification(_Timed):
    """Standard Webhooks (`webhook-id`, `webhook-timestamp`, `webhook-signature`), as `webhook.send` signs. A secret is
    `whsec_` and Base64. The delivery's id is `webhook-id`."""

    scheme: Literal["standard"]


class TokenVerification(_Scheme):
    """A secret text in a header, for senders that cannot sign; behind `prefix`, for example `Bearer `."""

    scheme: Literal["token"]
    header: HeaderName = "x-webhook-token"
    """Where the token stands."""
    prefix: Annotated[str, StringConstraints(max_length=32)] = ""
    """What stands before it."""


Verification = Annotated[
    HmacVerification | GithubVerification | StripeVerification | StandardVerification | TokenVerification,
    Field(discriminator="scheme"),
]
