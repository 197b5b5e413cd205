"""The capture engine: a warm Chromium behind one call, driven over its DevTools protocol.

``browser`` takes captures; ``process`` starts and ends Chromium, in ``cage`` and
``profile``; ``stage`` is one isolated page, ``watch`` what it does, ``page`` what is
done to it; ``pipeline`` is the way from an address to a picture, with ``waiting``
and ``exposure``. It knows nothing of HTTP requests or the database.
"""

from linkpeek.capture.browser import Browser
from linkpeek.capture.executable import find_executable
from linkpeek.capture.model import Capture, CaptureRequest, Egress, EgressSession

__all__ = ["Browser", "Capture", "CaptureRequest", "Egress", "EgressSession", "find_executable"]
