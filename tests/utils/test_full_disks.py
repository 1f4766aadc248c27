"""A disk that is full: one sentence, what was there before stays, and nothing is left beside it."""

import errno
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

import kdzoo
from kdzoo.utils import FullDiskError, atomic_path, naming_full_disk

ROOT = pathlib.Path(kdzoo.__file__).parents[1]
WRITERS = pathlib.Path(__file__).with_name("writers.py")
GROUPS = ["any", pytest.param("tensorflow", marks=pytest.mark.tensorflow)]


def complaints(group, directory, *options, before=()):
    """Runs the writers of a group in a process of their own, which may crash."""
    ended = subprocess.run(
        [*before, sys.executable, str(WRITERS), group, str(directory), *options],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=600,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads(ended.stdout)


@pytest.mark.large
@pytest.mark.parametrize("group", GROUPS)
def test_every_writer_at_ten_limits_of_a_file(group, tmp_path):
    found = complaints(group, tmp_path)
    assert len(found) >= 3
    assert [name for name, said in found.items() if said] == [], found


@pytest.mark.large
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounts need root")
@pytest.mark.skipif(shutil.which("unshare") is None, reason="no unshare")
@pytest.mark.parametrize("group", GROUPS)
def test_every_writer_at_ten_places_of_a_full_disk(group, tmp_path):
    mounting = f'mount -t tmpfs -o size=16m none {tmp_path} && exec "$@"'
    before = ["unshare", "-m", "sh", "-c", mounting, "sh"]
    if subprocess.run([*before, "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody mount")
    found = complaints(group, tmp_path, "--disk", before=before)
    assert [name for name, said in found.items() if said] == [], found


@pytest.mark.parametrize("size", [None, 1234, lambda: 1234])
def test_the_sentence_names_file_bytes_and_reason(size, tmp_path):
    with pytest.raises(FullDiskError) as error, naming_full_disk(tmp_path / "file", size):
        raise OSError(errno.ENOSPC, "No space left on device")
    needed = ", 1,234 bytes" if size else ""
    assert str(error.value).startswith(
        f"Expected room for {tmp_path / 'file'}{needed}. Received: a full disk; "
    )
    assert error.value.errno == errno.ENOSPC


def fail_on_the_way_out(error):
    try:
        raise error
    except Exception:
        {}["key"]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("write() failed: No space left on device; writing file"),
        OSError(errno.EFBIG, "too large"),
        OSError(errno.EDQUOT, "no more"),
    ],
)
def test_a_full_disk_is_known_however_a_library_says_it(error, tmp_path):
    with pytest.raises(FullDiskError, match="Expected room for"), naming_full_disk(tmp_path):
        fail_on_the_way_out(error)


def test_other_errors_stay_as_they_are(tmp_path):
    with pytest.raises(OSError, match=r"^\[Errno 13\] "), naming_full_disk(tmp_path):
        raise OSError(errno.EACCES, "Permission denied")


def write_inner(outer):
    outer.mkdir()
    with atomic_path(outer / "inner"):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_the_inner_of_two_files_is_named(tmp_path):
    with pytest.raises(FullDiskError, match="inner"), atomic_path(tmp_path / "outer") as outer:
        write_inner(outer)
    assert not list(tmp_path.iterdir())
