"""Where TensorFlow is not installed, JAX does everything that needs no TensorFlow."""

import json
import subprocess
import sys

import keras
import pytest

from kdzoo.zoo.manifest import read_manifest

WITHOUT = """
import os, sys
os.environ["KERAS_BACKEND"] = "jax"

class NoTensorFlow:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "tf_keras", "tensorflow_datasets"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NoTensorFlow())
"""
SCRIPT = """
import keras, kdzoo
from kdzoo.schemes import train

data = kdzoo.data.load("digits")
teacher = kdzoo.create("mlp_2x64", data.classes, data.input_shape)
student = kdzoo.create("separable_025", data.classes, data.input_shape)
losses = [
    kdzoo.losses.SoftTargets(4.0),
    kdzoo.losses.RelationalDistance("features", "features"),
    kdzoo.losses.Hint("features", "features", reduction="mean"),
]
distiller = kdzoo.Distiller(teacher, student, losses)
cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
distiller.compile("adam", cross_entropy, metrics=["accuracy"])
history = train(
    distiller,
    lambda epoch: data.train.batches(300, True, "default", initial_epoch=epoch),
    1,
    sys.argv[1] + "/run",
    data.validation.batches(100),
    verbose=0,
)
assert history["loss"][0] > 0
distiller.save(sys.argv[1] + "/distiller.keras")
copy = keras.saving.load_model(sys.argv[1] + "/distiller.keras")
accuracy = kdzoo.evaluation.accuracy(copy.student, *data.test.arrays())
assert accuracy == kdzoo.evaluation.accuracy(student, *data.test.arrays())
assert "tensorflow" not in sys.modules
print("trained", accuracy)
"""
SMALL_ZOO = """
import dataclasses, pathlib, sys
import kdzoo
import kdzoo.data
from kdzoo import recipes
from kdzoo.experiments import Distill, Experiment, Train, Training
from tools import train_zoo as zoo
from tools.zoo_entries import Entry

stages = (
    Train("teacher", "mlp_2x64", Training(1), seeds=(0,)),
    Distill("distilled", "mlp_2x128", Training(1), views=1),
)
small = Experiment("small", "numbers", stages, seeds=(0,))
recipes.RECIPES.update(small=small)
zoo.ENTRIES = (
    Entry("mlp_2x64/numbers", "small", "teacher"),
    Entry("mlp_2x128/numbers", "small", "distilled"),
    Entry("separable_025/cifar10/int8", "zoo_cifar10_025_compressed", "int8", start="float32"),
)
directory = pathlib.Path(sys.argv[1])
places = {"--runs": "runs", "--directory": "zoo", "--measured": "measured", "--data-dir": "data"}
arguments = [
    argument
    for name, place in places.items()
    for argument in (name, str(directory / place))
]
"""
ZOO = f"""{SMALL_ZOO}
data = dataclasses.replace(kdzoo.data.load("digits"), name="numbers")
kdzoo.data.export(data, directory / "data" / "numbers")
zoo.main(arguments)
assert (directory / "runs" / "small" / "results.json").is_file()
assert (directory / "runs" / "small" / "distilled-0" / "result.json").is_file()
assert (directory / "runs" / "small" / "recorded_teacher" / "index.json").is_file()
assert sorted(path.name for path in directory.iterdir()) == ["data", "runs"]
assert "tensorflow" not in sys.modules
"""
PUBLISH = f"""
import os
os.environ["KERAS_BACKEND"] = "tensorflow"
{SMALL_ZOO}
zoo.main([*arguments, "--only", "numbers"])
model = kdzoo.load("mlp_2x64/numbers", directory=directory / "zoo")
accuracy = kdzoo.evaluation.accuracy(model, *kdzoo.data.load("digits").test.arrays())
print("published", accuracy)
"""


pytestmark = pytest.mark.skipif(keras.backend.backend() != "jax", reason="One run of it is enough.")


def run(script, directory):
    return subprocess.run(
        [sys.executable, "-c", script, str(directory)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.large
def test_models_losses_distiller_and_training_work_without_tensorflow(tmp_path):
    done = run(WITHOUT + SCRIPT, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.startswith("trained")


@pytest.mark.large
def test_the_zoo_is_trained_without_tensorflow_and_published_with_it(tmp_path):
    done = run(WITHOUT + ZOO, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    place = tmp_path / "runs" / "small"
    assert f"mlp_2x64/numbers: trained; publish {place} where" in done.stdout
    assert "separable_025/cifar10/int8: left, TF-MOT needs TensorFlow" in done.stdout
    done = run(PUBLISH, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    trained = json.loads((tmp_path / "runs" / "small" / "teacher-0" / "result.json").read_text())
    assert f"published {trained['test_accuracy']}" in done.stdout
    measured = json.loads((tmp_path / "measured" / "small.json").read_text())
    assert measured["rows"][0]["test_accuracy"] == trained["test_accuracy"]
    row = read_manifest(tmp_path / "zoo")["mlp_2x64/numbers"]
    assert row.training["versions"] == trained["versions"]
    assert row.training["versions"]["backend"] == "jax"
