"""Files that are there whole or not at all, and what killed processes leave of them."""

import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import time

import pytest

import kdzoo
from kdzoo.utils import (
    atomic_path,
    copy_file,
    hidden_directory,
    one_process,
    process_locks,
    remove_directory,
    sweep,
    write_bytes,
    write_text,
)

ROOT = pathlib.Path(kdzoo.__file__).parents[1]
WRITES = """
import pathlib, sys, time
from kdzoo.utils import {imported}
with {what}:
    print("ready", flush=True)
    time.sleep(60)
"""


def names(directory):
    return sorted(path.name for path in directory.iterdir())


def leftover(directory, name="model.keras", content="new.keras"):
    """What a process that was killed leaves."""
    room = directory / f".{name}.abcd_123"
    room.mkdir(parents=True)
    (room / content).write_bytes(b"half")
    return room


@pytest.fixture
def other():
    """Starts another process that is within a block, and ends it after the test."""
    started = []

    def start(imported, what):
        code = textwrap.dedent(WRITES.format(imported=imported, what=what))
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment
        )
        started.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_write_removes_what_a_killed_one_left(tmp_path):
    leftover(tmp_path)
    write_bytes(tmp_path / "model.keras", b"whole")
    assert names(tmp_path) == ["model.keras"]


def test_leftovers_of_other_files_stay_to_their_own_writers(tmp_path):
    mine, other = leftover(tmp_path, "a"), leftover(tmp_path, "a.b")
    write_bytes(tmp_path / "a", b"whole")
    assert not mine.exists()
    assert other.exists()


def test_a_directory_that_is_opened_is_swept(tmp_path):
    leftover(tmp_path)
    leftover(tmp_path, "epoch-0002", "new")
    leftover(tmp_path / "teacher-0", "result.json", "new.json")
    with one_process(tmp_path):
        assert names(tmp_path) == ["teacher-0"]
        assert names(tmp_path / "teacher-0") == []


@pytest.mark.parametrize(
    ("name", "content"),
    [(".model.keras.abcd_123", "mine"), (".model.keras.abcd", "new"), ("model.abcd_123", "new")],
)
def test_what_is_none_of_ours_stays(name, content, tmp_path):
    (tmp_path / name).mkdir()
    (tmp_path / name / content).write_bytes(b"")
    sweep(tmp_path)
    sweep(tmp_path, "model.keras")
    assert (tmp_path / name / content).exists()


def test_what_a_living_process_writes_stays_until_it_is_killed(other, tmp_path):
    path = tmp_path / "model.tflite"
    process = other("atomic_path", f"atomic_path({str(path)!r}) as p, open(p, 'wb')")
    [room] = tmp_path.iterdir()
    write_bytes(path, b"ours")
    with one_process(tmp_path):
        assert (room / "new.tflite").exists()
    process.send_signal(signal.SIGKILL)
    process.wait()
    write_bytes(path, b"ours again")
    assert names(tmp_path) == ["model.tflite"]


def test_where_there_are_no_locks_nothing_is_swept(tmp_path, monkeypatch):
    monkeypatch.setattr(process_locks, "fcntl", None)
    room = leftover(tmp_path)
    with one_process(tmp_path), hidden_directory(tmp_path, "model.keras"):
        assert room.exists()
    write_bytes(tmp_path / "model.keras", b"whole")
    assert names(tmp_path) == [room.name, "model.keras"]


def test_a_room_that_is_swept_while_it_is_made_is_made_again(tmp_path, monkeypatch):
    lock, swept = process_locks.lock_directory, []

    def sweep_first(room):
        if not swept:
            swept.append(room)
            room.rmdir()
        return lock(room)

    monkeypatch.setattr(process_locks, "lock_directory", sweep_first)
    with hidden_directory(tmp_path, "file") as room:
        assert room.exists()
        assert room not in swept


def test_a_lock_whose_directory_is_gone_is_closed(tmp_path, monkeypatch):
    lock, opened = process_locks.lock_directory, []

    def remove_after(room):
        opened.append(lock(room))
        if len(opened) == 1:
            room.rmdir()
        return opened[-1]

    monkeypatch.setattr(process_locks, "lock_directory", remove_after)
    with hidden_directory(tmp_path, "file"):
        first, second = opened
        # The system gives the lowest number that is free.
        assert first == second


def test_an_empty_directory_is_removed_by_its_own_name_alone(tmp_path):
    room = tmp_path / ".cache.abcdefgh"
    room.mkdir()
    with one_process(tmp_path):
        assert room.exists()
    sweep(tmp_path, "cache")
    assert not room.exists()


@pytest.mark.large
def test_many_writers_of_one_file_leave_one_of_theirs(tmp_path):
    code = """
        import sys
        from kdzoo.utils import write_bytes
        for _ in range(40):
            write_bytes(sys.argv[1], sys.argv[2].encode() * 9999)
    """
    path = tmp_path / "student.tflite"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    arguments = [sys.executable, "-c", textwrap.dedent(code), str(path)]
    running = [subprocess.Popen([*arguments, word], env=environment) for word in "abc"]
    while any(process.poll() is None for process in running):
        if path.exists():
            content = path.read_bytes()
            assert content in [word * 9999 for word in (b"a", b"b", b"c")]
        time.sleep(0.01)
    assert [process.returncode for process in running] == [0, 0, 0]
    assert names(tmp_path) == ["student.tflite"]


@pytest.mark.large
def test_the_second_process_hears_of_the_first(other, tmp_path):
    other("one_process", f"one_process({str(tmp_path)!r})")
    with pytest.raises(ValueError, match="in which another process works"), one_process(tmp_path):
        pass


def test_a_directory_is_replaced_only_where_that_is_said(tmp_path):
    path = tmp_path / "epoch-0001"
    path.mkdir()
    (path / "old").write_bytes(b"old")
    with pytest.raises(OSError, match="not empty"), atomic_path(path) as new:
        new.mkdir()
    assert names(path) == ["old"]
    with atomic_path(path, replace=True) as new:
        new.mkdir()
    assert names(path) == []
    assert names(tmp_path) == ["epoch-0001"]


def test_a_removed_directory_is_gone_at_once(tmp_path, monkeypatch):
    path = tmp_path / "epoch-0001"
    path.mkdir()
    monkeypatch.setattr(
        process_locks.shutil, "rmtree", lambda *given, **options: None
    )  # Killed there.
    remove_directory(path)
    assert [name[:12] for name in names(tmp_path)] == [".epoch-0001."]


def test_a_file_or_a_link_is_removed_in_place_of_a_directory(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    (tmp_path / "file").write_bytes(b"")
    for name in ("link", "file", "missing"):
        remove_directory(tmp_path / name)
    assert names(tmp_path) == ["kept"]


def test_text_and_copies_are_written_whole(tmp_path):
    write_text(tmp_path / "a" / "b.txt", "ä\n")
    copy_file(tmp_path / "a" / "b.txt", tmp_path / "c.txt")
    assert (tmp_path / "c.txt").read_bytes() == "ä\n".encode()
    with pytest.raises(FileNotFoundError):
        copy_file(tmp_path / "none", tmp_path / "d.txt")
    assert names(tmp_path) == ["a", "c.txt"]
