"""SOCKS5 on the wire: what is read, what is refused, and that nothing else ever happens."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkpeek.egress.socks import (
    GREETING_REFUSED,
    MAX_MESSAGE,
    Malformed,
    Reply,
    Request,
    read_greeting,
    read_request,
)

CONNECT_NAME = b"\x05\x01\x00\x03\x0bexample.com\x01\xbb"


@pytest.mark.parametrize(
    ("message", "host"),
    [
        (CONNECT_NAME, "example.com"),
        (b"\x05\x01\x00\x01\x7f\x00\x00\x01\x01\xbb", "127.0.0.1"),
        (b"\x05\x01\x00\x04" + b"\0" * 15 + b"\x01\x01\xbb", "::1"),
    ],
)
def test_requests(message: bytes, host: str) -> None:
    assert read_request(message + b"more") == Request(host, 443, len(message))
    assert [read_request(message[:length]) for length in range(len(message))] == [None] * len(message)


def test_greetings() -> None:
    assert read_greeting(b"\x05\x02\x02\x00more") == 4
    assert [read_greeting(b"\x05\x02\x02\x00"[:length]) for length in range(4)] == [None] * 4


@pytest.mark.parametrize("greeting", [b"\x05\x00", b"\x05\x01\x02"])
def test_no_authentication_is_the_only_method(greeting: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        read_greeting(greeting)
    assert caught.value.answer == GREETING_REFUSED


@pytest.mark.parametrize("start", [b"\x04\x01", b"GET / HTTP/1.1", b"\x16\x03\x01"])
def test_other_protocols_get_no_answer(start: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        read_greeting(start)
    assert caught.value.answer == b""


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        (b"\x05\x02" + CONNECT_NAME[2:], Reply.COMMAND_NOT_SUPPORTED),
        (b"\x05\x03" + CONNECT_NAME[2:], Reply.COMMAND_NOT_SUPPORTED),
        (b"\x05\x01\x00\x02\x00\x00", Reply.ADDRESS_TYPE_NOT_SUPPORTED),
        (b"\x05\x01\x00\x03\x02\xc3\xbc\x00\x50", Reply.FAILED),
    ],
)
def test_only_connect_to_hosts(request_: bytes, reply: Reply) -> None:
    with pytest.raises(Malformed) as caught:
        read_request(request_)
    assert caught.value.answer == reply.message()


def test_replies_carry_no_address() -> None:
    assert Reply.FAILED.message() == b"\x05\x01\x00\x01" + b"\0" * 6


@given(st.one_of(st.binary(max_size=300), st.binary(max_size=300).map(lambda tail: b"\x05\x01\x00" + tail)))
def test_any_bytes(data: bytes) -> None:
    for read in (read_greeting, read_request):
        try:
            result = read(data)
        except Malformed:
            continue
        length = result.length if isinstance(result, Request) else result
        assert length is None or 0 < length <= len(data)
        assert length is not None or len(data) < MAX_MESSAGE
