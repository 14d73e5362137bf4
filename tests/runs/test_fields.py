"""The quick reader of regular lines: the numbers are those of ``float``, bit by bit, and the rest is refused."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jrank.runs._fields import split_fields


def numbers(texts):
    fields = split_fields("".join(f"a {text}\n" for text in texts).encode(), 2)
    return None if fields is None else fields.numbers(1)


def same(texts):
    got, want = numbers(texts), np.array([float(text) for text in texts])
    np.testing.assert_array_equal(got.view(np.int64), want.view(np.int64))


def test_numbers_of_all_sizes():
    rng = np.random.default_rng(0)
    for scale in (1e-300, 1e-20, 1e-8, 1e-4, 1, 1e3, 1e7, 1e12, 1e17, 1e30):
        values = rng.normal(size=2000) * scale
        same([repr(value) for value in values.tolist()])
        same([f"{value:.6f}" for value in values.tolist()])


def test_numbers_of_all_lengths():
    rng = np.random.default_rng(1)
    for whole in range(1, 22):
        texts = []
        for part in range(25):
            for _ in range(20):
                digits = "".join(map(str, rng.integers(0, 10, whole + part)))
                texts.append(f"{digits[:whole]}.{digits[whole:]}")
        same(texts)


def test_numbers_half_way_between_two():
    # 53 bits and one more: rounded to even, and to the other side by the last digit that is there.
    even = [2**53 + 1 + 2 * i for i in range(200)] + [2**60 + 128 + 256 * i for i in range(200)]
    same(
        [str(value) for value in even] + [f"{value}.0" for value in even[:200]] + [f"{value}.1" for value in even[:200]]
    )
    rng = np.random.default_rng(2)
    for m in rng.integers(2**52, 2**53, 500).tolist():
        # (2 m + 1) / 2**k has that many digits behind the point at most.
        for k in (2, 3, 52):
            text = str((2 * m + 1) * 5**k).rjust(k + 1, "0")
            same([f"{text[:-k]}.{text[-k:]}"])


@pytest.mark.parametrize("text", ["0", "-0", "+1", "-.5", "5.", "00001.50", "-0.0", "1e5", "1E-5", "123456789.5", ".1"])
def test_other_forms(text):
    same([text, "1.5", text])


@pytest.mark.parametrize(
    "text", ["1.2.3", "1-2", "+-1", "1,5", ".", "-", "1_0", "abc", "nan", "inf", "1e999", "*", "/1", ":1"]
)
def test_what_is_no_number(text):
    assert numbers(["1.5", text]) is None


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=50))
def test_any_number(values):
    same([repr(value) for value in values])


@given(st.lists(st.text("0123456789.+-e_", min_size=1, max_size=22), min_size=1, max_size=20))
def test_any_text_of_such_characters(texts):
    def read(text):
        try:
            value = float(text)
        except ValueError:
            return None
        return None if "_" in text or not np.isfinite(value) else struct.pack("d", value)

    want = [read(text) for text in texts]
    got = numbers(texts)
    assert (got is None) == (None in want)
    assert got is None or [struct.pack("d", value) for value in got.tolist()] == want


def test_fields():
    fields = split_fields(b"q1 a\tx\nq1 bcdefghijklm y\nq2 a zz", 3)
    assert fields.strings(1) == [b"a", b"bcdefghijklm", b"a"]
    assert fields.strings(2) == [b"x", b"y", b"zz"]
    names, counts = fields.stretches(0)
    assert (names, counts.tolist()) == ([b"q1", b"q2"], [2, 1])
    assert fields.last(0) == b"x"
    tabs = split_fields(b"q 1\ta b\t3\n", 3, tabs=True)
    assert (tabs.strings(0), tabs.strings(1), tabs.numbers(2).tolist()) == ([b"q 1"], [b"a b"], [3.0])


@pytest.mark.parametrize(
    "data",
    [
        b"a b\nc",
        b"a b c\nd\n",
        b"a  b\n",
        b" a b\n",
        b"a b\n\n",
        b"a b \n",
        b"a\x01b\nc d\n",
        b"a\x00\n",
        b"a b\r\n",
        b"a " + b"b" * 300,
    ],
)
def test_lines_that_are_not_regular(data):
    assert split_fields(data, 2) is None
