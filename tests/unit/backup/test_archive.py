"""The format of a backup: what is not to the bit as it was written is refused."""

import hashlib
import io
import random
import tarfile
from pathlib import Path

import pytest

from linkpeek.backup.archive import FIRST, ArchiveWriter, read_archive
from linkpeek.backup.errors import BadBackup

TOKEN = "3f9a0123456789abcdef0123456789ab"
IMAGE = f"images/3f/9a/{TOKEN}/336.png"
MASTER = f"images/3f/9a/{TOKEN}/master.png"
PARTS = {
    **dict(zip(FIRST, (b'{"format": 1}\n', b"[app:main]\n", b"secret\n", b"row\n" * 200), strict=True)),
    IMAGE: bytes(range(256)) * 3,
    MASTER: b"x" * 512,
}


def write(parts: dict[str, bytes]) -> bytes:
    return write_members(*parts.items())


def write_members(*parts: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    archive = ArchiveWriter(out, io.BytesIO(), 1_700_000_000)
    for name, data in parts:
        archive.add(name, data)
    archive.close()
    assert archive.size == len(out.getvalue())
    return out.getvalue()


def read(data: bytes) -> dict[str, bytes]:
    return {member.name: member.read(1 << 20) for member in read_archive(io.BytesIO(data))}


def plain_tar(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """Make a tar file with any members, after the four that come first, as another program would."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name in FIRST:
            first = tarfile.TarInfo(name)
            first.mode = 0o600
            tar.addfile(first)
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def test_gives_back_what_was_written() -> None:
    assert read(write(PARTS)) == PARTS


def test_is_a_tar_file_whose_manifest_sha256sum_could_check(tmp_path: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(write(PARTS))) as tar:
        members = {info.name: tar.extractfile(info).read() for info in tar}  # type: ignore[union-attr]
        assert all(info.isreg() and info.mode == 0o600 for info in tar)
    manifest = members.pop("manifest.sha256").decode().splitlines()
    del members["whole.sha256"]
    assert members == PARTS
    assert manifest == [f"{hashlib.sha256(data).hexdigest()}  {name}" for name, data in PARTS.items()]


def test_refused_wherever_it_is_cut_short() -> None:
    data = write(PARTS)
    for length in range(1, len(data)):
        with pytest.raises(BadBackup) as refused:
            read(data[:length])
        assert refused.value.code == "backup-incomplete"


def test_refused_whichever_byte_is_altered() -> None:
    data, chance = write(PARTS), random.Random(7)
    for position in range(len(data)):
        altered = bytearray(data)
        altered[position] ^= 1 << chance.randrange(8)
        with pytest.raises(BadBackup):
            read(bytes(altered))


@pytest.mark.parametrize("more", [b"\0", b"\0" * 512, b"x", write(PARTS)])
def test_refused_with_something_added(more: bytes) -> None:
    with pytest.raises(BadBackup, match="added"):
        read(write(PARTS) + more)


def test_refused_with_a_part_exchanged_and_the_manifest_kept() -> None:
    data, other = write(PARTS), write(PARTS | {MASTER: b"y" * 512})
    at = data.index(b"x" * 512)
    with pytest.raises(BadBackup, match="manifest"):
        read(data[:at] + other[at : at + 512] + data[at + 512 :])


@pytest.mark.parametrize(
    "names",
    [
        FIRST[:3],
        (FIRST[1], FIRST[0], *FIRST[2:]),
        (*FIRST, MASTER, IMAGE),
        (*FIRST, IMAGE, IMAGE),
        (*FIRST, "images/../../etc/passwd"),
        (*FIRST, "/etc/passwd"),
        (*FIRST, "../etc/passwd"),
        (*FIRST, f"images/../{IMAGE}"),
        (*FIRST, f"images/3f/9a/{TOKEN}/336.html"),
        (*FIRST, "secret"),
        (*FIRST, "more"),
    ],
)
def test_only_what_a_backup_holds_and_in_its_order(names: tuple[str, ...]) -> None:
    out = io.BytesIO()
    archive = ArchiveWriter(out, io.BytesIO(), 1_700_000_000)
    for name in names:
        archive._last = ""  # it writes nothing itself that nobody could read
        archive.add(name, b"data")
    archive.close()
    with pytest.raises(BadBackup):
        read(out.getvalue())


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE],
)
def test_nothing_but_ordinary_files(kind: bytes) -> None:
    info = tarfile.TarInfo(IMAGE)
    info.type, info.linkname = kind, "/etc/passwd"
    with pytest.raises(BadBackup, match="holds what no backup"):
        read(plain_tar((info, b"")))


def test_nothing_with_an_owner_or_a_mode_that_grants_powers() -> None:
    for change in ({"uid": 0o7}, {"uname": "root"}, {"mode": 0o4755}):
        info = tarfile.TarInfo(IMAGE)
        for name, value in change.items():
            setattr(info, name, value)
        with pytest.raises(BadBackup, match="holds what no backup"):
            read(plain_tar((info, b"data")))


@pytest.mark.timeout(10)
def test_no_part_has_less_than_nothing() -> None:
    info = tarfile.TarInfo(IMAGE)
    info.size, info.mode = -1, 0o600
    with pytest.raises(BadBackup, match="holds what no backup"):
        read(plain_tar()[: 4 * 512] + info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        (b"\x1f\x8b\x08" + bytes(600), "unpack it first"),
        (b"\x28\xb5\x2f\xfd" + bytes(600), "unpack it first"),
        (bytes(2048), "no backup"),
        (b"<!doctype html>" * 99, "no backup"),
        (plain_tar()[512:], "is not used"),
    ],
)
def test_says_when_it_is_something_else(data: bytes, hint: str) -> None:
    with pytest.raises(BadBackup, match=hint) as refused:
        read(data)
    assert refused.value.code == "backup-foreign"


def test_a_huge_small_part_is_not_read() -> None:
    first = next(read_archive(io.BytesIO(write(PARTS | {FIRST[0]: b"x" * 2000}))))
    with pytest.raises(BadBackup, match="too large"):
        first.read(1000)


def test_what_nobody_could_read_is_not_written() -> None:
    with pytest.raises(ValueError, match="comes after"):
        write_members(*PARTS.items(), (IMAGE, b""))
