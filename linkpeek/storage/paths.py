"""Where an image lies: the one shape of path that any storage accepts.

A snapshot's token is 32 random hex digits, so its path cannot be guessed. The
first two bytes shard the folders: a million snapshots make 65,536 folders of
about fifteen. Nothing else than ``png`` and ``webp`` can be named, so nothing
that a browser would run can come back under our host name.
"""

import re
from functools import lru_cache

#: File ending -> media type of everything that is ever stored.
MEDIA_TYPES = {"png": "image/png", "webp": "image/webp"}

_SHARD = re.compile(r"[0-9a-f]{2}", re.ASCII)
_FOLDER = rf"({_SHARD.pattern})/({_SHARD.pattern})/\1\2[0-9a-f]{{28}}"
_SNAPSHOT = re.compile(_FOLDER, re.ASCII)
_IMAGE = re.compile(_FOLDER + r"/[a-z0-9]{1,32}\.(?:" + "|".join(MEDIA_TYPES) + ")", re.ASCII)


def is_shard(name: str) -> bool:
    """Tell whether an outer folder is one of images; others are not ours, such as a disk's ``lost+found``."""
    return _SHARD.fullmatch(name) is not None


def snapshot_folder(token: str) -> str:
    """Give the folder of a snapshot's images: ``3f/9a/3f9a...``.

    :param token: 32 lower-case hex digits.
    :raises ValueError: if it is anything else.
    """
    folder = f"{token[:2]}/{token[2:4]}/{token}"
    if not is_snapshot_folder(folder):
        raise ValueError(f"not a snapshot's token: {token!r}")
    return folder


@lru_cache(maxsize=4096)
def image_path(token: str, name: str, ending: str) -> str:
    """Give the path of one image: ``image_path(t, "336", "webp")`` is ``3f/9a/3f9a.../336.webp``.

    :raises ValueError: if a part has other characters than a path may have.
    """
    path = f"{snapshot_folder(token)}/{name}.{ending}"
    if not is_image_path(path):
        raise ValueError(f"not an image's name: {name!r}, {ending!r}")
    return path


def is_snapshot_folder(text: str) -> bool:
    """Tell whether this is a snapshot's folder, to the letter."""
    return _SNAPSHOT.fullmatch(text) is not None


def is_image_path(text: str) -> bool:
    """Tell whether this is an image's path, to the letter."""
    return _IMAGE.fullmatch(text) is not None


def media_type(path: str) -> str:
    """Give the media type of the image at this path, by its ending."""
    return MEDIA_TYPES[path.rpartition(".")[2]]
