"""Where TensorFlow is not installed, JAX does everything that needs no TensorFlow."""

import subprocess
import sys

import keras
import pytest

SCRIPT = """
import os, sys
os.environ["KERAS_BACKEND"] = "jax"

class NoTensorFlow:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "tf_keras", "tensorflow_datasets"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, NoTensorFlow())
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


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="One run of it is enough.")
def test_models_losses_distiller_and_training_work_without_tensorflow(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.startswith("trained")
