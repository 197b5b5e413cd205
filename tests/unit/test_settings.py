import ipaddress
import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from linkpeek.errors import ConfigurationError
from linkpeek.settings import PREFIX, TABLE, Rate, Settings

HERE = {"here": "/srv/linkpeek", "__file__": "/srv/linkpeek/production.ini"}
KEYS = sorted(TABLE)
NUMBERS = [
    "linkpeek.concurrency",
    "linkpeek.capture_timeout",
    "linkpeek.wait",
    "linkpeek.waiters",
    "linkpeek.ttl",
    "linkpeek.retention_days",
    "linkpeek.storage_max_bytes",
    "linkpeek.queue_limit",
]


def read(**values: object) -> Settings:
    return Settings.from_ini({f"linkpeek.{name}": value for name, value in values.items()}, HERE)


class TestDefaults:
    def test_everything_is_kept_under_the_folder_of_the_file(self) -> None:
        settings = read()
        assert settings.data_dir == Path("/srv/linkpeek/var")
        assert settings.database_url == "sqlite:////srv/linkpeek/var/linkpeek.sqlite"
        assert settings.storage_url == "file:/srv/linkpeek/var/snapshots"
        assert settings.secret_file == Path("/srv/linkpeek/var/secret")
        assert settings.broker_url == "filesystem://"
        assert settings.ini_file == Path("/srv/linkpeek/production.ini")

    def test_are_those_of_the_documentation(self) -> None:
        settings = read()
        assert (settings.capture_timeout, settings.wait, settings.ttl) == (30, 20, 86400)
        assert (settings.retention_days, settings.storage_max_bytes) == (30, 0)
        assert settings.egress_allow == ()
        assert settings.egress_ports == {80, 443, 8080, 8443}
        assert settings.rate_limit == Rate(60, 60)
        assert (settings.worker, settings.generator, settings.allow_root) == ("external", True, False)
        assert settings.concurrency == min(64, os.cpu_count() or 1)

    @pytest.mark.parametrize("key", KEYS)
    def test_an_empty_value_never_means_something_dangerous(self, key: str) -> None:
        try:
            settings = Settings.from_ini({key: ""}, HERE)
        except ConfigurationError:
            return
        if key == "linkpeek.trusted_proxies":  # here it means none
            assert settings.trusted_proxies == ()
        else:
            assert settings == read()

    def test_a_moved_data_folder_takes_everything_along(self) -> None:
        settings = read(data_dir="/data")
        assert settings.secret_file == Path("/data/secret")
        assert settings.database_url == "sqlite:////data/linkpeek.sqlite"

    def test_relative_paths_start_at_the_folder_of_the_file(self) -> None:
        settings = read(data_dir="data", secret_file="keys/secret")
        assert settings.data_dir == Path("/srv/linkpeek/data")
        assert settings.secret_file == Path("/srv/linkpeek/keys/secret")

    def test_without_a_file_paths_start_where_the_process_is(self) -> None:
        settings = Settings.from_ini({}, {})
        assert settings.data_dir == Path.cwd() / "var"
        assert settings.ini_file is None


class TestReading:
    @pytest.mark.parametrize(
        ("name", "text", "value"),
        [
            ("concurrency", "8", 8),
            ("capture_timeout", "2.5", 2.5),
            ("wait", "0", 0),
            ("waiters", "0", 0),
            ("storage_max_bytes", "1000000000000", 10**12),
            ("generator", "No", False),
            ("generator", " on ", True),
            ("generator", True, True),
            ("worker", "embedded", "embedded"),
            ("rate_limit", "5/second", Rate(5, 1)),
            ("rate_limit", "1000/day", Rate(1000, 86400)),
            ("egress_ports", "*", None),
            ("egress_ports", "80, 443", frozenset({80, 443})),
            ("chromium", "/opt/chrome", Path("/opt/chrome")),
            ("chromium", "", None),
        ],
    )
    def test_values(self, name: str, text: object, value: object) -> None:
        assert getattr(read(**{name: text}), name) == value

    def test_networks(self) -> None:
        settings = read(egress_allow="10.0.0.0/8, ::1/128\n192.168.1.5")
        assert settings.egress_allow == (
            ipaddress.ip_network("10.0.0.0/8"),
            ipaddress.ip_network("::1/128"),
            ipaddress.ip_network("192.168.1.5/32"),
        )

    @pytest.mark.parametrize(
        "url", ["sqlite:////tmp/x.sqlite", "postgresql+psycopg://u@h/d", "postgresql://u:p@h/d"]
    )
    def test_databases(self, url: str) -> None:
        assert Settings.from_ini({"sqlalchemy.url": url}, HERE).database_url == url

    def test_keys_of_others_are_left_alone(self) -> None:
        assert Settings.from_ini({"pyramid.includes": "x", "debugtoolbar.hosts": "y"}, HERE) == read()


