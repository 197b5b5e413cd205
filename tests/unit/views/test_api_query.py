"""The query of API v1: whatever a client meant is among what it is read as."""

from urllib.parse import quote, quote_plus, unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from linkpeek.errors import ParameterError
from linkpeek.services.keys import Meaning
from linkpeek.views.api_query import MAX_PARTS, MAX_QUERY, MAX_TTL, parse_query, parse_ttl

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
#: Texts that are an address's own and look like something of ours.
URIS = st.lists(
    st.one_of(
        TEXT,
        st.sampled_from(
            [
                "http://a.example/?x=1",
                "&",
                "=",
                "&apikey=x",
                "&token=y",
                "&size=5",
                "&uri=z",
                "&ttl",
                "%26",
                "+",
            ]
        ),
    ),
    max_size=5,
).map("".join)
MEANINGS = st.builds(Meaning, URIS, TEXT, TEXT, TEXT)
CODES = {"missing-parameter", "repeated-parameter", "bad-encoding", "query-too-long"}


def spelt(meaning, encode, encode_uri, before):
    """Write a query as a client does; ``before`` is how many of the others stand before the address."""
    others = {"apikey": "key", "token": "0" * 32} | {
        name: value
        for name in ("size", "viewport", "ttl")
        if (value := getattr(meaning, name)) or name == "size"
    }
    pairs = [f"{name}={encode(value)}" for name, value in others.items()]
    pairs.insert(before, f"uri={encode_uri(meaning.uri)}")
    return "&".join(pairs).encode().decode("latin-1")


@pytest.mark.parametrize("encode_uri", [quote_plus, quote, lambda uri: quote(uri, safe=""), lambda uri: uri])
@given(meaning=MEANINGS, before=st.integers(0, 5), encode=st.sampled_from([quote_plus, quote]))
@example(
    meaning=Meaning("http://a.example/?x=1&apikey=y&token=z&size=1", "336", "", ""), before=0, encode=quote
)
@example(meaning=Meaning("http://a.example/?q=a+b%20c", "", "desktop", "0"), before=2, encode=quote)
def test_what_was_meant_is_among_the_readings(encode_uri, meaning, before, encode):
    query = parse_query(spelt(meaning, encode, encode_uri, before))
    assert meaning in query.readings
    assert (
        (query.apikey, query.token) == ("key", "0" * 32) or "apikey" in meaning.uri or "token" in meaning.uri
    )


@given(
    st.one_of(
        st.binary(max_size=200).map(lambda data: data.decode("latin-1")),
        st.lists(
            st.sampled_from(["uri=", "&", "apikey=k", "token=t", "size", "%", "%ff", "\xff", "=", "+"])
        ).map("".join),
    )
)
@example("uri=" + "&" * 200)
@example("uri=" + "x" * MAX_QUERY)
@example("uri=&apikey=k&token=t" + "&uri=" * 90)
def test_any_query_is_read_or_refused(text):
    query, problem = None, None
    try:
        query = parse_query(text)
    except ParameterError as error:
        problem = error
    if query is None:
        assert problem.code in CODES
        return
    assert query.apikey
    assert query.token
    assert 1 <= len(query.readings) <= 3 * MAX_PARTS
    assert len(set(query.readings)) == len(query.readings)
    assert query.problem is None or query.problem.code in CODES


@pytest.mark.parametrize(
    "query",
    [
        f"size=%41&uri={'&'.join(['%41+'] * 90)}&apikey=k&token=t",
        f"uri={'&'.join(['%41+'] * 90)}&apikey=k&token=t&size=%41",
    ],
    ids=["before", "after"],
)
def test_each_part_is_decoded_once(monkeypatch, query):
    """However many readings it belongs to: decoding takes the longest, and needs no key."""
    decoded = []
    # What unquote_plus does its work with.
    monkeypatch.setattr("urllib.parse.unquote", lambda *how: (decoded.append(how), unquote(*how))[1])
    assert len(parse_query(query).readings) > 90
    assert len(decoded) < 100


@given(st.one_of(st.text(), st.integers().map(str)))
@example("1_0")
@example("\u0661")
@example("9" * 5000)
@example("-0")
def test_a_ttl_is_whole_seconds_within_bounds_or_refused(text):
    ttl, code = None, None
    try:
        ttl = parse_ttl(text)
    except ParameterError as error:
        code = error.code
    assert code == (None if text == "" or ttl is not None else "bad-ttl")
    assert ttl is None or 0 <= ttl <= MAX_TTL


@given(st.integers(0, MAX_TTL))
def test_a_ttl_is_read_as_it_is_written(seconds):
    assert parse_ttl(str(seconds)) == seconds
