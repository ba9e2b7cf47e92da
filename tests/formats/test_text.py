"""Text kernels against the slow and obvious: Decimal for numbers, json for JSON."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateways.formats import json_text, text

pytestmark = pytest.mark.kernel


def as_bytes(shown):
    return np.frombuffer(shown.encode(), dtype=np.uint8)


def naive_number(shown, decimals):
    """What `number` must answer, by way of Decimal."""
    head, _, exponent = shown.lower().partition("e")
    plain = head.replace(".", "", 1)
    if not plain.isdigit() or head.startswith(".") or head.endswith("."):
        return text.MALFORMED
    if "e" in shown.lower() and (not exponent.lstrip("+-").isdigit() or len(exponent.lstrip("+-")) > 3):
        return text.MALFORMED
    try:
        exact = Decimal(shown).scaleb(decimals)
    except InvalidOperation:
        return text.MALFORMED
    if exact >= 10**18:
        return text.TOO_LARGE
    return int(exact) if exact == exact.to_integral_value() else text.TOO_FINE


@given(
    st.integers(0, 10**12), st.integers(0, 12), st.sampled_from(["", "e-6", "E+02", "e5", "e-15"]), st.integers(0, 9)
)
@example(0, 3, "e999", 0)
@example(10**12, 0, "e-12", 0)
@example(10**12, 0, "", 6)
def test_numbers_are_exact_and_what_is_too_fine_is_told_from_what_is_none(value, places, exponent, decimals):
    shown = f"{Decimal(value).scaleb(-places):f}{exponent}"
    assert text.number(as_bytes(shown), 0, len(shown), decimals) == naive_number(shown, decimals)


@given(st.text(alphabet="019.-+eE", max_size=9), st.integers(0, 9))
def test_what_is_no_number_is_refused(shown, decimals):
    if shown.lower().count("e") < 2 and "+" not in shown[:1] and "-" not in shown[:1] and shown.count("-") < 2:
        got = text.number(as_bytes(shown + "|"), 0, len(shown), decimals)
        assert got == naive_number(shown, decimals), shown
    if "e" in shown.lower():
        assert text.decimal(as_bytes(shown), 0, len(shown), decimals) == text.MALFORMED


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()
)
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


def members(data, at, end):
    """What the walk finds, as (key, value) in JSON's own terms, and where the object ends."""
    found: list[tuple[str, object]] = []
    while True:
        low, high, value, value_end, at = json_text.next_member(data, at, end)
        if low == json_text.LAST:
            return found, at
        assert low != text.MALFORMED
        raw = data.tobytes()
        found.append((json.loads(raw[low - 1 : high + 1]), json.loads(raw[value:value_end])))


@given(st.dictionaries(st.text(), VALUES), st.sampled_from([(",", ":"), (", ", ": ")]), st.booleans())
@settings(max_examples=40)
def test_an_object_is_walked_as_json_reads_it(value, separators, ascii_only):
    shown = json.dumps(value, separators=separators, ensure_ascii=ascii_only)
    data = as_bytes(shown + "]]")
    assert members(data, 0, len(data)) == (list(json.loads(shown).items()), len(shown.encode()))
    for cut in range(0, len(shown), 1 + len(shown) // 20):
        assert json_text.skip_value(data[:cut], 0, cut) == text.MALFORMED


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99), st.booleans())), st.booleans())
def test_pairs_are_walked(pairs, spaced):
    rows = [[str(a), str(b)] if quoted else [a, b, []] for a, b, quoted in pairs]
    data = as_bytes(json.dumps(rows, separators=(", ", ": ") if spaced else (",", ":")))
    found, at, raw = [], 0, data.tobytes()
    while True:
        low, high, second, end, at = json_text.next_pair(data, at, len(data))
        if low == json_text.LAST:
            break
        found.append((int(raw[low:high]), int(raw[second:end])))
    assert found == [(a, b) for a, b, _ in pairs]
    assert at == len(data)


@pytest.mark.parametrize(
    "shown", ['{"a" 1}', "{,}", '{"a":1,}', '{"a":1 "b":2}', '{"a":[1}', '{"a"', '{"a":}', "{a:1}"]
)
def test_what_is_no_object_is_told(shown):
    data, at = as_bytes(shown), 0
    for _ in range(3):
        low, _, _, _, at = json_text.next_member(data, at, len(data))
        if low == text.MALFORMED:
            return
    pytest.fail("taken for an object")


@pytest.mark.parametrize("shown", ['["1","2"]', '[["1"]]', '[["1","2"],]', '[["1","2"] ["3","4"]]', "[[", '[["1",]]'])
def test_what_is_no_array_of_pairs_is_told(shown):
    data, at = as_bytes(shown), 0
    for _ in range(3):
        low, _, _, _, at = json_text.next_pair(data, at, len(data))
        if low == text.MALFORMED:
            return
    pytest.fail("taken for pairs")
