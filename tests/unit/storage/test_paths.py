"""The shape of paths; that storages refuse others is in the contract."""

import pytest
from contracts.storage import WRONG_PATHS
from hypothesis import given
from hypothesis import strategies as st

from linkpeek.storage import image_path, is_image_path, media_type, snapshot_folder

tokens = st.text("0123456789abcdef", min_size=32, max_size=32)


@given(tokens, st.from_regex(r"[a-z0-9]{1,32}", fullmatch=True), st.sampled_from(["png", "webp"]))
def test_what_is_composed_is_accepted(token: str, name: str, ending: str) -> None:
    path = image_path(token, name, ending)

    assert is_image_path(path)
    assert path == f"{token[:2]}/{token[2:4]}/{token}/{name}.{ending}"
    assert media_type(path) == f"image/{ending}"


@pytest.mark.parametrize("path", WRONG_PATHS, ids=ascii)
def test_other_paths_are_not(path: str) -> None:
    assert not is_image_path(path)


@given(st.text())
def test_no_text_composes_a_path_that_climbs(text: str) -> None:
    for compose in (
        lambda: snapshot_folder(text),
        lambda: image_path("0" * 32, text, "png"),
        lambda: image_path("0" * 32, "a", text),
    ):
        try:
            path = compose()
        except ValueError:
            continue
        assert ".." not in path
        assert not path.startswith("/")


@pytest.mark.parametrize(
    "token", ["", "0" * 31, "0" * 33, "A" * 32, "g" * 32, "0" * 32 + "\n", "../" + "0" * 29]
)
def test_only_tokens_name_a_folder(token: str) -> None:
    with pytest.raises(ValueError, match="token"):
        snapshot_folder(token)
