"""The fields of regular text, eight bytes at a time: no Python object is made for what nobody asks for.

Text whose lines all have the same number of fields with one separator between them is taken apart by NumPy. Anything
else is left to the reader that looks at every line.
"""

import numpy as np

__all__ = ["Fields", "split_fields"]

# Blanks around the text, so that words of eight bytes can be read at its edges.
PAD = 32
# Longer lines are left to the other reader.
LONGEST = 256
NEWLINE = 10

_LOW = np.array([(1 << 8 * i) - 1 for i in range(9)], np.uint64)
_ZEROS = np.uint64(0x3030303030303030)
# Two digits in two bytes make one number in two bytes, and so on.
_FOLDS = [
    (np.uint64(10), np.uint64(8), np.uint64(0x00FF00FF00FF00FF)),
    (np.uint64(100), np.uint64(16), np.uint64(0x0000FFFF0000FFFF)),
    (np.uint64(10000), np.uint64(32), np.uint64(0x00000000FFFFFFFF)),
]
_TENS = 10.0 ** np.arange(20)
_WHOLE_TENS = 10 ** np.arange(20, dtype=np.uint64)


class Fields:
    """The fields of some lines.

    Args:
      text: the bytes, with ``PAD`` blanks on either side; places count from behind the first of these.
      ends: where each field ends, ``[lines, fields]``; the next one begins one byte later.
    """

    def __init__(self, text: np.ndarray, ends: np.ndarray):
        self.text, self.ends = text, ends

    def __len__(self) -> int:
        return len(self.ends)

    def _windows(self, shift: int = 0) -> np.ndarray:
        """Return every window of eight bytes as a number whose lowest byte comes first, moved by some bytes."""
        offset = PAD + shift
        return np.ndarray((len(self.text) - offset - 7,), "<u8", self.text, offset, (1,))

    def bounds(self, column: int) -> tuple[np.ndarray, np.ndarray]:
        """Return where the fields of a column begin and end.

        Args:
          column: which one.
        """
        end = np.ascontiguousarray(self.ends[:, column])
        if column:
            return self.ends[:, column - 1] + 1, end
        start = np.zeros(len(end), np.int64)
        np.add(self.ends[:-1, -1], 1, out=start[1:])
        return start, end

    def _padded(self, column: int) -> np.ndarray:
        """Return a column as words of eight bytes, zeros behind the end of a field, ``[lines, words]``."""
        start, end = self.bounds(column)
        length = end - start
        count = (int(length.max(initial=1)) + 7) // 8
        words = np.empty((len(start), count), "<u8")
        for i in range(count):
            words[:, i] = self._windows(8 * i)[start] & _LOW[_within_8(length - 8 * i)]
        return words

    def strings(self, column: int) -> list[bytes]:
        """Return the fields of a column.

        Args:
          column: which one.
        """
        words = self._padded(column)
        # No field holds a zero byte, which would be a separator.
        return words.view(f"S{8 * words.shape[1]}")[:, 0].tolist()

    def stretches(self, column: int) -> tuple[list[bytes], np.ndarray]:
        """Return the fields of a column, equal neighbours once, and how many lines each stands for.

        Args:
          column: which one.
        """
        words = self._padded(column)
        new = np.ones(len(words), bool)
        np.any(words[1:] != words[:-1], axis=1, out=new[1:])
        first = np.flatnonzero(new)
        fields = words[first].view(f"S{8 * words.shape[1]}")[:, 0].tolist()
        return fields, np.diff(np.append(first, len(words)))

    def last(self, line: int) -> bytes:
        """Return the last field of a line.

        Args:
          line: which one.
        """
        low, high = self.ends[line, -2:].tolist() if self.ends.shape[1] > 1 else (-1, int(self.ends[line, -1]))
        return self.text[PAD + low + 1 : PAD + high].tobytes()

    def numbers(self, column: int) -> np.ndarray | None:
        """Return the numbers of a column, the very ones that ``float`` returns; None if a field is no finite number.

        Plain decimals of up to 19 digits are computed here, the others by ``float``.

        Args:
          column: which one.
        """
        first, end = self.bounds(column)
        sign = self.text[PAD:][first]
        minus = sign == ord("-")
        start = first + (minus | (sign == ord("+")))
        point = self._points(start, end)
        whole = point - start
        part = np.maximum(end - point - 1, 0)
        value, ok = self._digits(point, whole, 0)
        ok &= (whole <= 8) & (whole + part > 0)
        # The leading digits may be many only where they are zeros: 0.0001234.
        ok &= (part <= 19) & ((whole + part <= 19) | (value == 0))
        for shift in range(8 * ((min(int(part.max(initial=0)), 19) - 1) // 8), -1, -8):
            word, fine = self._digits(end, part - shift, shift)
            value = value * _WHOLE_TENS[_within_8(part - shift)] + word
            ok &= fine
        numbers, exact = _divide(value, np.minimum(part, 19))
        np.negative(numbers, out=numbers, where=minus)
        rest = np.flatnonzero(~(ok & exact))
        if len(rest) and not self._convert(numbers, rest, first, end):
            return None
        return numbers if np.isfinite(numbers).all() else None

    def _convert(self, numbers: np.ndarray, rest: np.ndarray, first: np.ndarray, end: np.ndarray) -> bool:
        """Fill in some numbers one by one; False if one is none."""
        data = self.text[PAD:].tobytes()
        places = zip(rest.tolist(), first[rest].tolist(), end[rest].tolist(), strict=True)
        try:
            for row, low, high in places:
                field = data[low:high]
                # Python takes 1_000 for a number.
                numbers[row] = float("_" if b"_" in field else field)
        except ValueError:
            return False
        return True

    def _points(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Return where the decimal point of each number stands, or its end."""
        points = np.flatnonzero(self.text[PAD:] == ord("."))
        if len(points) == len(start) and np.all((points >= start) & (points < end)):
            return points
        if not len(points):
            return end
        at = points[np.minimum(np.searchsorted(points, start), len(points) - 1)]
        return np.where((at >= start) & (at < end), at, end)

    def _digits(self, end: np.ndarray, count: np.ndarray, shift: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the number that the last digits up to ``shift`` before a place make, and whether all are digits.

        At most eight count. The digits become pairs, these fours, and these eights.
        """
        # Zeros in front of the digits.
        front = _LOW[8 - _within_8(count)]
        word = self._windows(-8 - shift)[end]
        word &= ~front
        word |= _ZEROS & front
        ten = word + np.uint64(0x0606060606060606)
        ten &= word
        fine = (ten & np.uint64(0xF0F0F0F0F0F0F0F0)) == _ZEROS
        word &= np.uint64(0x0F0F0F0F0F0F0F0F)
        for scale, bits, mask in _FOLDS:
            upper = word >> bits
            word *= scale
            word += upper
            word &= mask
        return word, fine


def _within_8(count: np.ndarray) -> np.ndarray:
    return np.minimum(np.maximum(count, 0), 8)


def _divide(whole: np.ndarray, power: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return whole / 10**power rounded once, and where that is certain.

    The quotient is computed to about 100 bits, as the sum of two numbers; only where it lies that close to the middle
    between two neighbours is the rounding in doubt.

    Args:
      whole: uint64, below 10**19.
      power: from 0 to 19: these powers are exact.
    """
    high = whole.astype(np.float64)
    # What the conversion rounded off: it wraps to a small number of either sign.
    low = (whole - high.astype(np.uint64)).view(np.int64).astype(np.float64)
    divisor = _TENS[power]
    first = high / divisor
    product, error = _exact_product(first, divisor)
    second = ((high - product) - error + low) / divisor
    result = first + second
    beyond = second - (result - first)
    half = 0.5 * np.spacing(result)
    return result, (np.abs(np.abs(beyond) - half) > 1e-9 * half) | (whole == 0)


def _exact_product(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a * b and what its rounding lost (Dekker)."""
    product = a * b
    scaled = 134217729.0 * a
    a1 = scaled - (scaled - a)
    scaled = 134217729.0 * b
    b1 = scaled - (scaled - b)
    a2, b2 = a - a1, b - b1
    return product, ((a1 * b1 - product) + a1 * b2 + a2 * b1) + a2 * b2


def split_fields(data: bytes, width: int, *, tabs: bool = False) -> Fields | None:
    """Take lines apart; None if they are not regular.

    Args:
      data: the lines.
      width: how many fields each has.
      tabs: whether tabs alone separate fields; otherwise a blank or a tab does, one between two fields.
    """
    size = len(data) + (data[-1:] != b"\n")
    text = np.empty(size + 2 * PAD, np.uint8)
    text[:PAD] = text[PAD + size :] = ord(" ")
    inside = text[PAD : PAD + size]
    inside[-1] = NEWLINE
    inside[: len(data)] = np.frombuffer(data, np.uint8)
    # Between tabs, blanks belong to a field.
    blank = inside < 32 if tabs else inside <= 32
    if blank[0] or np.any(blank[1:] & blank[:-1]):
        return None
    ends = np.flatnonzero(blank)
    if len(ends) % width:
        return None
    ends = ends.reshape(-1, width)
    lines = np.count_nonzero(inside == NEWLINE)
    between = np.count_nonzero(inside == ord("\t")) + (0 if tabs else np.count_nonzero(inside == ord(" ")))
    if lines != len(ends) or lines + between != ends.size or not np.all(inside[ends[:, -1]] == NEWLINE):
        return None
    length = np.diff(ends[:, -1], prepend=-1)
    return Fields(text, ends) if length.max() <= LONGEST else None
