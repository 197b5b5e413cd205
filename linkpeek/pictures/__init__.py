"""Pictures: thumbnails of a capture, and those drawn where there is none.

Bytes in, bytes out; nothing here knows of storages, requests or the database. The
same input gives the same bytes in every process, so pictures can be made twice at
once without harm.
"""

from linkpeek.pictures.drawn import error_picture, placeholder
from linkpeek.pictures.renditions import rendition

__all__ = ["error_picture", "placeholder", "rendition"]
