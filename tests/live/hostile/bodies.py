"""Bodies that are no plain pages: bombs, documents with actions, exchanges that fall back."""

import gzip
import io
import itertools
import zlib

from answers import PIXEL, Answer


def gzip_bomb() -> Answer:
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1) as file:
        for _ in range(1024):
            file.write(b"<p>" + b" " * (1024 * 1024 - 3))
    return Answer(packed.getvalue(), Content_Encoding="gzip")


def png_bomb() -> Answer:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    side = 30000
    head = side.to_bytes(4, "big") * 2 + bytes((1, 0, 0, 0, 0))
    rows = zlib.compress(bytes((side // 8 + 1) * side), 1)
    body = PIXEL[:8] + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return Answer(body, Content_Type="image/png")


def entities() -> Answer:
    names = "abcdefghijklm"
    lines = [f'<!ENTITY {after} "{f"&{before};" * 8}">' for before, after in itertools.pairwise(names)]
    text = f'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">{"".join(lines)}]><a>&m;</a>'
    return Answer(text.encode(), Content_Type="text/xml")


def pdf() -> Answer:
    action = b"<</Type/Catalog/Pages 2 0 R/OpenAction<</S/URI/URI(http://127.0.0.1/)>>>>"
    objects = (
        action,
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>",
    )
    body = b"".join(b"%d 0 obj%sendobj\n" % (n, text) for n, text in enumerate(objects, 1))
    text = b"%PDF-1.4\n" + body + b"trailer<</Root 1 0 R/Size 4>>\n%%EOF"
    return Answer(text, Content_Type="application/pdf")


def play_list() -> Answer:
    """Give an HLS play list whose key and segments are inside."""
    key = '#EXT-X-KEY:METHOD=AES-128,URI="http://127.44.0.1:8080/key"'
    lines = ("#EXTM3U", "#EXT-X-TARGETDURATION:1", key, "#EXTINF:1,", "http://127.44.0.2:8080/x.ts", "")
    return Answer("\n".join(lines).encode(), Content_Type="application/vnd.apple.mpegurl")


def exchange() -> Answer:
    """Give a signed exchange that cannot be verified, so that the browser goes to its fallback URL."""
    fallback = b"https://127.56.0.1:8443/"
    lengths = len(b"x").to_bytes(3, "big") + len(b"x").to_bytes(3, "big")
    body = b"sxg1-b3\0" + len(fallback).to_bytes(2, "big") + fallback + lengths + b"xx"
    return Answer(body, Content_Type="application/signed-exchange;v=b3", X_Content_Type_Options="nosniff")
