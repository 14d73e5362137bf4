"""docs/seed-parity.md: every item of the seed has a line, and every name on it exists."""

import functools
import pathlib
import re

import jrank

PAGE = pathlib.Path(__file__).resolve().parents[1] / "docs" / "seed-parity.md"
COUNTS = {"RT": 18, "LN": 9, "RR": 24, "SF": 18, "FU": 19, "EV": 10, "CE": 4, "OX": 5}
DECLINED = {"RT12", "RT13", "RR23", "RR24", "SF18"}


def rows():
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if re.match(r"[A-Z]{2}\d+$", cells[0]):
            assert len(cells) == 4, line
            yield cells


def test_every_item_has_one_line():
    want = [f"{area}{number}" for area, count in COUNTS.items() for number in range(1, count + 1)]
    assert [row[0] for row in rows()] == want


def test_every_name_resolves():
    for item, _, answer, _ in rows():
        names = re.findall(r"`(jrank[\w.]*)`", answer)
        assert names or answer in ("open", "declined"), f"{item}: {answer!r}"
        for name in names:
            functools.reduce(getattr, name.split(".")[1:], jrank)


def test_what_is_declined_has_a_reason():
    declined = {row[0] for row in rows() if row[2] == "declined"}
    assert declined >= DECLINED
    for item, _, answer, note in rows():
        assert answer != "declined" or len(note) > 10, f"{item} is declined without a reason"
