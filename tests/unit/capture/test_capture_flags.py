from pathlib import Path

import pytest

from linkpeek.capture import flags

CHROMIUM, PROFILE = Path("/opt/chromium"), Path("/tmp/profile")


def command(**options: bool) -> list[str]:
    return flags.command_line(CHROMIUM, profile=PROFILE, **{"sandbox": True, **options})


def test_sandbox_is_on_unless_told_otherwise() -> None:
    assert not any("sandbox" in word for word in command() if not word.startswith("--disable-features"))
    assert "--no-sandbox" in command(sandbox=False)


@pytest.mark.parametrize(
    "flag",
    [
        "--remote-debugging-pipe",
        "--disable-quic",
        "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
        "--proxy-bypass-list=<-loopback>",
        "--disable-background-networking",
        "--disable-extensions",
        "--deny-permission-prompts",
        f"--user-data-dir={PROFILE}",
    ],
)
def test_flag_that_safety_rests_on(flag: str) -> None:
    assert flag in command()


@pytest.mark.parametrize(
    "word", ["--remote-debugging-port", "--disk-cache-dir", "--disable-web-security", "--single-process"]
)
def test_flag_that_must_never_be_there(word: str) -> None:
    assert not any(flag.startswith(word) for flag in command(sandbox=False))


def test_little_shared_memory_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flags, "_shared_memory", lambda: 64 * 1024 * 1024)
    assert "--disable-dev-shm-usage" in command()

    monkeypatch.setattr(flags, "_shared_memory", lambda: 4 * 1024**3)
    assert "--disable-dev-shm-usage" not in command()


def test_no_shared_memory_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(flags, "SHM", tmp_path / "missing")

    assert "--disable-dev-shm-usage" in command()


def test_environment_holds_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "sesame")
    monkeypatch.setenv("http_proxy", "http://proxy.example")
    monkeypatch.setenv("LANG", "C.UTF-8")
    environment = flags.environment(PROFILE)

    assert environment["LANG"] == "C.UTF-8"
    assert environment["HOME"] == environment["TMPDIR"] == str(PROFILE)
    assert {"SECRET", "http_proxy"}.isdisjoint(environment)


def test_scripts_and_fonts_are_counted() -> None:
    (disabled,) = [word for word in command() if word.startswith("--disable-features=")]

    assert "BackgroundResourceFetch" in disabled.partition("=")[2].split(",")
