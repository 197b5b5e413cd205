import hashlib
import hmac
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkpeek.errors import ConfigurationError
from linkpeek.security import SecretBox, hmac_token, make_secret_file, md5_token, random_token, same

SECRET = "s" * 43
BOX = SecretBox(SECRET)
#: Text as it may come from a query: no lone surrogates there.
PLAIN = st.text(st.characters(exclude_categories=["Cs"]))


class TestSecretFile:
    def test_is_made_for_its_owner_only(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "secret"
        assert make_secret_file(path)
        assert path.stat().st_mode & 0o777 == 0o600
        assert len(path.read_text().strip()) >= 43
        SecretBox.from_file(path)

    def test_an_existing_one_is_left_alone(self, tmp_path: Path) -> None:
        path = tmp_path / "secret"
        path.write_text(SECRET)
        assert not make_secret_file(path)
        assert path.read_text() == SECRET

    def test_two_are_different(self, tmp_path: Path) -> None:
        for name in "ab":
            make_secret_file(tmp_path / name)
        assert (tmp_path / "a").read_text() != (tmp_path / "b").read_text()

    @pytest.mark.parametrize("content", [None, b"", b"short", b"\xff" * 64])
    def test_one_that_cannot_be_used_is_told(self, tmp_path: Path, content: bytes | None) -> None:
        path = tmp_path / "secret"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConfigurationError) as caught:
            SecretBox.from_file(path)
        assert str(path) in caught.value.message
        assert "short" not in caught.value.message.replace("too short", "")

    def test_white_space_around_it_does_not_matter(self, tmp_path: Path) -> None:
        path = tmp_path / "secret"
        path.write_text(f" {SECRET}\r\n")
        assert SecretBox.from_file(path).decrypt(BOX.encrypt("x")) == "x"


class TestBox:
    @given(PLAIN)
    def test_gives_back_what_was_put_in(self, text: str) -> None:
        assert BOX.decrypt(BOX.encrypt(text)) == text

    def test_shows_neither_the_secret_nor_that_two_are_the_same(self) -> None:
        one, two = BOX.encrypt("open sesame"), BOX.encrypt("open sesame")
        assert one != two
        assert b"sesame" not in one

    @given(st.binary(max_size=200))
    def test_whatever_it_did_not_encrypt_is_told(self, data: bytes) -> None:
        with pytest.raises(ConfigurationError):
            BOX.decrypt(data)

    def test_another_secret_opens_nothing(self) -> None:
        with pytest.raises(ConfigurationError):
            SecretBox("t" * 43).decrypt(BOX.encrypt("x"))

    @given(PLAIN, PLAIN)
    def test_a_digest_stands_for_one_text(self, one: str, two: str) -> None:
        assert re.fullmatch("[0-9a-f]{32}", BOX.digest(one))
        assert (BOX.digest(one) == BOX.digest(two)) == (one == two)
        assert BOX.digest(one) != SecretBox("t" * 43).digest(one)


class TestTokens:
    @pytest.mark.parametrize(
        ("uri", "size", "token"),
        [
            ("http://example.com", "336x336", "26fbd4e3a72aa89b3ace5f66b626a64a"),
            ("example.com", "336", "7cf5f7a15e07a4f65400bde84ff37f10"),
            ("https://example.com/a?b=1&c=d e", "200x400", "bef3c641a62fffc2258a87643b09fe5e"),
            ("http://b\xfccher.example/\xfc", "140x100", "4447b238f8c61e32531ca52653d02d35"),
            ("http://example.com", "original", "e8398acc693af6897dfd42b82ee1f8d7"),
            ("http://example.com", "", "7145f55ca0a47e9c55ef378231937987"),
        ],
    )
    def test_are_those_of_the_historic_clients(self, uri: str, size: str, token: str) -> None:
        assert md5_token("sesame", uri, size) == token

    @given(PLAIN, PLAIN, PLAIN)
    def test_are_the_md5_of_what_was_meant(self, secret: str, uri: str, size: str) -> None:
        expected = hashlib.md5((secret + uri + size).encode()).hexdigest()
        assert md5_token(secret, uri, size) == expected

    @given(PLAIN, st.lists(PLAIN.filter(lambda text: "\n" not in text), min_size=1))
    def test_the_stronger_ones_are_hmacs_of_lines(self, secret: str, fields: list[str]) -> None:
        expected = hmac.new(secret.encode(), "\n".join(fields).encode(), "sha256").hexdigest()
        assert hmac_token(secret, *fields) == expected

    def test_a_line_break_cannot_move_a_stronger_one_to_other_fields(self) -> None:
        assert not same(hmac_token("s", "a\nb", "c"), hmac_token("s", "a", "b\nc"))
        assert not same(hmac_token("s", "a\nb"), hmac_token("s", "a", "b"))

    @given(st.text())
    def test_compare_with_any_text(self, given_token: str) -> None:
        expected = md5_token("s", "u", "1")
        assert same(given_token, expected) == (given_token == expected)

    def test_names_are_unguessable(self) -> None:
        names = {random_token() for _ in range(100)}
        assert len(names) == 100
        assert all(re.fullmatch("[0-9a-f]{32}", name) for name in names)
