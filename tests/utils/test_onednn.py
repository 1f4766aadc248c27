"""oneDNN is on wherever it makes TensorFlow quicker, unless the user says otherwise.

The processors are made up.
"""

import os
import pathlib
import subprocess
import sys
import types
import warnings

import pytest

from kdzoo.utils import onednn, processor

ROOT = pathlib.Path(__file__).parents[2]
VARIABLE = "TF_ENABLE_ONEDNN_OPTS"
PLAIN = "fpu sse4_2 avx avx2 fma"  # AMD's Zen 3, Intel's Broadwell.
SAID = (
    "2026-01-01 00:00:00.0: I tensorflow/core/util/port.cc:153] oneDNN custom operations are on. "
    "You may see slightly different numerical results.\n"
)
# In place of `/proc/cpuinfo`, and an end where Keras would be imported.
IMPORT = """
import builtins, io, os, sys
usual = builtins.open

def opened(path, *arguments, **options):
    if path == "/proc/cpuinfo":
        return io.StringIO(sys.argv[1])
    return usual(path, *arguments, **options)

class Stop:
    def find_spec(self, name, path=None, target=None):
        if name == "keras":
            print(os.environ.get("TF_ENABLE_ONEDNN_OPTS"), flush=True)
            os._exit(0)

builtins.open = opened
sys.meta_path.insert(0, Stop())
import kdzoo
"""


def cpuinfo(features):
    paragraph = f"vendor_id\t: AuthenticAMD\nmodel name\t: Some\nflags\t\t: {features}\nbugs\t\t:\n"
    return "\n".join(f"processor\t: {core}\n{paragraph}" for core in range(2))


@pytest.fixture
def on(tmp_path, monkeypatch):
    """Lets this process believe that it runs on a processor, by what `/proc/cpuinfo` says."""

    def pretend(text):
        path = tmp_path / "cpuinfo"
        if text is not None:
            path.write_text(text)
        monkeypatch.setattr(processor, "CPUINFO", str(path))

    monkeypatch.delenv(VARIABLE, raising=False)
    # Afterwards as before, whatever the code under test sets.
    monkeypatch.setattr(os, "environ", os.environ.copy())
    return pretend


@pytest.mark.parametrize(
    ("text", "is_left_off"),
    [
        (cpuinfo(PLAIN), True),
        (cpuinfo(f"{PLAIN} avx512f avx512bw"), True),  # Skylake.
        *(
            (cpuinfo(f"{PLAIN} {feature}"), False)
            for feature in ("avx512_vnni", "avx_vnni", "avx512_bf16", "amx_tile", "amx_int8")
        ),
        ("processor\t: 0\nFeatures\t: fp asimd asimddp\n", False),  # ARM: left as it is.
        (None, False),  # Windows and macOS have no such file.
    ],
)
def test_the_variable_is_set_where_tensorflow_would_leave_it_off(
    on, monkeypatch, text, is_left_off
):
    on(text)
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    with onednn.turned_on():
        assert os.environ.get(VARIABLE) == ("1" if is_left_off else None)
    assert os.environ.get(VARIABLE) == ("1" if is_left_off else None)


def test_what_the_user_has_set_stays(on, monkeypatch):
    on(cpuinfo(PLAIN))
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    os.environ[VARIABLE] = "0"
    with onednn.turned_on():
        assert os.environ[VARIABLE] == "0"


def test_a_tensorflow_that_is_there_has_decided(on, monkeypatch):
    on(cpuinfo(PLAIN))
    monkeypatch.setitem(sys.modules, "tensorflow", types.ModuleType("tensorflow"))
    with onednn.turned_on():
        assert VARIABLE not in os.environ


@pytest.mark.parametrize("text", [cpuinfo(PLAIN), cpuinfo("avx512_vnni")])
def test_only_what_kdzoo_has_caused_is_held_back(on, monkeypatch, capfd, text):
    on(text)
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    with onednn.turned_on():
        os.write(2, b"before\n" + SAID.encode() + b"after\n")
    said = "" if text == cpuinfo(PLAIN) else SAID
    assert capfd.readouterr().err == f"before\n{said}after\n"


@pytest.mark.parametrize(
    ("features", "given", "found"),
    [(PLAIN, None, "1"), (f"{PLAIN} avx512_vnni", None, "None"), (PLAIN, "0", "0")],
)
def test_importing_kdzoo_decides_before_keras_is_imported(features, given, found):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop(VARIABLE, None)
    if given:
        environment[VARIABLE] = given
    command = [sys.executable, "-c", IMPORT, cpuinfo(features)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == (found, "")


@pytest.mark.parametrize(
    ("features", "given", "found"),
    [(PLAIN, None, "1"), (f"{PLAIN} amx_tile", None, ""), ("", None, ""), (PLAIN, "0", "0")],
)
def test_make_turns_it_on_for_what_it_runs(tmp_path, features, given, found):
    path = tmp_path / "cpuinfo"
    path.write_text(cpuinfo(features) if features else "processor: 0\nFeatures: fp asimd\n")
    environment = {**os.environ, **({VARIABLE: given} if given else {})}
    if not given:
        environment.pop(VARIABLE, None)
    show = f"--eval=show:;@echo $${VARIABLE}"
    command = ["make", "--silent", "--no-print-directory", f"CPUINFO={path}", show, "show"]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == found


class WithoutGPU(types.ModuleType):
    config = types.SimpleNamespace(get_visible_devices=lambda kind: [])


def test_a_fit_says_once_that_it_is_off(on, monkeypatch):
    on(cpuinfo(PLAIN))
    monkeypatch.setitem(sys.modules, "tensorflow", WithoutGPU("tensorflow"))
    monkeypatch.setattr(onednn, "_was_told", False)
    with pytest.warns(UserWarning, match="set TF_ENABLE_ONEDNN_OPTS=1"):
        onednn.warn_if_off()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        onednn.warn_if_off()


@pytest.mark.parametrize("why", ["set by the user", "another processor", "a GPU", "no TensorFlow"])
def test_nothing_is_said_where_nothing_is_slow(on, monkeypatch, why):
    on(cpuinfo("avx512_vnni" if why == "another processor" else PLAIN))
    monkeypatch.setattr(onednn, "_was_told", False)
    monkeypatch.setitem(sys.modules, "tensorflow", WithoutGPU("tensorflow"))
    if why == "set by the user":
        os.environ[VARIABLE] = "0"
    if why == "no TensorFlow":
        monkeypatch.delitem(sys.modules, "tensorflow")
    if why == "a GPU":
        gpus = types.SimpleNamespace(get_visible_devices=lambda kind: [kind])
        monkeypatch.setattr(WithoutGPU, "config", gpus)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        onednn.warn_if_off()


@pytest.mark.large
@pytest.mark.tensorflow
def test_importing_kdzoo_prints_nothing_that_keras_does_not():
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "PYTHONPATH": str(ROOT)}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    scripts = {"0": "import keras", "": IMPORT.replace('name == "keras"', "False")}
    said = []
    for given, script in scripts.items():
        environment[VARIABLE] = given
        if not given:
            environment.pop(VARIABLE)
        command = [sys.executable, "-c", script, cpuinfo(PLAIN)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        # Times and process numbers differ.
        said.append([line.partition("] ")[2] or line for line in done.stderr.splitlines()])
    assert said[1] == said[0]
