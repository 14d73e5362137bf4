"""Files: whole or not at all when written, bounded when read, and progress for long work. No jax here."""

import contextlib
import gzip
import hashlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar

from jrank.errors import DataError, require

__all__ = [
    "atomic_directory",
    "atomic_write",
    "ensure_directory",
    "progress",
    "read_bytes",
    "read_json",
    "read_lines",
    "sha256",
    "write_json",
]

T = TypeVar("T")

MAX_BYTES = 4 << 30
MAX_LINE = 8 << 20
MAX_JSON = 256 << 20


def ensure_directory(path: str | os.PathLike) -> Path:
    """Make a directory and prove that it can be written to.

    Args:
      path: the directory; its parents are made too.

    Returns:
      The directory.

    Raises:
      DataError: it cannot be made or written to.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise DataError(
            f"cannot write to the directory {path}: {error.strerror or error}",
            reason="unwritable",
            hint="choose another directory or change its permissions",
        ) from None
    return path


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike, mode: str = "w") -> Iterator[IO[Any]]:
    r"""Open a file that appears at ``path`` only when the block ends without an error.

    Args:
      path: where the file shall stand; an existing file is replaced.
      mode: "w" for UTF-8 text with "\n" line ends, "wb" for bytes.

    Yields:
      The open file. Until the block ends it stands under another name in the same directory.

    Raises:
      DataError: the directory cannot be written to.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with atomic_write(Path(folder) / "a.txt") as file:
    ...         _ = file.write("whole")
    ...     (Path(folder) / "a.txt").read_text()
    'whole'
    """
    if mode not in ("w", "wb"):
        raise ValueError(f"mode must be 'w' or 'wb', got {mode!r}")
    path = Path(path)
    if path.is_dir():
        raise DataError(f"{path} is a directory", reason="unwritable", hint="name a file")
    ensure_directory(path.parent)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        binary = "b" in mode
        with os.fdopen(handle, mode, encoding=None if binary else "utf-8", newline=None if binary else "\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())  # mkstemp makes private files
        os.replace(name, path)
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, IsADirectoryError):
            raise DataError(f"{path} is a directory", reason="unwritable", hint="name a file") from None
        raise


@contextlib.contextmanager
def atomic_directory(path: str | os.PathLike) -> Iterator[Path]:
    """Fill a directory that appears at ``path`` only when the block ends without an error.

    Args:
      path: where the directory shall stand; an existing directory is replaced, a file is not.

    Yields:
      An empty directory beside ``path``, to be filled.

    Raises:
      DataError: ``path`` is a file, or its parent cannot be written to.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise DataError(f"{path} is a file, a directory was expected", reason="unwritable", hint="name a directory")
    ensure_directory(path.parent)
    work = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    try:
        yield work
        os.chmod(work, 0o777 & ~_umask())
        _flush(work)
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent))
            os.replace(path, old / path.name)
            os.replace(work, path)
            shutil.rmtree(old)
        else:
            os.replace(work, path)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def _flush(directory: Path) -> None:
    """Wait until all files of a directory are on the disk: after a power cut a name must not stand for nothing."""
    for place in directory.rglob("*"):
        if place.is_file() and not place.is_symlink():
            handle = os.open(place, os.O_RDWR if os.name == "nt" else os.O_RDONLY)  # Windows flushes what it may write
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write a value as JSON, whole or not at all; keys are sorted, so equal values give equal bytes.

    Args:
      path: the file.
      value: what ``json`` can write; NaN and infinity are refused.

    Raises:
      DataError: the file cannot be written.
    """
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    with atomic_write(path) as file:
        file.write(text + "\n")


def read_bytes(path: str | os.PathLike, *, max_bytes: int = MAX_BYTES) -> bytes:
    """Read a whole file, decompressing ``.gz``, up to a limit.

    Args:
      path: the file.
      max_bytes: most bytes, counted after decompression.

    Returns:
      The bytes.

    Raises:
      DataError: the file is missing, is no regular file, is truncated or exceeds the limit.
    """
    with _open(path) as file:
        if isinstance(file, io.BufferedReader) and os.fstat(file.fileno()).st_size <= max_bytes:
            # A plain file of known size is read in one piece.
            data = _guarded(path, file.raw.readall)
        else:
            data = _guarded(path, lambda: file.read(max_bytes + 1))
    if len(data) > max_bytes:
        raise DataError(f"{path} holds more than {max_bytes} bytes", reason="too_large", hint="raise max_bytes")
    return data


def read_json(path: str | os.PathLike, *, max_bytes: int = MAX_JSON) -> Any:
    """Read a JSON file.

    Args:
      path: the file; ``.gz`` is decompressed.
      max_bytes: most bytes, counted after decompression.

    Returns:
      The value.

    Raises:
      DataError: the file cannot be read, or is not JSON in UTF-8.
    """
    data = read_bytes(path, max_bytes=max_bytes)
    try:
        return json.loads(data)
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: byte {error.start} is not UTF-8", reason="encoding", hint="save it as UTF-8"
        ) from None
    except (json.JSONDecodeError, RecursionError) as error:
        where = f"line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else "nested too deeply"
        raise DataError(f"{path}: not JSON: {where}", reason="malformed") from None


def read_lines(
    path: str | os.PathLike, *, max_bytes: int = MAX_BYTES, max_line: int = MAX_LINE
) -> Iterator[tuple[int, str]]:
    """Read a text file line by line, with the number of each line.

    A byte order mark at the start and line ends of any kind are dropped; ``.gz`` is decompressed.

    Args:
      path: the file, in UTF-8.
      max_bytes: most bytes, counted after decompression.
      max_line: most bytes of one line.

    Yields:
      The 1-based number of the line, and the line without its end.

    Raises:
      DataError: the file is missing, truncated, not UTF-8, or exceeds a limit; the message names the line.
    """
    total = 0
    with _open(path) as file:
        number = 0
        while True:
            line = _guarded(path, lambda: file.readline(max_line + 1))
            if not line:
                return
            number += 1
            total += len(line)
            if len(line) > max_line:
                raise DataError(f"{path}, line {number}: longer than {max_line} bytes", reason="too_large")
            if total > max_bytes:
                raise DataError(f"{path} holds more than {max_bytes} bytes", reason="too_large", hint="raise max_bytes")
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{path}, line {number}: byte {error.start} is not UTF-8",
                    reason="encoding",
                    hint="save it as UTF-8",
                ) from None
            yield number, text.rstrip("\r\n")


def _open(path: str | os.PathLike) -> io.BufferedIOBase:
    path = Path(path)
    if not path.exists():
        raise DataError(f"there is no file {path}", reason="not_found", hint="check the path")
    if not path.is_file():
        raise DataError(f"{path} is not a regular file", reason="malformed", hint="name a file")
    try:
        return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", reason="not_found") from None


def _guarded(path: str | os.PathLike, read) -> bytes:
    try:
        return read()
    except (EOFError, gzip.BadGzipFile, OSError) as error:
        raise DataError(f"{path} cannot be read: {error}", reason="malformed", hint="the file may be cut off") from None


def sha256(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a file as hexadecimal digits.

    Args:
      path: the file.

    Raises:
      DataError: the file cannot be read.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no file {path}", reason="not_found", hint="check the path")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def progress(
    items: Iterable[T], *, total: int | None = None, description: str = "", enabled: bool = True
) -> Iterator[T]:
    """Pass items through while a bar on stderr shows how far the work is.

    Args:
      items: what is worked on.
      total: how many there are; needed for an estimate of the time where ``items`` has no length.
      description: a few words in front of the bar.
      enabled: False passes the items through silently; without a terminal the bar is written rarely.

    Returns:
      An iterator over the items.
    """
    if not enabled:
        return iter(items)
    tqdm = require("tqdm", "").tqdm
    # Log files get a line every ten seconds instead of a redrawn bar.
    quiet = not os.isatty(2)
    return iter(
        tqdm(
            items,
            total=total,
            desc=description,
            mininterval=10 if quiet else 0.2,
            miniters=1 if quiet else None,
            ascii=quiet or None,
            dynamic_ncols=True,
        )
    )
