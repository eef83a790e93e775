"""The environment as settings, and refusals that an operator can act on."""

from __future__ import annotations

import pytest
from tallywire.schedules import Schedule
from tallywire.settings import Settings, SettingsError, is_loopback

SECRET = "s" * 32
EVERYWHERE = "0.0.0.0"  # noqa: S104


def test_nothing_set_is_development_mode_on_loopback() -> None:
    settings = Settings.from_environ({})
    assert settings.development
    assert (settings.host, settings.port) == ("127.0.0.1", 3000)
    assert settings.database_url == "sqlite+aiosqlite:///data/tallywire.db"
    assert (settings.user_rate, settings.user_connections) == (50, 20)
    assert (settings.prices, settings.log) == ("simulated", "console")
    assert settings.verify_schedule == Schedule("0 2 * * *", "UTC")
    assert settings.rebuild_schedule == Schedule("0 3 1 * *", "UTC")


def test_everything_can_be_set() -> None:
    settings = Settings.from_environ(
        {
            "DATABASE_URL": "postgres://db/x",
            "REDIS_URL": "rediss://cache",
            "HOST": EVERYWHERE,
            "PORT": "80",
            "TALLYWIRE_SECRET": f"{SECRET}, {'t' * 40}",
            "TALLYWIRE_ORIGINS": "https://a.example, http://b.example:8080",
            "TALLYWIRE_PRICES": "pushed",
            "TALLYWIRE_PRICE_SEED": "a dull week",
            "TALLYWIRE_LOG": "json",
            "TALLYWIRE_USER_RATE": "0",
            "TALLYWIRE_USER_CONNECTIONS": "3",
            "TALLYWIRE_WEBHOOK_HOSTS": "hooks.example.com, [::1]:8443,",
            "TALLYWIRE_VERIFY_SCHEDULE": "*/30 1-5 * * MON",
            "TALLYWIRE_REBUILD_SCHEDULE": "off",
            "TALLYWIRE_TIMEZONE": "Europe/Berlin",
        }
    )
    assert settings == Settings(
        database_url="postgres://db/x",
        redis_url="rediss://cache",
        host=EVERYWHERE,
        port=80,
        secrets=(SECRET, "t" * 40),
        origins=("https://a.example", "http://b.example:8080"),
        prices="pushed",
        price_seed="a dull week",
        log="json",
        user_rate=0,
        user_connections=3,
        webhook_hosts=("hooks.example.com", "[::1]:8443"),
        verify_schedule=Schedule("*/30 1-5 * * MON", "Europe/Berlin"),
        rebuild_schedule=None,
    )
    assert not settings.development


def test_an_empty_variable_is_absent() -> None:
    assert (
        Settings.from_environ({"TALLYWIRE_SECRET": " ", "PORT": "", "REDIS_URL": ""}) == Settings()
    )


@pytest.mark.parametrize(
    ("environ", "names"),
    [
        ({"HOST": EVERYWHERE}, "TALLYWIRE_SECRET"),
        ({"HOST": "example.com"}, "TALLYWIRE_SECRET"),
        ({"TALLYWIRE_SECRET": "short"}, "32 characters"),
        ({"TALLYWIRE_SECRET": f"{SECRET},short"}, "32 characters"),
        ({"TALLYWIRE_SECRET": f"{SECRET},"}, "32 characters"),
        ({"TALLYWIRE_SECRET": ",".join([SECRET] * 3)}, "two secrets"),
        ({"PORT": "http"}, "PORT"),
        ({"PORT": "65536"}, "PORT"),
        ({"PORT": "-1"}, "PORT"),
        ({"TALLYWIRE_USER_RATE": "1.5"}, "TALLYWIRE_USER_RATE"),
        ({"TALLYWIRE_USER_CONNECTIONS": "0"}, "TALLYWIRE_USER_CONNECTIONS"),
        ({"TALLYWIRE_LOG": "xml"}, "TALLYWIRE_LOG"),
        ({"TALLYWIRE_PRICES": "random"}, "TALLYWIRE_PRICES"),
        ({"TALLYWIRE_ORIGINS": "example.com"}, "TALLYWIRE_ORIGINS"),
        ({"TALLYWIRE_ORIGINS": "https://a.example/"}, "TALLYWIRE_ORIGINS"),
        ({"REDIS_URL": "http://cache"}, "REDIS_URL"),
        ({"TALLYWIRE_VERIFY_SCHEDULE": "at two"}, "TALLYWIRE_VERIFY_SCHEDULE"),
        ({"TALLYWIRE_REBUILD_SCHEDULE": "0 3 30 2 *"}, "TALLYWIRE_REBUILD_SCHEDULE"),
        ({"TALLYWIRE_TIMEZONE": "Berlin"}, "TALLYWIRE_TIMEZONE"),
        ({"TALLYWIRE_TIMEZONE": "../etc"}, "TALLYWIRE_TIMEZONE"),
    ],
)
def test_a_setting_that_cannot_be_used_is_refused_in_one_line(
    environ: dict[str, str], names: str
) -> None:
    with pytest.raises(SettingsError, match=names) as refused:
        Settings.from_environ(environ)
    assert "\n" not in str(refused.value)


def test_a_refusal_never_quotes_a_secret() -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_environ({"TALLYWIRE_SECRET": "hunter2"})
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "LocalHost"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", [EVERYWHERE, "::", "10.0.0.1", "localhost.example.com", ""])
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)
