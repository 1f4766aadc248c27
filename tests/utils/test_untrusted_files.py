"""Reading files that may be anything."""

import errno
import os
import socket

import pytest

from kdzoo.utils import check_regular, digest_of_file, open_regular, read_bytes, read_object


@pytest.fixture
def pipe(tmp_path):
    """A pipe that nobody writes to: who opens it as a file waits for ever."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("no pipes here")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path / "pipe"


@pytest.mark.parametrize(
    "read",
    [
        open_regular,
        check_regular,
        digest_of_file,
        lambda path: read_bytes(path, 10),
        lambda path: read_object(path, "an index"),
    ],
)
class TestWhatIsNoFile:
    def test_a_pipe_is_refused_at_once(self, read, pipe):
        with pytest.raises(ValueError, match="Received: a pipe"):
            read(pipe)

    def test_a_directory_is_refused(self, read, tmp_path):
        with pytest.raises(ValueError, match="Received: a directory"):
            read(tmp_path)

    def test_a_missing_file_is_missing(self, read, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"^Expected .*none to be a .*: none there$"):
            read(tmp_path / "none")

    @pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no such sockets here")
    def test_a_socket_is_refused(self, read, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)  # A socket's path may have a hundred characters.
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket")
            with pytest.raises(ValueError, match="Received: a socket"):
                read(tmp_path / "socket")


def test_a_link_to_a_file_is_one(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert read_bytes(tmp_path / "link", 3) == b"abc"


def test_more_bytes_than_allowed_are_not_read(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    with pytest.raises(ValueError, match=r"at most 2 bytes. Received: more"):
        read_bytes(tmp_path / "file", 2)
    with pytest.raises(ValueError, match="at most 2 bytes"):
        read_object(tmp_path / "file", "an index", most=2)


def test_a_device_without_end_is_refused(tmp_path):
    if not os.path.exists("/dev/zero"):
        pytest.skip("no such device here")
    with pytest.raises(ValueError, match="Received: a device"):
        read_bytes("/dev/zero", 10)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"a": ' + b"9" * 5000 + b"}", "Exceeds the limit"),
        (b'{"a": [' + b"[]," * 700_000 + b"0]}", "more than 600,000 values"),
        (b'{"a": ' + b"[" * 100_000, "lists within lists without end"),
    ],
)
def test_json_that_would_take_too_much_is_refused(content, reason, tmp_path):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match=f"file to be an index. Received: .*{reason}"):
        read_object(tmp_path / "file", "an index")


@pytest.mark.parametrize("written", [b"", b"abc"])
def test_a_file_of_holes_is_refused(written, tmp_path):
    """As large as memory, and nothing on the disk."""
    with open(tmp_path / "file", "wb") as file:
        file.write(written)
        file.truncate(1 << 40)
    for read in (open_regular, digest_of_file, lambda path: read_bytes(path, 1 << 41)):
        with pytest.raises(ValueError, match=r"file to be a file that was written.*holes in the"):
            read(tmp_path / "file")


def test_some_holes_do_no_harm(tmp_path):
    with open(tmp_path / "file", "wb") as file:
        file.write(bytes(range(256)) * (3 << 12))
        file.truncate(100 << 20)
    assert len(read_bytes(tmp_path / "file", 100 << 20)) == 100 << 20


def test_a_file_system_that_knows_of_no_holes_is_believed(tmp_path, monkeypatch):
    with open(tmp_path / "file", "wb") as file:
        file.truncate(1 << 30)

    def refuse(descriptor, offset, whence, usual=os.lseek):
        if whence == os.SEEK_DATA:
            raise OSError(errno.EINVAL, "Invalid argument")
        return usual(descriptor, offset, whence)

    monkeypatch.setattr(os, "lseek", refuse)
    check_regular(tmp_path / "file")
