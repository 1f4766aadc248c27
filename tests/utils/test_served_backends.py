"""A backend that is not installed, or that kdzoo does not compute on, is one sentence."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import pytest

from kdzoo.utils import served_backends

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture
def before_keras(monkeypatch, tmp_path):
    """As before Keras is imported, where neither TensorFlow nor JAX is installed."""
    monkeypatch.delitem(sys.modules, "keras.src")
    for name in ("tensorflow", "jax"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    return tmp_path / "keras.json"


@pytest.mark.parametrize(
    ("name", "other"), [("jax", "tensorflow"), ("tensorflow", "jax"), (None, "jax")]
)
def test_one_that_is_missing(before_keras, monkeypatch, name, other):
    if name:
        monkeypatch.setenv("KERAS_BACKEND", name)
    expected = f"`pip install {name or 'tensorflow'}`, or set KERAS_BACKEND={other}"
    with pytest.raises(ImportError, match=expected) as error:
        served_backends.check_backend()
    assert (f"KERAS_BACKEND={name}" if name else "no KERAS_BACKEND") in str(error.value)


@pytest.mark.parametrize("name", ["torch", "openvino", "tensroflow"])
def test_one_that_is_not_served(before_keras, monkeypatch, name):
    monkeypatch.setenv("KERAS_BACKEND", name)
    with pytest.raises(ImportError, match=f"tensorflow or jax.* Received: KERAS_BACKEND={name}"):
        served_backends.check_backend()


def test_one_of_the_settings_of_keras(before_keras, monkeypatch):
    before_keras.write_text(json.dumps({"backend": "torch"}))
    with pytest.raises(ImportError, match=r'Received: "backend": "torch" in .*keras\.json'):
        served_backends.check_backend()
    before_keras.write_text("[")  # Keras passes over it, too.
    with pytest.raises(ImportError, match="pip install tensorflow"):
        served_backends.check_backend()
    monkeypatch.setenv("KERAS_BACKEND", "jax")  # It comes before the file.
    with pytest.raises(ImportError, match="pip install jax"):
        served_backends.check_backend()


def test_one_that_is_installed_passes(before_keras, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "jax" or None)
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    served_backends.check_backend()


def test_the_backend_that_keras_runs_on_counts(monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")  # Set too late.
    served_backends.check_backend()


@pytest.mark.parametrize("arguments", [["list"], ["create", "lenet_5", "net.keras"]])
def test_the_command_line_says_it_in_a_line(arguments, tmp_path):
    script = "import sys, kdzoo_command; sys.exit(kdzoo_command.main())"
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env={**os.environ, "KERAS_BACKEND": "torch", "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("kdzoo: Expected KERAS_BACKEND to be tensorflow or jax")
