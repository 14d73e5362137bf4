"""Every key that a docstring cites instead of a title stands on the page of references."""

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[1]


def test_every_cited_key_is_on_the_page():
    page = (ROOT / "docs" / "references.md").read_text()
    known = set(re.findall(r"^- `([a-z]+\d{4})`:", page, re.MULTILINE))
    cited = {}
    for file in sorted((ROOT / "jrank").rglob("*.py")):
        for names in re.findall(r"References: ((?:[a-z]+\d{4}[,; ]*)+)", file.read_text()):
            for key in re.findall(r"[a-z]+\d{4}", names):
                cited[key] = file.name
    assert cited, "no keys were found: has their form changed?"
    assert not set(cited) - known, {key: cited[key] for key in set(cited) - known}
    assert not known - set(cited), "keys that nothing cites"
