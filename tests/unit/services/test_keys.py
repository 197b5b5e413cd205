from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.orm import Session

from linkpeek.db import transaction
from linkpeek.errors import AccessDenied, NotFound, ParameterError
from linkpeek.models import ApiKey
from linkpeek.security import SecretBox, hmac_token, md5_token
from linkpeek.services import keys as module
from linkpeek.services.keys import Authenticator, KeyService, Meaning
from tests.unit.services.conftest import Bench

BOX = SecretBox("x" * 40)
MEANING = Meaning("http://example.com/", "336", "", "")


@pytest.fixture
def session(bench: Bench) -> Iterator[Session]:
    with transaction(bench.sessions) as session:
        session.execute(sa.delete(ApiKey))
        yield session


@pytest.fixture
def keys(session: Session) -> KeyService:
    return KeyService(session, BOX)


def md5(secret: str, meaning: Meaning = MEANING) -> str:
    return md5_token(secret, meaning.uri, meaning.size)


def authenticate(
    keys: KeyService, apikey: str, token: str, meanings: list[Meaning]
) -> tuple[ApiKey, Meaning]:
    return Authenticator(keys.find, BOX).authenticate(apikey, token, meanings)


class TestAdding:
    def test_a_new_key_is_random_and_works(self, keys: KeyService) -> None:
        (one, secret), (two, other) = keys.add("a client"), keys.add("a client")
        assert len({one.apikey, two.apikey, secret, other}) == 4
        assert min(len(one.apikey), len(secret)) >= 24
        assert authenticate(keys, one.apikey, md5(secret), [MEANING]) == (one, MEANING)

    @pytest.mark.parametrize("secret", ["s", "sésame ouvre-toi", "x" * 512, " ", "\n"])
    def test_an_existing_pair_is_brought_along(self, keys: KeyService, secret: str) -> None:
        key, _ = keys.add("old", "MyKey-1/2", secret)
        assert authenticate(keys, "MyKey-1/2", md5(secret), [MEANING])[0] is key

    def test_the_secret_is_not_kept_in_clear(self, keys: KeyService) -> None:
        key, secret = keys.add("a", "k", "open sesame")
        assert secret.encode() not in key.encrypted_secret
        assert BOX.decrypt(key.encrypted_secret) == secret

    @pytest.mark.parametrize(
        ("name", "apikey", "secret"),
        [
            ("", "k", "s"),
            ("  ", "k", "s"),
            ("n" * 201, "k", "s"),
            ("a\nb", "k", "s"),
            ("\udcff", "k", "s"),
            ("n", "", "s"),
            ("n", "a b", "s"),
            ("n", "ä", "s"),
            ("n", "k\0", "s"),
            ("n", "k" * 129, "s"),
            ("n", "k", ""),
            ("n", "k", "s" * 513),
            ("n", "k", "\udcff"),
        ],
        ids=ascii,
    )
    def test_what_cannot_be_a_key(self, keys: KeyService, name: str, apikey: str, secret: str) -> None:
        with pytest.raises(ParameterError) as caught:
            keys.add(name, apikey, secret)
        assert caught.value.code == "bad-key"
        assert keys.list() == []

    def test_a_key_is_there_once(self, keys: KeyService) -> None:
        keys.add("a", "k", "s")
        with pytest.raises(ParameterError) as caught:
            keys.add("b", "k", "t")
        assert caught.value.code == "key-exists"

    def test_a_key_that_somebody_else_adds_at_the_same_moment(
        self, keys: KeyService, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keys.add("a", "k", "s")
        monkeypatch.setattr(keys, "find", lambda apikey: None)
        with pytest.raises(ParameterError) as caught:
            keys.add("b", "k", "t")
        assert caught.value.code == "key-exists"
        keys._session.rollback()

    def test_they_are_listed_in_the_order_they_came(self, keys: KeyService) -> None:
        for apikey in ("b", "a", "c"):
            keys.add("n", apikey)
        assert [key.apikey for key in keys.list()] == ["b", "a", "c"]


class TestAuthentication:
    @pytest.mark.parametrize(
        ("apikey", "token"),
        [
            ("nobody", md5("s")),
            ("k\0", md5("s")),
            ("", md5("s")),
            ("ä", md5("s")),
            ("k", md5("t")),
            ("k", md5("s").upper()),
            ("k", ""),
            ("k", "\udcff"),
            ("K", md5("s")),
        ],
        ids=ascii,
    )
    def test_whatever_is_wrong_looks_the_same(self, keys: KeyService, apikey: str, token: str) -> None:
        keys.add("n", "k", "s")
        with pytest.raises(AccessDenied) as caught:
            authenticate(keys, apikey, token, [MEANING])
        assert caught.value.message == "The API key or the token is not right."

    def test_whatever_is_wrong_takes_the_same_steps(
        self, keys: KeyService, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """So that the time it takes tells nothing either."""
        keys.add("a", "right", "sesame")
        keys.add("b", "off", "sesame")
        keys.disable("off")
        steps: list[str] = []

        def noted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
            return lambda *args: (steps.append(name), real(*args))[1]

        for name in ("md5_token", "same"):
            monkeypatch.setattr(module, name, noted(name, getattr(module, name)))
        authenticator = Authenticator(noted("find", keys.find), BOX)
        monkeypatch.setattr(authenticator, "_decrypt", noted("decrypt", authenticator._decrypt))
        taken = []
        for apikey, token in (("right", "0" * 32), ("nobody", "0" * 32), ("off", md5("sesame"))):
            steps.clear()
            with pytest.raises(AccessDenied):
                authenticator.authenticate(
                    apikey, token, [MEANING, Meaning("http://b.example/", "1", "", "")]
                )
            taken.append(list(steps))
        assert taken[0] == taken[1] == taken[2]
        assert taken[0] == ["find", "decrypt", "md5_token", "same", "md5_token", "same"]

    def test_the_token_tells_which_meaning_was_meant(self, keys: KeyService) -> None:
        keys.add("n", "k", "s")
        others = [Meaning("http://example.com/", str(size), "", "") for size in range(16, 20)]
        meant = authenticate(keys, "k", md5("s", others[2]), others)[1]
        assert meant == others[2]

    def test_a_disabled_key_is_refused(self, keys: KeyService) -> None:
        key, _ = keys.add("n", "k", "s")
        assert keys.disable("k") is key
        first = key.disabled_at
        assert keys.disable("k").disabled_at == first
        with pytest.raises(AccessDenied):
            authenticate(keys, "k", md5("s"), [MEANING])

    def test_a_rotated_secret_works_at_once_and_the_old_one_no_more(self, keys: KeyService) -> None:
        keys.add("n", "k", "s")
        assert authenticate(keys, "k", md5("s"), [MEANING])
        _, secret = keys.rotate("k")
        assert authenticate(keys, "k", md5(secret), [MEANING])
        with pytest.raises(AccessDenied):
            authenticate(keys, "k", md5("s"), [MEANING])
        assert keys.rotate("k", "given")[1] == "given"

    def test_a_key_may_refuse_the_weaker_tokens(self, keys: KeyService) -> None:
        keys.add("n", "k", "s", md5_tokens=False)
        strong = hmac_token("s", MEANING.uri, MEANING.size, MEANING.viewport, MEANING.ttl)
        assert authenticate(keys, "k", strong, [MEANING])
        with pytest.raises(AccessDenied):
            authenticate(keys, "k", md5("s"), [MEANING])
        keys.rotate("k", "s", md5_tokens=True)
        assert authenticate(keys, "k", md5("s"), [MEANING])

    def test_a_stronger_token_binds_everything(self, keys: KeyService) -> None:
        keys.add("n", "k", "s")
        strong = hmac_token("s", MEANING.uri, MEANING.size, MEANING.viewport, MEANING.ttl)
        with pytest.raises(AccessDenied):
            authenticate(keys, "k", strong, [Meaning(MEANING.uri, MEANING.size, "640", MEANING.ttl)])

    @pytest.mark.parametrize("way", ["disable", "rotate"])
    def test_an_unknown_key_cannot_be_changed(self, keys: KeyService, way: str) -> None:
        with pytest.raises(NotFound):
            getattr(keys, way)("nobody")


def test_a_new_key_can_be_named_in_a_command(keys: KeyService, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter(["-option", "-x", "fine", "secret"])
    monkeypatch.setattr(module.secrets, "token_urlsafe", lambda size: next(drawn))
    assert keys.add("new")[0].apikey == "fine"
