"""Peer: LinkPeek's own engine, as the worker uses it: threads, the egress guard, a thumbnail of each page.

The guard is on and opens loopback, where the pages are. With ``--bare`` as second
argument no thumbnails are made.
"""

import asyncio
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

from benchmarks.peers_rounds import answer_rounds
from linkpeek.capture import CaptureRequest
from linkpeek.engine import Engine
from linkpeek.geometry import Extent, Size, Viewport
from linkpeek.pictures import rendition
from linkpeek.settings import Settings

VIEWPORT = Viewport(1024, 768)
THUMBNAIL = Size(336, None)


def main(executable: str, thumbnails: bool) -> None:
    """Run the engine and answer rounds."""
    with tempfile.TemporaryDirectory() as folder:
        raw = {
            "linkpeek.data_dir": folder,
            "linkpeek.egress_allow": "127.0.0.0/8",
            "linkpeek.egress_ports": "*",
            "linkpeek.chromium": executable,
            "linkpeek.allow_root": "true",
        }
        engine = Engine(Settings.from_ini(raw, {"here": folder}))
        engine.start()
        threads = ThreadPoolExecutor(16)

        def capture(uri: str) -> int:
            captured = engine.capture(CaptureRequest(uri, VIEWPORT, Extent.VIEWPORT, 30))
            if thumbnails:
                rendition(captured.image, THUMBNAIL, VIEWPORT, "png")
            return len(captured.image)

        async def take(uri: str) -> int:
            return await asyncio.get_running_loop().run_in_executor(threads, capture, uri)

        try:
            asyncio.run(answer_rounds(take))
        finally:
            engine.stop()


if __name__ == "__main__":
    main(sys.argv[1], "--bare" not in sys.argv[2:])
