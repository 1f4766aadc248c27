"""How much memory it takes to load a file, in a process of its own."""

import pathlib
import subprocess
import sys
import textwrap

import keras
import pytest

import kdzoo

ROOT = pathlib.Path(kdzoo.__file__).parents[1]
MEASURED = """
    import os, pathlib, re, sys
    import keras
    import kdzoo
    from kdzoo.zoo import building
    from kdzoo.zoo.files import load_keras_file

    def network(layers, units):
        names = [f"dense_{number}" for number in range(layers)]
        inner = [keras.layers.Dense(units, name=name) for name in names]
        return keras.Sequential([keras.Input((units,)), *inner])

    def peak():
        status = pathlib.Path("/proc/self/status").read_text()
        return int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) << 10

    def load(path, layers, units):
        if path.endswith(".keras"):
            load_keras_file(path)
        else:
            content = pathlib.Path(path).read_bytes()
            building.build_with_weights(lambda: network(layers, units), content, path)

    path, small, layers, units = *sys.argv[1:3], *map(int, sys.argv[3:])
    load(small, 1, 8)  # What is imported at the first time.
    pathlib.Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    load(path, layers, units)
    print((peak() - before) / os.path.getsize(path))
"""


def network(layers, units):
    names = [f"dense_{number}" for number in range(layers)]
    inner = [keras.layers.Dense(units, name=name) for name in names]
    return keras.Sequential([keras.Input((units,)), *inner])


@pytest.mark.large
@pytest.mark.parametrize(
    ("suffix", "layers", "units", "times"),
    [
        ("keras", 6, 2048, 3.6),
        ("keras", 1, 5120, 6.8),
        ("safetensors", 6, 2048, 2.7),
        ("safetensors", 1, 5120, 3.5),
    ],
)
def test_loading_takes_a_few_times_the_file(suffix, layers, units, times, tmp_path):
    """Of 100 MB, in several layers or in one, where Keras and TensorFlow hold copies of a layer."""
    if not pathlib.Path("/proc/self/clear_refs").exists():
        pytest.skip("no measure of memory here")
    path, small = tmp_path / f"large.{suffix}", tmp_path / f"small.{suffix}"
    for file, model in ((path, network(layers, units)), (small, network(1, 8))):
        model.save(file) if suffix == "keras" else kdzoo.zoo.save_weights(model, file)
    command = [sys.executable, "-c", textwrap.dedent(MEASURED), path, small, layers, units]
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert float(done.stdout.split()[-1]) < times
