"""The environment, read once into one frozen object (contract, section 7)."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec import Struct

from .schedules import Schedule, ScheduleError

SECRET_LENGTH = 32

# Every night, and on the first of every month an hour later.
VERIFY = Schedule("0 2 * * *")
REBUILD = Schedule("0 3 1 * *")


class SettingsError(Exception):
    """A setting cannot be used; the message is one line for the operator."""


class Settings(Struct, frozen=True, kw_only=True):
    """
    What the operator decides.

    secrets: the first signs tokens, all verify them; none means development mode.
    price_seed: what simulated prices go by; None: the secret and the journal's epoch.
    user_rate: changes a second that one user may ask for, 0 for no limit.
    user_connections: live connections that one user may hold.
    verify_schedule, rebuild_schedule: when a worker verifies and repairs, and rebuilds; or never.
    webhook_hosts: where webhooks may be sent, by their entries; None where nothing is said.
    """

    database_url: str = "sqlite+aiosqlite:///data/tallywire.db"
    redis_url: str | None = None
    host: str = "127.0.0.1"
    port: int = 3000
    secrets: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    prices: str = "simulated"
    price_seed: str | None = None
    log: str = "console"
    user_rate: int = 50
    user_connections: int = 20
    verify_schedule: Schedule | None = VERIFY
    rebuild_schedule: Schedule | None = REBUILD
    webhook_hosts: tuple[str, ...] | None = None

    @property
    def development(self) -> bool:
        """Whether this is development mode: no secret is set."""
        return not self.secrets

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """
        The settings in `environ`, where an empty variable counts as absent.

        Raises SettingsError, never quoting a secret or an address that may hold a password.
        """
        given = {name: value.strip() for name, value in environ.items() if value.strip()}
        default = cls()
        secrets = _secrets(given.get("TALLYWIRE_SECRET"))
        host = given.get("HOST", default.host)
        if not secrets and not is_loopback(host):
            raise SettingsError(
                f"HOST is {host}, but without TALLYWIRE_SECRET only loopback is served"
                " (development mode); set a secret of 32 characters or more"
            )
        timezone = _timezone(given)
        return cls(
            database_url=given.get("DATABASE_URL", default.database_url),
            redis_url=_redis_url(given.get("REDIS_URL")),
            host=host,
            port=_whole(given, "PORT", default.port, least=0, most=65535),
            secrets=secrets,
            origins=_origins(given.get("TALLYWIRE_ORIGINS", "")),
            prices=_one_of(given, "TALLYWIRE_PRICES", ("simulated", "pushed")),
            price_seed=given.get("TALLYWIRE_PRICE_SEED"),
            log=_one_of(given, "TALLYWIRE_LOG", ("console", "json")),
            user_rate=_whole(given, "TALLYWIRE_USER_RATE", default.user_rate),
            user_connections=_whole(
                given, "TALLYWIRE_USER_CONNECTIONS", default.user_connections, least=1
            ),
            verify_schedule=_schedule(given, "TALLYWIRE_VERIFY_SCHEDULE", VERIFY, timezone),
            rebuild_schedule=_schedule(given, "TALLYWIRE_REBUILD_SCHEDULE", REBUILD, timezone),
            webhook_hosts=_entries(given.get("TALLYWIRE_WEBHOOK_HOSTS")),
        )


def is_loopback(host: str) -> bool:
    """Whether `host` (a name or an address, IPv6 with or without brackets) is this machine only."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(bare_host(host)).is_loopback
    except ValueError:
        return False


def bare_host(host: str) -> str:
    """`host` without the brackets that an IPv6 address has in a URL."""
    return host.removeprefix("[").removesuffix("]")


def _secrets(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    secrets = tuple(part.strip() for part in text.split(","))
    if len(secrets) > 2:
        raise SettingsError("TALLYWIRE_SECRET holds more than two secrets (new,old)")
    if any(len(secret) < SECRET_LENGTH for secret in secrets):
        raise SettingsError(
            f"TALLYWIRE_SECRET: each secret needs {SECRET_LENGTH} characters or more"
        )
    return secrets


def _redis_url(text: str | None) -> str | None:
    if text is not None and urlsplit(text).scheme not in ("redis", "rediss"):
        raise SettingsError("REDIS_URL must begin with redis:// or rediss://")
    return text


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(part.strip() for part in text.split(",") if part.strip())
    for origin in origins:
        parts = urlsplit(origin)
        bare = f"{parts.scheme}://{parts.netloc}"
        if origin != "*" and (parts.scheme not in ("http", "https") or bare != origin):
            raise SettingsError(
                f"TALLYWIRE_ORIGINS: {origin!r} is not an origin such as https://app.example.com"
            )
    return origins


def _entries(text: str | None) -> tuple[str, ...] | None:
    if text is None:
        return None
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _whole(
    given: Mapping[str, str], name: str, default: int, least: int = 0, most: int = 1_000_000
) -> int:
    text = given.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise SettingsError(f"{name} is {text!r}, not a whole number from {least} to {most}")
    return int(text)


def _schedule(
    given: Mapping[str, str], name: str, default: Schedule, timezone: str
) -> Schedule | None:
    text = given.get(name, default.expression)
    try:
        return None if text == "off" else Schedule.parse(text, timezone)
    except ScheduleError as error:
        raise SettingsError(f"{name}: {error}, nor 'off'") from error


def _timezone(given: Mapping[str, str]) -> str:
    name = given.get("TALLYWIRE_TIMEZONE", "UTC")
    try:
        ZoneInfo(name)
    except (ValueError, OSError, ZoneInfoNotFoundError):
        raise SettingsError(
            f"TALLYWIRE_TIMEZONE: {name!r} is not an IANA time zone such as Europe/Berlin"
        ) from None
    return name


def _one_of(given: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    value = given.get(name, choices[0])
    if value not in choices:
        raise SettingsError(f"{name} is {value!r}, not one of {', '.join(choices)}")
    return value