class TestRefusals:
    @pytest.mark.parametrize("key", ["linkpeek.timeout", "linkpeek.", "linkpeek.Wait", "linkpeek.wait "])
    def test_an_unknown_key_is_named_with_those_there_are(self, key: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            Settings.from_ini({key: "1"}, HERE)
        assert f"unknown setting {key}" in caught.value.message
        assert "linkpeek.capture_timeout" in caught.value.message

    @pytest.mark.parametrize("key", NUMBERS)
    @pytest.mark.parametrize("text", ["-1", "x", "1e3", "1_000", "0x10", "\uff11", "9" * 30, "nan", "1 2"])
    def test_what_is_not_a_number(self, key: str, text: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            Settings.from_ini({key: text}, HERE)
        assert caught.value.message.startswith(f"{key} = ")

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("concurrency", "0"),
            ("concurrency", "65"),
            ("capture_timeout", "0.5"),
            ("capture_timeout", "301"),
            ("wait", "301"),
            ("queue_limit", "0"),
            ("generator", "maybe"),
            ("worker", "Embedded"),
            ("worker", "none"),
            ("rate_limit", "60"),
            ("rate_limit", "0/minute"),
            ("rate_limit", "60/week"),
            ("rate_limit", "60 / minute"),
            ("egress_allow", "10.0.0.0/33"),
            ("egress_allow", "10.0.0.1/8"),
            ("egress_allow", "example.com"),
            ("egress_ports", "0"),
            ("egress_ports", "65536"),
            ("egress_ports", "80-90"),
            ("egress_ports", ", ,"),
            ("storage_url", "http://x"),
            ("storage_url", "/var/images"),
            ("broker_url", "http://x"),
            ("secret_file", "a\0b"),
            ("data_dir", "a\0b"),
            ("trusted_proxies", "nginx"),
        ],
    )
    def test_bad_values_are_named_with_their_key(self, name: str, text: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            read(**{name: text})
        assert caught.value.message.startswith(f"linkpeek.{name} = ")

    @pytest.mark.parametrize("url", ["mysql://u:pw@h/d", "postgres://u:pw@h/d", "x"])
    def test_another_database(self, url: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            Settings.from_ini({"sqlalchemy.url": url}, HERE)
        assert "must be a sqlite: or postgresql: URL" in caught.value.message

    @pytest.mark.parametrize("key", ["sqlalchemy.url", "linkpeek.broker_url", "linkpeek.storage_url"])
    def test_no_password_is_repeated(self, key: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            Settings.from_ini({key: "mysql://me:sesame@db.example/x"}, HERE)
        assert "sesame" not in caught.value.message


TEXTS = st.one_of(
    st.text(max_size=60),
    st.text(alphabet="0123456789.:/*x -,\n\0", max_size=30),
    st.sampled_from(["sqlite:", "postgresql:", "file:", "s3:", "*", "true", "1/minute", "::/0", "~"]),
)


@given(st.dictionaries(st.one_of(st.sampled_from(KEYS), st.text().map(PREFIX.__add__)), TEXTS, max_size=4))
@example({"linkpeek.\u2028": "1"})
@example({"linkpeek.a\nb": "1"})
@example({"sqlalchemy.url": "x:\n"})
@example({"linkpeek.egress_allow": "\u2028"})
@example({"linkpeek.data_dir": "{data_dir}"})
def test_any_text_is_settings_or_one_clear_line(values: dict[str, str]) -> None:
    settings, lines = None, []
    try:
        settings = Settings.from_ini(values, HERE)
    except ConfigurationError as error:
        lines = error.message.splitlines()
    if settings is None:
        assert len(lines) == 1
    else:
        assert settings.data_dir.is_absolute()
        assert settings.secret_file.is_absolute()
