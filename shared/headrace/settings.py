"""Settings of an installation, from the environment.

`KAFKA_BOOTSTRAP_SERVERS` and `MONGODB_URI` keep the names every other tool uses, the predecessor's limits
(`AUTOMATION_MAX_CHAIN`, `MAX_AUTOMATION_RECURRING_ERRORS`) theirs; all else begins with `HEADRACE_`.
"""

from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, StringConstraints, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from headrace.contracts import limits
from headrace.contracts.validation import Said, said

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]+$"), Said("expected text: a-z, 0-9, _ and -")]


MOST_DAYS = 24_855
"""Of a retention: 68 years, what MongoDB's TTL index takes (2^31 - 1 seconds)."""


class SettingsError(ValueError):
    """A setting is wrong; the message names the environment variable and what it takes."""


class Settings(BaseSettings):
    """One installation's settings; immutable. Unset addresses mean the embedded stack (or a container)."""

    model_config = SettingsConfigDict(env_prefix="HEADRACE_", frozen=True, extra="ignore", populate_by_name=True)

    kafka_bootstrap_servers: str | None = Field(default=None, validation_alias="KAFKA_BOOTSTRAP_SERVERS")
    mongodb_uri: SecretStr | None = Field(default=None, validation_alias="MONGODB_URI")
    """Authentication and TLS are options of the URI (`tls=true&tlsCAFile=…`)."""

    prefix: Name = "headrace"
    """Begins the names of topics, groups, transactional ids and databases, so that installations share a cluster."""
    partitions: int = Field(default=4, ge=1, le=10_000)
    replication_factor: int = Field(default=1, ge=1, le=15)
    retention_days: float = Field(default=7, gt=0, le=MOST_DAYS, allow_inf_nan=False)
    runs_retention_days: float = Field(default=30, gt=0, le=MOST_DAYS, allow_inf_nan=False)
    """How long MongoDB keeps run records; the TTL index on `runs.recorded_at`."""
    state_dir: Path = Path(".headrace")
    """Where the embedded stack keeps its data and logs."""

    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_ssl_ca_location: Path | None = None
    kafka_ssl_certificate_location: Path | None = None
    kafka_ssl_key_location: Path | None = None
    kafka_ssl_key_password: SecretStr | None = None

    max_chain: int = Field(default=5, ge=1, le=100, validation_alias="AUTOMATION_MAX_CHAIN")
    """How many runs may lead to another, each by what it published, by a call, or by its end."""

    max_iterations: int = Field(
        default=limits.MAX_ITERATIONS, ge=1, le=limits.MOST_ITERATIONS, validation_alias="AUTOMATION_MAX_ITERATIONS"
    )
    """How many items a loop does at the most; a loop whose `max` is higher cannot be applied."""

    app_rate: int | None = Field(default=None, ge=1)
    """Jobs a second that one matcher makes for an app; while there are more, all its jobs go to `jobs.low`."""

    retry_tiers: Annotated[str, StringConstraints(pattern=r"^\d+[smhd](,\d+[smhd])*$")] = "5s,1m,10m"
    """How long a run waits after each attempt that failed in a way that may pass, ascending; each is a topic."""

    max_recurring_errors: int = Field(default=5, ge=1, validation_alias="MAX_AUTOMATION_RECURRING_ERRORS")
    """A cron that fails so many times in a row is stopped."""

    allow_private_hosts: bool = False
    """Whether `http.request` may call loopback and private addresses; link-local ones stay closed in any case."""

    apps_file: Path | None = None
    """Environment, secrets and connections of the apps: YAML, read when the orchestrator or a test run starts."""

    secrets_keys: SecretStr | None = None
    """The keys with which stored secrets of apps are sealed: 32 bytes in Base64 each, commas between, the newest
    first."""
    secrets_keys_file: Path | None = None
    """The same as a file, a key a line."""
    sources_file: Path | None = None
    """Topics that others write, as events: YAML, read when the matcher starts."""

    slot: int = Field(default=0, ge=0)
    """This process among its service's: the StatefulSet ordinal or process index. Two living ones never share it."""
    ops_host: str = "127.0.0.1"
    ops_port: int = Field(default=0, ge=0, le=65_535)
    """Where /healthz, /readyz and /metrics are served; 0 takes a free port, which the log names."""
    http_host: str = "127.0.0.1"
    http_port: int = Field(default=0, ge=0, le=65_535)
    """Where the gateway serves HTTP; 0 takes a free port, which the log names."""
    http_tls_certificate: Path | None = None
    http_tls_key: Path | None = None
    http_tls_key_password: SecretStr | None = None
    """The gateway's chain and key, PEM; without them TLS is a proxy's in front of it."""
    http_tls_minimum: Literal["1.2", "1.3"] = "1.2"
    http_key_rate: int = Field(default=200, ge=0)
    http_app_rate: int = Field(default=5_000, ge=0)
    http_webhook_rate: int = Field(default=5_000, ge=0)
    """Requests a second of a key, of all callers of an app, of a webhook, at each gateway; 0 is no limit."""
    oidc_issuer: Annotated[str, StringConstraints(pattern=r"^https?://[^\s?#]+$")] | None = None
    oidc_audience: Annotated[str, StringConstraints(min_length=1)] | None = None
    oidc_roles_claim: Annotated[str, StringConstraints(min_length=1)] = "headrace_roles"
    """Whose bearer tokens the gateway believes, for which audience, and the claim with the role by app."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @cached_property
    def kafka(self) -> dict[str, str]:
        """librdkafka's connection properties. Expects `kafka_bootstrap_servers` to be set."""
        if self.kafka_bootstrap_servers is None:
            raise SettingsError("no Kafka address: set KAFKA_BOOTSTRAP_SERVERS, or start a stack with `headrace up`")
        optional = {
            "sasl.mechanism": self.kafka_sasl_mechanism,
            "sasl.username": self.kafka_sasl_username,
            "sasl.password": _reveal(self.kafka_sasl_password),
            "ssl.ca.location": self.kafka_ssl_ca_location,
            "ssl.certificate.location": self.kafka_ssl_certificate_location,
            "ssl.key.location": self.kafka_ssl_key_location,
            "ssl.key.password": _reveal(self.kafka_ssl_key_password),
        }
        return {
            "bootstrap.servers": self.kafka_bootstrap_servers,
            "security.protocol": self.kafka_security_protocol,
            # Notices and worse: below that the client tells standard error how it puts its own queues away.
            "log_level": "5",
            # By default (10 s) a client goes on so long after a broker that was away is back.
            "reconnect.backoff.max.ms": "1000",
            **{name: str(value) for name, value in optional.items() if value is not None},
        }

    @property
    def tiers(self) -> dict[float, str]:
        """The retry tiers: seconds to name, ascending."""
        names = self.retry_tiers.split(",")
        tiers = {float(name[:-1]) * _UNITS[name[-1]]: name for name in names}
        if len(tiers) < len(names) or list(tiers) != sorted(tiers) or min(tiers) <= 0 or max(tiers) > _MOST_TIER_S:
            raise SettingsError(
                f"HEADRACE_RETRY_TIERS: {self.retry_tiers} are not ascending durations of at most a day, such as "
                "5s,1m,10m"
            )
        return tiers

    @property
    def mongodb(self) -> str:
        """The MongoDB connection string, in clear: for the driver only, never for a log."""
        if self.mongodb_uri is None:
            raise SettingsError("no MongoDB address: set MONGODB_URI, or start a stack with `headrace up`")
        return self.mongodb_uri.get_secret_value()

    @property
    def rows_database(self) -> str:
        """The database of the apps' rows; the runs' is named by `prefix` itself."""
        return f"{self.prefix}_rows"


_UNITS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}

_MOST_TIER_S = _UNITS["d"]
"""A job in a tier is kept as long as its topic's retention; a day is far below it."""


def _reveal(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def load_settings(**overrides: object) -> Settings:
    """Settings of the environment, with `overrides` before it; raises SettingsError naming the variable."""
    try:
        return Settings(**overrides)  # pyright: ignore[reportArgumentType]
    except ValidationError as error:
        raise SettingsError("; ".join(f"{_variable(e['loc'])}: {said(e)}" for e in error.errors())) from None


def _variable(location: tuple[int | str, ...]) -> str:
    name = str(location[0])
    return name if name.isupper() else f"HEADRACE_{name.upper()}"
