"""What is read of other processes, whatever these call themselves."""

import subprocess
import sys

import pytest

from linkpeek.capture.procfs import group_of, member_with, processor_seconds

#: Calls itself by the given name, and waits for its standard input to be closed.
PROGRAM = """
import sys
open('/proc/self/comm', 'wb').write(bytes.fromhex(sys.argv[1]))
print(flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("name", [b"plain", b"a b) R 1 1 (c", b"\xc3", b"\xff\xfe"])
def test_any_name_will_do(name: bytes) -> None:
    command = [sys.executable, "-c", PROGRAM, name.hex(), "--these-words"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert group_of(process.pid) == process.pid
        assert member_with(b"--these-words", process.pid) == process.pid
        assert processor_seconds(process.pid) >= 0
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)
        assert group_of(process.pid) is None
