"""Long texts in overlapping pieces of words."""

from jrank.errors import RetrieveError

__all__ = ["passages"]


def passages(text: str, *, words: int = 60, overlap: int | None = None, title: str = "") -> list[str]:
    """Cut a text into overlapping pieces, each with the title in front.

    A cross-encoder ranks best at the lengths that it was trained on. Where documents are longer, score their pieces and
    take the best for the document.

    Args:
      text: the text; white space separates words.
      words: most words of a piece, without the title.
      overlap: how many words of a piece the next one repeats, so that no sentence is seen in halves only; None is a
        quarter of ``words``.
      title: stands before each piece; "" for none.

    Returns:
      The pieces in order, each of ``words`` words but the last, which ends with the text and may be shorter; one piece
      for a short text, the title alone or "" for an empty one. Runs of white space become one space.

    Raises:
      RetrieveError: ``words`` is below 1, or ``overlap`` is not between 0 and ``words - 1``.
      TypeError: ``text`` or ``title`` is no string.

    References: Dai and Callan, Deeper text understanding for IR with contextual neural language modeling, SIGIR 2019.

    >>> passages("one two three four five", words=3, overlap=1, title="Numbers:")
    ['Numbers: one two three', 'Numbers: three four five']
    """
    for name, value in {"text": text, "title": title}.items():
        if not isinstance(value, str):
            raise TypeError(f"{name} must be a string, got a {type(value).__name__}")
    overlap = words // 4 if overlap is None else overlap
    if words < 1 or not 0 <= overlap < words:
        raise RetrieveError(
            f"words is {words} and overlap {overlap}, expected 1 or more and 0 to words - 1", reason="invalid_parameter"
        )
    found, head = text.split(), title.split()
    step = words - overlap
    last = max(0, -(-(len(found) - words) // step))  # the first piece that reaches the end
    return [" ".join(head + found[step * place : step * place + words]) for place in range(last + 1)]
