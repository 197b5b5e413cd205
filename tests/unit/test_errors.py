import inspect
import re

import pytest

from linkpeek import errors
from linkpeek.errors import (
    REFUSALS,
    TROUBLES,
    CaptureError,
    CaptureRefused,
    CaptureTimeout,
    LimitExceeded,
    LinkPeekError,
    Unavailable,
    capture_failure,
)

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, LinkPeekError)]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_class_has_a_stable_code(kind: type[LinkPeekError]) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", kind.code)


def test_a_code_given_is_the_instances_own() -> None:
    error = Unavailable("Full.", code="storage-full")
    assert (error.code, Unavailable.code, str(error), error.message) == (
        "storage-full",
        "unavailable",
        "Full.",
        "Full.",
    )


def test_a_limit_says_when_to_come_back() -> None:
    assert LimitExceeded("Slowly.", retry_after=7).retry_after == 7


def test_a_refusal_lasts_and_other_failures_may_pass() -> None:
    assert CaptureRefused("No.").lasting
    assert not CaptureError("Hm.").lasting
    assert not CaptureTimeout("Slow.").lasting
    assert CaptureError("A download.", code="download", lasting=True).lasting


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        *((code, CaptureRefused) for code in sorted(REFUSALS)),
        *((code, Unavailable) for code in sorted(TROUBLES)),
        ("page-timeout", CaptureTimeout),
        ("dns-failed", CaptureError),
        ("", CaptureError),
    ],
)
def test_a_failure_is_told_as_what_it_was(code: str, kind: type[LinkPeekError]) -> None:
    error = capture_failure(code, "Why.")
    assert type(error) is kind
    assert (error.code, error.message) == (code, "Why.")
