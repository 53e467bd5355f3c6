"""From bytes to elements: what is wrong with one must not cost its neighbours, nor a byte of it be lost."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from framehouse.errors import ContractError
from ingest.body import MAX_ELEMENTS, DuplicatedKeys, Unreadable, duplicated_keys, elements

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**12), 10**12) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(database=None)
@given(st.lists(VALUES), st.sampled_from([None, 1]), st.booleans())
def test_a_list_is_its_values_and_each_keeps_its_own_bytes(
    values: list[object], indent: int | None, is_ascii: bool
) -> None:
    text = json.dumps(values, indent=indent, ensure_ascii=is_ascii)
    try:
        body = f" \n{text}\t\r\n".encode()
    except UnicodeEncodeError:  # a lone surrogate cannot be sent unescaped
        body = json.dumps(values).encode()
    found = elements(body, limit=None)
    assert [element.value for element in found] == values
    assert [json.loads(element.raw) for element in found] == values
    assert all(element.raw in body for element in found)


def test_one_value_is_one_element_with_the_whole_body() -> None:
    body = b' {"job_id": "a"} \n'
    assert [(element.value, element.raw) for element in elements(body)] == [({"job_id": "a"}, body)]


def test_numbers_too_large_for_any_field_become_infinite() -> None:
    digits = b"9" * 4000
    [element] = elements(b'{"a": 1e400, "b": NaN, "c": %s, "d": -Infinity, "e": -%s}' % (digits, digits))
    assert element.value["a"] == math.inf
    assert math.isnan(element.value["b"])
    assert element.value["c"] == math.inf
    assert element.value["d"] == -math.inf
    assert math.isinf(element.value["e"])


def test_a_key_that_stands_twice_is_named_with_its_path() -> None:
    [element] = elements(b'{"a": [{"b": 1, "c": 2, "b": 3}], "d": 1, "d": 2}')
    assert isinstance(element.value, DuplicatedKeys)
    assert {problem.path for problem in duplicated_keys(element.value)} == {"d", "a[0].b"}


def test_a_key_that_stands_twice_is_named_in_words_that_can_be_stored() -> None:
    [element] = elements(rb'{"\ud800": 1, "\ud800": 2, "\u0000": 1, "\u0000": 2}')
    for problem in duplicated_keys(element.value):
        assert "\x00" not in problem.path
        problem.path.encode()


@pytest.mark.parametrize("depth", [2_000, 100_000])
def test_a_value_nested_too_deeply_is_stepped_over(depth: int) -> None:
    deep = b'{"]\\"": [' * depth + b'"}\\\\"' + b"]}" * depth
    before, nested, after = elements(b'[{"a": 1}, ' + deep + b', {"b": "]"}]')
    assert (before.value, after.value) == ({"a": 1}, {"b": "]"})
    assert nested.raw == deep


def test_what_is_nested_beyond_the_parser_says_so() -> None:
    [element] = elements(b"[" * 200_000 + b"]" * 200_000)
    assert isinstance(element.value, Unreadable)
    assert "deep" in element.value.problem.message


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"no json",
        b"[1, 2",
        b"[1 2]",
        b"[1,]",
        b"[1] 2",
        b'{"a": 1} {"b": 2}',
        b'{"a": 1',
        b"[" * 200_000,
        b"[" * 100_000 + b'"',
        b"\xff\xfe{",
        b'{"a": "\xed\xa0\x80"}',
    ],
)
def test_a_body_that_is_no_json_is_refused_as_a_whole(body: bytes) -> None:
    with pytest.raises(ContractError) as refusal:
        elements(body)
    assert refusal.value.problems


def test_a_body_has_a_limit_of_elements() -> None:
    body = b"[" + b"0," * MAX_ELEMENTS + b"0]"
    with pytest.raises(ContractError, match=str(MAX_ELEMENTS)):
        elements(body)
    assert len(elements(body, limit=None)) == MAX_ELEMENTS + 1
    assert elements(b" [ ] ") == []
