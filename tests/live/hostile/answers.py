"""What the servers of the hostile pages send: status, headers, and a body in pieces."""

import asyncio
from collections.abc import AsyncIterator, Iterable

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc0"
    "000003010100c9fe92ef0000000049454e44ae426082"
)
HTML = "text/html; charset=utf-8"
USUAL = (("Content-Type", HTML), ("Connection", "close"))


class Answer:
    """Status, headers (some of them more than once, perhaps), and a body in pieces."""

    def __init__(
        self, body: bytes = b"", status: int = 200, *, lines: Iterable[tuple[str, str]] = (), **headers: str
    ) -> None:
        self.status = status
        given = [*lines, *((name.replace("_", "-"), value) for name, value in headers.items())]
        names = {name.lower() for name, _ in given}
        self.headers = [*((name, value) for name, value in USUAL if name.lower() not in names), *given]
        self._body = body

    async def pieces(self) -> AsyncIterator[bytes]:
        yield self._body


class Zeros(Answer):
    """So many zero bytes, as fast as they are taken."""

    def __init__(self, size: int, **headers: str) -> None:
        super().__init__(**headers)
        self._size = size

    async def pieces(self) -> AsyncIterator[bytes]:
        for _ in range(self._size // 65536):
            yield bytes(65536)


class Late(Answer):
    """A body that lets itself be waited for."""

    async def pieces(self) -> AsyncIterator[bytes]:
        await asyncio.sleep(2)
        yield self._body


class Trickle(Answer):
    """A byte at a time."""

    async def pieces(self) -> AsyncIterator[bytes]:
        for byte in b"<p>slow" * 100:
            yield bytes([byte])
            await asyncio.sleep(2)
