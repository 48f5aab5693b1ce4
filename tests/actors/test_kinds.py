import pytest

from actors.kinds import of_kind, texts


def test_what_is_of_its_kind_is_given_back():
    assert of_kind(str, "x") == "x"
    assert of_kind(int, 3) == 3
    assert texts({"a": "b"}) == {"a": "b"}


@pytest.mark.parametrize(("kind", "value"), [(str, 1), (str, None), (int, "1"), (int, 1.0), (int, True)])
def test_what_is_not_is_refused_by_its_name(kind, value):
    with pytest.raises(TypeError, match=f"{value!r} instead of {kind.__name__}"):
        of_kind(kind, value)


def test_a_text_of_many_that_is_none_is_refused():
    with pytest.raises(TypeError, match="None instead of str"):
        texts({"a": "b", "c": None})
