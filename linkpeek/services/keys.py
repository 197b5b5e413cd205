"""API keys: adding, importing, disabling, rotating, and telling who is calling."""

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

import sqlalchemy as sa
from sqlalchemy.orm import Session

from linkpeek.db import utcnow
from linkpeek.errors import AccessDenied, NotFound, ParameterError
from linkpeek.models import ApiKey
from linkpeek.security import SecretBox, hmac_token, md5_token, same

_APIKEY = re.compile(r"[\x21-\x7e]{1,128}")
_MAX_SECRET, _MAX_NAME = 512, 200

#: Hexadecimal digits of the stronger token; API v1's own has 32.
HMAC_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Meaning:
    """One way to read a request, as its client may have meant it."""

    uri: str
    size: str
    viewport: str
    ttl: str

    def hmac(self, secret: str) -> str:
        """Give the stronger token of this meaning."""
        return hmac_token(secret, self.uri, self.size, self.viewport, self.ttl)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What is known of an API key, as far as it takes to tell who is calling."""

    id: int
    encrypted_secret: bytes
    md5_tokens: bool
    disabled_at: datetime | None


class KeyService:
    """The API keys of one database.

    :param session: the session to work in; the caller commits.
    :param box: encrypts and decrypts the secrets.
    """

    def __init__(self, session: Session, box: SecretBox, now: Callable[[], datetime] = utcnow) -> None:
        self._session = session
        self._box = box
        self._now = now

    def add(
        self, name: str, apikey: str | None = None, secret: str | None = None, *, md5_tokens: bool = True
    ) -> tuple[ApiKey, str]:
        """Add a key, new or brought along from an older service.

        :param md5_tokens: whether API v1's MD5 tokens are good for it, or only the stronger ones.
        :returns: the key and its secret, which is shown only now.
        :raises ParameterError: ``bad-key`` for an unusable name, key or secret, ``key-exists``.
        """
        apikey = _new_apikey() if apikey is None else apikey
        secret = secrets.token_urlsafe(32) if secret is None else secret
        _check(name, apikey, secret)
        if self.find(apikey) is not None:
            raise ParameterError("There is such an API key already.", code="key-exists")
        key = ApiKey(
            apikey=apikey,
            name=name,
            encrypted_secret=self._box.encrypt(secret),
            md5_tokens=md5_tokens,
            created_at=self._now(),
        )
        self._session.add(key)
        try:
            self._session.flush()
        except sa.exc.IntegrityError:
            raise ParameterError("There is such an API key already.", code="key-exists") from None
        return key, secret

    def list(self) -> Sequence[ApiKey]:
        """Give all keys, oldest first."""
        return self._session.scalars(sa.select(ApiKey).order_by(ApiKey.id)).all()

    def disable(self, apikey: str) -> ApiKey:
        """Disable a key; its requests are refused from now on.

        :raises NotFound: when there is no such key.
        """
        key = self._get(apikey)
        key.disabled_at = key.disabled_at or self._now()
        return key

    def rotate(
        self, apikey: str, secret: str | None = None, *, md5_tokens: bool | None = None
    ) -> tuple[ApiKey, str]:
        """Give a key a new secret; the old one stops working at once.

        :param md5_tokens: as for ``add``; None leaves it as it is.
        :raises NotFound: when there is no such key.
        """
        key = self._get(apikey)
        secret = secrets.token_urlsafe(32) if secret is None else secret
        _check(key.name, apikey, secret)
        key.encrypted_secret = self._box.encrypt(secret)
        if md5_tokens is not None:
            key.md5_tokens = md5_tokens
        return key, secret

    def find(self, apikey: str) -> ApiKey | None:
        """Give a key, disabled or not; None when there is no such key."""
        if not _APIKEY.fullmatch(apikey):
            return None  # a database that was asked for a NUL would not just say no
        return self._session.scalar(sa.select(ApiKey).where(ApiKey.apikey == apikey))

    def _get(self, apikey: str) -> ApiKey:
        key = self.find(apikey)
        if key is None:
            raise NotFound("There is no such API key.")
        return key


def _new_apikey() -> str:
    """Give 24 characters for URLs; the first is none that a command takes for the start of an option."""
    while (apikey := secrets.token_urlsafe(18)).startswith("-"):
        pass
    return apikey


class Authenticator:
    """Tells who is calling.

    :param find: gives a key by its public name, disabled or not.
    :param box: decrypts the secrets.
    """

    def __init__(self, find: Callable[[str], Credentials | None], box: SecretBox) -> None:
        self._find = find
        self._decrypt = _cached_decrypt(box)
        # Stands in where the key is unknown, so that both cases take the same steps.
        self._decoy = box.encrypt(secrets.token_hex(16))

    def authenticate(
        self, apikey: str, token: str, meanings: Sequence[Meaning]
    ) -> tuple[Credentials, Meaning]:
        """Find who is calling, and which meaning of the request the token was made for.

        :raises AccessDenied: for an unknown or disabled key and for a wrong token alike.
        """
        key = self._find(apikey) if _APIKEY.fullmatch(apikey) else None
        meant = self.meant(key, token, meanings)
        if key is None or meant is None:
            raise AccessDenied("The API key or the token is not right.")
        return key, meant

    def meant(self, key: Credentials | None, token: str, meanings: Sequence[Meaning]) -> Meaning | None:
        """Give the meaning that the token was made for; None where it is for none or the key is no good."""
        secret = self._decrypt(self._decoy if key is None else key.encrypted_secret)
        strong = len(token) == HMAC_LENGTH
        meant = None
        for meaning in meanings:
            expected = meaning.hmac(secret) if strong else md5_token(secret, meaning.uri, meaning.size)
            if same(token, expected) and meant is None:
                meant = meaning
        usable = key is not None and key.disabled_at is None and (strong or key.md5_tokens)
        return meant if usable else None


@lru_cache(maxsize=4)
def _cached_decrypt(box: SecretBox) -> Callable[[bytes], str]:
    # Fernet costs more than the look-up of the row; what was decrypted once
    # stays in this process's memory, where the secret file's key is anyway.
    return lru_cache(maxsize=4096)(box.decrypt)


def _check(name: str, apikey: str, secret: str) -> None:
    if not name.strip() or len(name) > _MAX_NAME or not name.isprintable():
        raise ParameterError(f"A key's name is 1 to {_MAX_NAME} printable characters.", code="bad-key")
    if not _APIKEY.fullmatch(apikey):
        raise ParameterError("An API key is 1 to 128 ASCII characters without spaces.", code="bad-key")
    if not 1 <= len(secret) <= _MAX_SECRET or any("\ud800" <= char <= "\udfff" for char in secret):
        raise ParameterError(f"A secret is 1 to {_MAX_SECRET} characters.", code="bad-key")
