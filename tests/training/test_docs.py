import pathlib
import re

import pytest

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "training.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
# The block about texts needs a collection and weights.
COMPLETE = [block for block in BLOCKS if "print(" in block]


@pytest.mark.parametrize("block", COMPLETE)
def test_the_examples_print_what_they_say(block, capsys):
    exec(block, {})
    assert capsys.readouterr().out.split() == " ".join(re.findall(r"print\(.*\)  # (.*)", block)).split()


def test_no_example_is_left_out():
    assert len(BLOCKS) == 3
    assert len(COMPLETE) == 2
