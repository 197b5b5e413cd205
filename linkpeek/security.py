"""Secrets, tokens and what is derived from the secret file.

The secret file holds one random key, made by ``linkpeek init``. From it come
the key that encrypts API secrets at rest and the one that signs cookies and
client digests; see RFC 5869 for the derivation.
"""

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from linkpeek.errors import ConfigurationError

SECRET_BYTES = 32


def make_secret_file(path: Path) -> bool:
    """Make the secret file, readable by its owner only; leave an existing one alone.

    :returns: whether it was made now.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_urlsafe(SECRET_BYTES) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return True


class SecretBox:
    """What can be done with the service's secret.

    :raises ConfigurationError: when the secret file is missing or unreadable.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self._fernet = Fernet(base64.urlsafe_b64encode(self._derive(b"api secrets")))
        self._signing = self._derive(b"signing")

    @classmethod
    def from_file(cls, path: Path) -> "SecretBox":
        """Read the secret file."""
        try:
            secret = path.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else "not text"
            raise ConfigurationError(
                f"the secret file {path} cannot be read ({reason}); run `linkpeek init CONFIG.ini` once"
            ) from None
        if len(secret) < SECRET_BYTES:
            raise ConfigurationError(f"the secret file {path} is too short; restore it from a backup")
        return cls(secret)

    def _derive(self, purpose: bytes) -> bytes:
        return HKDF(SHA256(), 32, salt=b"linkpeek", info=purpose).derive(self._secret)

    def encrypt(self, text: str) -> bytes:
        """Encrypt a secret for the database."""
        return self._fernet.encrypt(text.encode())

    def decrypt(self, data: bytes) -> str:
        """Give back what was encrypted.

        :raises ConfigurationError: when it was encrypted under another secret file.
        """
        try:
            return self._fernet.decrypt(data).decode()
        except InvalidToken:
            raise ConfigurationError(
                "an API secret cannot be decrypted: the secret file is not the one it was stored with"
            ) from None

    def digest(self, text: str) -> str:
        """Give a keyed digest (32 hex digits), to remember a client without keeping its address."""
        return hmac.new(self._signing, text.encode(), hashlib.sha256).hexdigest()[:32]


def md5_token(secret: str, uri: str, size: str) -> str:
    """Give API v1's token for an address and a size, as its historic clients compute it."""
    text = (secret + uri + size).encode("utf-8", "surrogatepass")
    return hashlib.md5(text, usedforsecurity=False).hexdigest()


def hmac_token(secret: str, *fields: str) -> str:
    """Give the stronger token: HMAC-SHA256 (RFC 2104) of the fields, a line each.

    Unlike API v1's own it cannot be computed from another token, and binds all
    parameters. A field that holds a line break has no token.
    """
    if any("\n" in field for field in fields):
        return secrets.token_hex(32)
    text = "\n".join(fields).encode("utf-8", "surrogatepass")
    return hmac.new(secret.encode("utf-8", "surrogatepass"), text, hashlib.sha256).hexdigest()


def same(given: str, expected: str) -> bool:
    """Compare two tokens in constant time."""
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), expected.encode())


#: Hexadecimal digits of a random token.
TOKEN_LENGTH = 32


def random_token() -> str:
    """Give an unguessable name: 128 bits in 32 hex digits."""
    return secrets.token_hex(TOKEN_LENGTH // 2)
