"""Tables as text, Markdown, LaTeX, HTML and tab-separated values."""

import html

from jrank.errors import EvalError

__all__ = ["render"]


def render(rows: list[list[str]], format: str, *, caption: str = "") -> str:
    """Return a table whose first row is the head and whose first column holds names.

    Args:
      rows: the cells, all rows of the same length.
      format: "text", "markdown", "latex", "html" or "tsv".
      caption: a line that goes with the table; "tsv" leaves it out.

    Raises:
      EvalError: the format is unknown.

    >>> print(render([["run", "map"], ["a", "0.5"]], "markdown"))
    | run |  map |
    |:----|-----:|
    | a   |  0.5 |
    """
    if format not in FORMATS:
        raise EvalError(
            f"unknown table format {format!r}", reason="invalid_parameter", hint=f"known: {', '.join(FORMATS)}"
        )
    return FORMATS[format](rows, caption)


def _padded(rows: list[list[str]]) -> list[list[str]]:
    widths = [max(3, *(len(row[i]) for row in rows)) for i in range(len(rows[0]))]
    return [
        [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        for row in rows
    ]


def _text(rows: list[list[str]], caption: str) -> str:
    lines = ["  ".join(row).rstrip() for row in _padded(rows)]
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines + ([caption] if caption else []))


def _markdown(rows: list[list[str]], caption: str) -> str:
    rows = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    padded = _padded(rows)
    lines = ["| " + " | ".join(cell if i == 0 else " " + cell for i, cell in enumerate(row)) + " |" for row in padded]
    rule = "|".join(
        ":" + "-" * (len(cell) + 1) if i == 0 else "-" * (len(cell) + 2) + ":" for i, cell in enumerate(padded[0])
    )
    lines.insert(1, f"|{rule}|")
    return "\n".join(lines + (["", caption] if caption else []))


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def _latex(rows: list[list[str]], caption: str) -> str:
    def escape(text: str) -> str:
        return "".join(_LATEX.get(character, character) for character in text)

    lines = [" & ".join(map(escape, row)) + r" \\" for row in rows]
    body = [r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"]
    columns = "l" + "r" * (len(rows[0]) - 1)
    table = [rf"\begin{{tabular}}{{{columns}}}", *body, r"\end{tabular}"]
    return "\n".join(([f"% {line}" for line in caption.splitlines()]) + table)


def _html(rows: list[list[str]], caption: str) -> str:
    def line(row: list[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) + "</tr>"

    head = f"<caption>{html.escape(caption)}</caption>\n" if caption else ""
    body = "\n".join(line(row, "td") for row in rows[1:])
    return f"<table>\n{head}<thead>{line(rows[0], 'th')}</thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def _tsv(rows: list[list[str]], caption: str) -> str:
    return "\n".join("\t".join(" ".join(cell.split()) for cell in row) for row in rows)


FORMATS = {"text": _text, "markdown": _markdown, "latex": _latex, "html": _html, "tsv": _tsv}
