"""Files that an earlier version wrote load, and give what they gave."""

import importlib.util
import pathlib
import shutil

import keras
import numpy as np
import pytest

import kdzoo

HERE = pathlib.Path(__file__).parent
FILES = HERE / "files"
MODELS = sorted(path.stem for path in FILES.glob("*.keras"))
OF_COMPRESSION = ("annotated", "clustered", "pruned", "quantized")


def marked(name):
    """A parameter, left to TensorFlow where only it computes the file's model."""
    marks = [pytest.mark.tensorflow] if name.startswith(OF_COMPRESSION) else []
    return pytest.param(name, marks=marks)


@pytest.fixture(scope="module")
def makers():
    """The module that wrote the files."""
    spec = importlib.util.spec_from_file_location("make_fixtures", HERE / "make_fixtures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_gives(model, name):
    kept = np.load(FILES / f"{name}.npz")
    outputs = keras.ops.convert_to_numpy(model(kept["inputs"], training=False))
    # Another processor adds in another order.
    np.testing.assert_allclose(outputs, kept["outputs"], rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("name", [marked(name) for name in MODELS])
def test_a_keras_file_loads_to_the_same_outputs(name, makers):
    if name.endswith("otherwise"):
        makers.own_quantize_config()  # Registered, as whoever wrote such a file has to.
    model = keras.saving.load_model(FILES / f"{name}.keras")
    assert_gives(model, name)


@pytest.mark.large_on_jax
def test_a_file_of_keras_2_opens_to_the_same_outputs():
    assert_gives(kdzoo.load_model(FILES / "of_keras_2.h5"), "of_keras_2")


@pytest.mark.parametrize("name", ["compressed", "signs"])
def test_a_kdz_file_opens_to_the_same_outputs(name):
    assert_gives(kdzoo.load_compressed(FILES / f"{name}.kdz"), name)


def test_every_loss_is_among_the_files():
    losses = {
        name
        for name in kdzoo.losses.__all__
        if isinstance(getattr(kdzoo.losses, name), type) and name != "DistillationLoss"
    }
    found = set()
    for path in FILES.glob("distiller_*.keras"):
        distiller = keras.saving.load_model(path)
        assert distiller.optimizer.iterations == 2
        found |= {type(loss).__name__ for loss in distiller.distillation_losses}
    assert found == losses


@pytest.mark.parametrize(("name", "bits"), [("shared", 0), ("shared_float16", 11)])
def test_a_shared_model_loads(name, bits):
    model = kdzoo.load_pretrained(FILES / name)
    kept = np.load(FILES / "shared.npz")
    outputs = keras.ops.convert_to_numpy(model(kept["inputs"], training=False))
    # Weights in float16 have 11 bits.
    atol = 10 * 2.0**-bits if bits else 2e-6
    np.testing.assert_allclose(outputs, kept["outputs"], rtol=1e-5, atol=atol)


@pytest.mark.tensorflow
def test_an_epoch_checkpoint_is_restored(makers, tmp_path):
    """On TensorFlow, whose optimizer and seeds it holds."""
    shutil.copytree(FILES / "checkpoint", tmp_path / "checkpoint")
    student = makers.network("student")
    losses = kdzoo.losses.SoftTargets(2.0)
    distiller = kdzoo.Distiller(makers.network("teacher", 6), student, losses)
    distiller.compile(keras.optimizers.Adam(1e-2), makers.cross_entropy(), metrics=["accuracy"])
    checkpoint = kdzoo.callbacks.EpochCheckpoint(tmp_path / "checkpoint", {"seed": 0})
    assert checkpoint.restore(distiller) == 2
    assert [len(values) for values in checkpoint.history.values()] == [2] * 6
    assert distiller.optimizer.iterations == 6
    assert_gives(student, "checkpoint")


def test_recorded_teachers_are_read():
    data, teacher = kdzoo.data.load(FILES / "data"), kdzoo.load_pretrained(FILES / "teacher")
    recorded = kdzoo.data.with_recorded_teacher(data.train, FILES / "recorded", teacher)
    outputs = [
        np.concatenate([np.asarray(y["teacher"]) for _, y in recorded.batches(6, initial_epoch=e)])
        for e in range(recorded.views)
    ]
    np.testing.assert_array_equal(outputs, np.load(FILES / "recorded.npz")["outputs"])
    features = kdzoo.data.with_recorded_teacher(data.train, FILES / "recorded_top_k")
    _, targets = next(iter(features.batches(6)))
    assert {name: each.shape for name, each in targets["teacher"].items()} == {
        "logits": (6, 3),
        "features": (6, 12),
    }


def test_a_data_set_is_read(makers):
    data = kdzoo.data.load(FILES / "data")
    images, labels = makers.examples()
    assert len(data.train) == 18
    assert len(data.validation) == 6
    for part in (data.train, data.validation):
        found, of_class = part.examples(np.arange(len(part)))
        for image, label in zip(found, of_class, strict=True):
            place = np.flatnonzero((images == image).all(axis=(1, 2, 3)))
            assert label == labels[place]


@pytest.mark.tensorflow
def test_a_litert_file_runs():
    model = kdzoo.export.LiteRTModel(FILES / "shared.tflite")
    assert model.labels == ["a", "b", "c"]
    kept = np.load(FILES / "shared.npz")
    np.testing.assert_allclose(model.predict(kept["inputs"]), kept["outputs"], atol=1e-4)
