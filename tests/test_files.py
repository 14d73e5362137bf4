"""Files are whole or absent; reading is bounded and says what is wrong and where."""

import gzip
import os
import subprocess
import sys

import pytest

from jrank import files
from jrank.errors import DataError


def test_atomic_write_leaves_nothing_behind_on_failure(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), files.atomic_write(path) as file:  # noqa: PT012
        file.write("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_atomic_write_makes_folders_and_keeps_the_umask(tmp_path):
    path = tmp_path / "x" / "y" / "a.bin"
    with files.atomic_write(path, "wb") as file:
        file.write(b"\0")
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_atomic_directory_replaces_the_whole(tmp_path):
    target = tmp_path / "bundle"
    for name in ("one", "two"):
        with files.atomic_directory(target) as folder:
            (folder / name).write_text(name)
    assert os.listdir(target) == ["two"]
    with pytest.raises(RuntimeError), files.atomic_directory(target) as folder:  # noqa: PT012
        (folder / "three").write_text("")
        raise RuntimeError
    assert os.listdir(target) == ["two"]
    assert os.listdir(tmp_path) == ["bundle"]


def test_atomic_directory_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    seen = []
    fsync, replace = os.fsync, os.replace

    def note_flush(handle):
        seen.append(os.fstat(handle).st_ino)
        fsync(handle)

    def note_name(old, new):
        seen.append("named")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", note_flush)
    monkeypatch.setattr(os, "replace", note_name)
    with files.atomic_directory(tmp_path / "out") as folder:
        (folder / "a.npy").write_bytes(b"1")
        (folder / "inner").mkdir()
        (folder / "inner" / "b.json").write_text("{}")
    out = tmp_path / "out"
    assert sorted(seen[:-1]) == sorted(path.stat().st_ino for path in (out / "a.npy", out / "inner" / "b.json"))
    assert seen[-1] == "named"


def test_atomic_directory_refuses_a_file(tmp_path):
    (tmp_path / "f").write_text("")
    with pytest.raises(DataError, match="is a file, a directory was expected"), files.atomic_directory(tmp_path / "f"):
        pass


def test_a_directory_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "f").write_text("")
    with pytest.raises(DataError, match="cannot write to the directory") as caught:
        files.ensure_directory(tmp_path / "f" / "g")
    assert caught.value.reason == "unwritable"


def test_killed_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    program = (
        "import os, signal\nfrom jrank.files import atomic_write\n"
        f"with atomic_write({str(path)!r}) as f:\n    f.write('half'); f.flush(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=files.__file__.rsplit("/", 2)[0]).returncode == -9
    assert path.read_text() == "old"


def test_read_lines_numbers_lines_and_drops_bom_and_ends(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfone\r\n\ntwo")
    assert list(files.read_lines(path)) == [(1, "one"), (2, ""), (3, "two")]


@pytest.mark.parametrize(
    ("content", "words", "reason"),
    [
        (b"good\n\xff\xfe\n", r"line 2: byte 0 is not UTF-8", "encoding"),
        (b"x" * 101, r"line 1: longer than 100 bytes", "too_large"),
        (b"x\n" * 300, r"holds more than 500 bytes", "too_large"),
    ],
)
def test_read_lines_names_what_is_wrong(tmp_path, content, words, reason):
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        list(files.read_lines(path, max_bytes=500, max_line=100))
    assert caught.value.reason == reason


def test_gzip_is_read_bounded_and_truncation_is_seen(tmp_path):
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"\0" * 10_000_000))
    with pytest.raises(DataError, match="more than 1000 bytes"):
        files.read_bytes(path, max_bytes=1000)
    path.write_bytes(gzip.compress(os.urandom(5000))[:-20])
    with pytest.raises(DataError, match="cannot be read"):
        files.read_bytes(path)


@pytest.mark.parametrize("place", ["missing", "folder"])
def test_what_is_no_file_is_refused(tmp_path, place):
    (tmp_path / "folder").mkdir()
    for read in (files.read_bytes, files.read_json, lambda p: list(files.read_lines(p))):
        with pytest.raises(DataError):
            read(tmp_path / place)


@pytest.mark.parametrize("text", ["{", "[" * 100_000, ""])
def test_bad_json_is_a_data_error(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(DataError, match="not JSON"):
        files.read_json(path)


def test_json_bytes_do_not_depend_on_the_order_of_keys(tmp_path):
    files.write_json(tmp_path / "a", {"b": 1, "a": 2})
    files.write_json(tmp_path / "b", {"a": 2, "b": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with pytest.raises(ValueError, match="Out of range"):
        files.write_json(tmp_path / "c", float("nan"))
    assert not (tmp_path / "c").exists()


def test_progress_writes_to_stderr_alone(capsys):
    assert list(files.progress([1, 2], description="work")) == [1, 2]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "work" in captured.err
    assert list(files.progress([1, 2], enabled=False)) == [1, 2]
    assert capsys.readouterr().err == ""
