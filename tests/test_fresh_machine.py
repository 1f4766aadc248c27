"""The suite itself: no test may lean on what a machine happens to have."""

import os
import pathlib
import socket

import pytest


def test_home_and_data_directory_are_empty_ones():
    home = pathlib.Path.home()
    assert home == pathlib.Path(os.environ["HOME"])
    assert home.name.startswith("kdzoo-tests-")
    assert not (home / "tensorflow_datasets").exists()
    assert pathlib.Path(os.environ["TFDS_DATA_DIR"]).parent == home


def test_the_network_is_closed():
    with socket.socket() as ours, pytest.raises(OSError, match="closed to tests"):
        ours.connect(("127.0.0.1", 9))
    with pytest.raises(OSError, match="closed to tests"):
        socket.create_connection(("127.0.0.1", 9))
