import pytest
from hypothesis import given
from hypothesis import strategies as st

from linkpeek.errors import ParameterError
from linkpeek.geometry import NAMED_VIEWPORTS, parse_size, parse_viewport
from linkpeek.views.form import SIZES, Form, field_of, single_values

WINDOW = NAMED_VIEWPORTS["desktop"]
SIDES = st.integers(64, 3840)


def test_an_empty_form_asks_for_what_it_shows():
    form = Form.read({})
    assert form == Form()
    assert str(form.chosen_viewport()) == "1280x960"
    assert str(form.chosen_size(WINDOW)) == "640"


@given(viewport=st.sampled_from(sorted(NAMED_VIEWPORTS)) | st.builds("{}x{}".format, SIDES, SIDES))
def test_every_viewport_can_be_shown_in_the_form(viewport):
    shown = Form().showing(str(parse_viewport(viewport)), "640")
    assert shown.chosen_viewport() == parse_viewport(viewport)
    assert shown.viewport in {choice.value for choice in shown.viewports}


@given(size=st.just("original") | SIDES.map(str) | st.builds("{}x{}".format, SIDES, SIDES))
def test_every_size_can_be_shown_in_the_form(size):
    shown = Form().showing("1280x960", size)
    assert shown.chosen_size(WINDOW) == parse_size(size, WINDOW)
    assert shown.size in {choice.value for choice in SIZES}


@given(st.dictionaries(st.sampled_from([*Form.__slots__, "else"]), st.text()))
def test_any_text_is_a_form_and_either_a_choice_or_refused(fields):
    form = Form.read(fields)
    assert refusal(form.chosen_viewport) in (None, "bad-viewport")
    assert refusal(lambda: form.chosen_size(WINDOW)) in (None, "bad-size")


def refusal(choose):
    try:
        choose()
    except ParameterError as error:
        return error.code
    return None


@pytest.mark.parametrize(
    ("code", "field"),
    [
        ("bad-uri", "uri"),
        ("address-refused", "uri"),
        ("connection-refused", ""),
        ("bad-size", "size"),
        ("bad-viewport", "viewport"),
        ("rate-limited", ""),
    ],
)
def test_the_field_to_blame(code, field):
    assert field_of(code) == field


def test_single_values():
    assert single_values([("a", "1"), ("b", "")]) == {"a": "1", "b": ""}


@pytest.mark.parametrize(
    ("pairs", "code"),
    [([("a", "1"), ("a", "1")], "repeated-parameter"), ([("a", object())], "bad-parameter")],
)
def test_neither_repeated_fields_nor_files(pairs, code):
    with pytest.raises(ParameterError) as caught:
        single_values(pairs)
    assert caught.value.code == code
