"""The first capture of the README, run as it stands, but for where the service is and what is captured."""

import re
import subprocess
import sys
from io import BytesIO
from pathlib import Path

from PIL import Image

from tests.live.running import running_service
from tests.live.site import Site

README = Path(__file__).parents[2] / "README.md"


def test_the_first_capture(tmp_path: Path) -> None:
    (program,) = re.findall(r"<!-- test: first-capture -->\n```sh\n(.*?)```", README.read_text(), re.DOTALL)
    with Site() as site, running_service(tmp_path) as service:
        for text, here in (
            ("env/bin/linkpeek", f"{sys.executable} -m linkpeek"),
            ("development.ini", str(tmp_path / "service.ini")),
            ("http://localhost:6543", service.address),
            ("https://example.com", site.url("/static")),
        ):
            assert text in program
            program = program.replace(text, here)
        done = subprocess.run(
            ["bash", "-e", "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
    assert done.returncode == 0, done.stderr
    with Image.open(BytesIO((tmp_path / "example.png").read_bytes())) as picture:
        assert (picture.format, picture.size) == ("PNG", (336, 252))
