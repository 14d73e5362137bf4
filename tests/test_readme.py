"""The README does what it says: its commands exist, its example prints what it shows, its links lead somewhere."""

import ast
import contextlib
import io
import os
import pathlib
import re
import stat
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(text, kind):
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.S | re.M)


def test_the_two_commands_come_first_and_exist():
    first = blocks(README, "sh")[0]
    commands = [line.split("#")[0].split() for line in first.splitlines()]
    assert commands == [["./scripts/demo"], ["./scripts/test"]]
    for (command,) in commands:
        path = ROOT / command
        assert path.stat().st_mode & stat.S_IXUSR, f"{command} cannot be executed"
    assert README.index(first) < README.index("!["), "the commands stand above the picture"


@pytest.mark.parametrize("script", ["demo", "test", "check", "lib/setup.sh"])
def test_scripts_are_valid_shell(script):
    subprocess.run(["bash", "-n", str(ROOT / "scripts" / script)], check=True)


def examples():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for i, (program, printed) in enumerate(
            re.findall(r"^```python\n(.*?)^```\n```text\n(.*?)^```", text, re.S | re.M)
        ):
            yield pytest.param(program, printed, id=f"{page.relative_to(ROOT)}-{i}")


@pytest.mark.parametrize(("program", "printed"), list(examples()))
def test_examples_print_what_they_show(program, printed):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(program, "example", "exec"), {})
    assert out.getvalue().split() == printed.split()


# What a block of a page needs that is not on the page: a collection, a trained model, another library.
ELSEWHERE = ("BM25Index.build(documents", "my-model/", "bundle/", "from ott.tools")
SHOWN = re.compile(r"  # (True$|False$|[\d({\[].*)")


@pytest.mark.parametrize("name", ["evaluation", "fusion", "metrics", "retrieval", "soft-operators", "training"])
def test_the_code_of_a_page_runs(name):
    """Its blocks in order, as one program; where a comment after a statement holds a value, that is what comes out."""
    page = ROOT / "docs" / f"{name}.md"
    code = blocks(page.read_text(encoding="utf-8"), "python")
    here = [block for block in code if not any(word in block for word in ELSEWHERE)]
    assert len(here) >= max(1, len(code) - 1), "a page whose code needs more than the page"
    names = {}
    for block in here:
        for statement in ast.parse(block).body:
            line = block.splitlines()[statement.end_lineno - 1]
            shown = SHOWN.search(line, statement.end_col_offset)
            value = shown and isinstance(statement, ast.Expr) and "print(" not in line
            kind, tree = ("eval", ast.Expression(statement.value)) if value else ("exec", ast.Module([statement], []))
            with contextlib.redirect_stdout(io.StringIO()) as out:
                got = eval(compile(tree, str(page), kind), names)
            if shown and isinstance(statement, ast.Expr):
                text = str(got) if value else out.getvalue().strip()
                assert shown[1] == text or shown[1].startswith(f"{text}:"), line


def test_the_readme_has_an_example_on_its_first_screens():
    assert re.search(r"^```python\n.*?softmax_loss.*?^```\n```text\n\S", README, re.S | re.M)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}, which is not there"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_names_in_the_documentation_exist(page):
    """Every `jrank.something` in the documentation resolves."""
    import functools

    import jrank

    for name in set(re.findall(r"`(jrank(?:\.\w+)+)", page.read_text(encoding="utf-8"))):
        functools.reduce(getattr, name.split(".")[1:], jrank)


@pytest.mark.parametrize(
    ("room", "page"),
    [
        ("losses", "choosing-a-loss"),
        ("metrics", "metrics"),
        ("transforms", "metrics"),
        ("soft", "soft-operators"),
        ("fusion", "fusion"),
    ],
)
def test_a_page_names_every_function_of_its_room(room, page):
    import jrank

    module = getattr(jrank, room)
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    functions = {name for name in module.__all__ if name[0].islower()}
    assert functions - set(re.findall(r"\w+", text)) == set()


def test_the_package_on_the_search_path_is_this_one():
    import jrank

    assert pathlib.Path(os.path.realpath(jrank.__file__)).parent == ROOT / "jrank"
