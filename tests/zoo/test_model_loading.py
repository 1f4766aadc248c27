"""`kdzoo.load_model`: what a path leads to is told by its content, and refused in a sentence."""

import pathlib
import shutil

import h5py
import keras
import numpy as np
import pytest
from old_files import changed_config, layers_of, quiet, randomize, written

import kdzoo

tf_keras = pytest.importorskip("tf_keras")
layers = tf_keras.layers
KERNEL = "model_weights/first/first/kernel:0"


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A file of tf_keras, its inputs and outputs."""
    path = tmp_path_factory.mktemp("good") / "model.h5"
    made = tf_keras.Sequential(
        [layers.Input((4,)), layers.Dense(3, name="first"), layers.Dense(2, name="last")]
    )
    return path, *written(randomize(made), path)


def copied(good, path):
    path.write_bytes(good[0].read_bytes())
    return path


@pytest.mark.parametrize("name", ["model.h5", "model.hdf5", "model.keras", "model", "model.bin"])
def test_hdf5_opens_under_every_name(name, good, tmp_path):
    model = kdzoo.load_model(copied(good, tmp_path / name))
    np.testing.assert_allclose(model(good[1][0]), good[2][0], rtol=1e-5)
    assert isinstance(model, keras.Model)


def test_the_others_open_too(good, tmp_path):
    model = kdzoo.load_model(good[0])
    model.save(tmp_path / "model.keras")
    kdzoo.save_pretrained(model, tmp_path / "shared")
    with quiet():
        model.save(tmp_path / "model.h5")
    for name in ("model.keras", "shared", "model.h5"):
        again = kdzoo.load_model(tmp_path / name)
        np.testing.assert_allclose(again(good[1][0]), good[2][0], rtol=1e-5)


def test_the_rules_are_not_for_files_of_keras_3(tmp_path):
    """Whose `hard_sigmoid` has the slope that Keras 3's has."""
    inputs = keras.Input((4,))
    x = keras.layers.Dense(3, activation="hard_sigmoid")(inputs)
    inner = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    model = keras.Model(inputs, inner(inner(x)))
    with quiet():
        model.save(tmp_path / "model.h5")
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    np.testing.assert_allclose(kdzoo.load_model(tmp_path / "model.h5")(x), model(x), atol=1e-6)


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_an_optimizer_that_diverged_does_not_matter(suffix, tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    model.optimizer.variables[2].assign(np.full((4, 3), np.nan))
    with quiet():
        model.save(tmp_path / f"model{suffix}")
        again = kdzoo.load_model(tmp_path / f"model{suffix}")
        np.testing.assert_array_equal(again.get_weights()[0], model.get_weights()[0])
        model.layers[0].bias.assign([0, np.nan, 0])
        model.save(tmp_path / f"model{suffix}")
    assert_refused(tmp_path / f"model{suffix}", "NaN or infinity among its weights")


def test_the_newer_layout_of_hdf5_is_refused_with_a_remedy(good, tmp_path):
    with (
        h5py.File(tmp_path / "model.h5", "w", libver="latest") as file,
        h5py.File(good[0]) as usual,
    ):
        file.attrs.update(usual.attrs)
        usual.copy("model_weights", file)
    assert_refused(tmp_path / "model.h5", "save it anew, with h5py's usual libver")


def assert_refused(path, complaint, error=ValueError):
    with pytest.raises(error, match=r"^Expected ") as refused:
        kdzoo.load_model(path)
    said = str(refused.value)
    assert complaint in said
    assert str(path) in said
    assert "\n" not in said


def replaced(make):
    def change(file):
        del file[KERNEL]
        group, name = file["model_weights/first/first"], "kernel:0"
        make(group, name)

    return change


def _set_nan(file):
    file[KERNEL][0, 0] = np.nan


def _external(group, name):
    group.create_dataset(name, (4, 3), "float32", external=[("/etc/passwd", 0, 4096)])


ATTACKS = {
    "nan": (_set_nan, "NaN or infinity among its weights"),
    "soft": (replaced(lambda g, n: g.__setitem__(n, h5py.SoftLink("/x"))), "a link to elsewhere"),
    "linked": (
        replaced(lambda g, n: g.__setitem__(n, h5py.ExternalLink("/etc/passwd", "/x"))),
        "a link to elsewhere",
    ),
    "external": (replaced(_external), "compressed or lie elsewhere"),
    "compressed": (
        replaced(lambda g, n: g.create_dataset(n, data=np.zeros((4, 3)), compression="gzip")),
        "compressed or lie elsewhere",
    ),
    "gone": (replaced(lambda g, n: None), "no weights of 'first/kernel:0'"),
    "shape": (
        replaced(lambda g, n: g.create_dataset(n, data=np.zeros((3, 3), "float32"))),
        "a weight of the layer 'first', a Dense, of shape (3, 3) for 'sequential",
    ),
    "layer": (
        lambda file: file["model_weights"].attrs.__setitem__("layer_names", np.array([b"last"])),
        "no weights of the layer 'first'",
    ),
    "names": (
        lambda file: file["model_weights"].attrs.__setitem__("layer_names", 3.0),
        "no text in 'layer_names'",
    ),
    "config": (lambda file: file.attrs.__setitem__("model_config", "{"), "that is no JSON"),
    "number": (lambda file: file.attrs.__setitem__("model_config", 3), "no text in 'model_config'"),
    "no_model": (lambda file: file.attrs.__delitem__("model_config"), "so no model of Keras"),
    "deep": (
        lambda file: file.attrs.__setitem__("model_config", "[" * 9999),
        "lists within lists without end",
    ),
    "no_weights": (lambda file: file.__delitem__("model_weights"), "no model_weights in it"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_keras_does_not_write_is_refused(attack, good, tmp_path):
    change, complaint = ATTACKS[attack]
    path = copied(good, tmp_path / "model.h5")
    with h5py.File(path, "r+") as file:
        change(file)
    assert_refused(path, complaint)


def test_layers_beyond_the_weights_are_refused_before_they_are_made(good, tmp_path):
    def change(config):
        layers_of(config, "Dense")[0]["config"]["units"] = 10**9

    path = changed_config(copied(good, tmp_path / "model.h5"), change)
    assert_refused(path, "layers that are larger than the weights in the file")


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
def test_code_is_refused_and_does_not_run(suffix, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = tf_keras.Sequential(
        [
            layers.Input((4,)),
            layers.Lambda(lambda x: (x, __import__("os").mkdir("ran"))[0], name="hidden"),
            layers.Dense(2),
        ]
    )
    pathlib.Path("ran").rmdir()
    path = tmp_path / f"model{suffix}"
    with quiet():
        code.save(path)
    assert_refused(path, "'hidden', a Lambda, which runs code")
    assert not pathlib.Path("ran").exists()


@pytest.mark.parametrize("suffix", [".h5", ".keras"])
@pytest.mark.parametrize("name", ["StringLookup", "IntegerLookup", "TextVectorization"])
def test_a_layer_that_refers_to_a_file_is_refused(name, suffix, tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("1\n2\n")
    dtype = "int64" if name == "IntegerLookup" else "string"
    inputs = layers.Input((1,), dtype=dtype)
    made = tf_keras.Model(inputs, getattr(layers, name)(vocabulary=str(words), name="own")(inputs))
    path = tmp_path / f"model{suffix}"
    with quiet():
        made.save(path)
    words.unlink()
    assert_refused(path, f"'own', a {name}, which may open a file")


def test_an_operation_of_tensorflow_is_named(tmp_path):
    import tensorflow

    inputs = layers.Input((4,))
    made = tf_keras.Model(inputs, layers.Dense(2)(tensorflow.math.square(inputs)))
    written(made, tmp_path / "model.h5")
    assert_refused(tmp_path / "model.h5", "'tf.math.square', a TFOpLambda of 'math.square', which")


def test_a_layer_of_ones_own_is_named_and_opens_where_it_is_registered(tmp_path):
    @tf_keras.utils.register_keras_serializable("kdzoo_tests_of_files")
    class Doubled(layers.Layer):
        def call(self, inputs):
            return 2 * inputs

    made = tf_keras.Sequential([layers.Input((4,)), Doubled(name="own"), layers.Dense(2)])
    given, expected = written(made, tmp_path / "model.h5")
    assert_refused(tmp_path / "model.h5", "'own', a Doubled of ")

    @keras.saving.register_keras_serializable("kdzoo_tests_of_files", "Doubled")
    class OfKeras3(keras.layers.Layer):
        def call(self, inputs):
            return 2 * inputs

    OfKeras3.__name__ = "Doubled"
    model = kdzoo.load_model(tmp_path / "model.h5")
    np.testing.assert_allclose(model(given[0]), expected[0], rtol=1e-5, atol=1e-6)


def test_a_layer_that_was_never_registered_opens_within_a_scope(tmp_path):
    class Doubled(layers.Layer):
        def call(self, inputs):
            return 2 * inputs

    class OfKeras3(keras.layers.Layer):
        def call(self, inputs):
            return 2 * inputs

    OfKeras3.__name__ = "Doubled"
    made = tf_keras.Sequential([layers.Input((4,)), Doubled(name="own"), layers.Dense(2)])
    given, expected = written(made, tmp_path / "model.h5")
    assert_refused(tmp_path / "model.h5", "'own', a Doubled, which it does not have; ")
    with keras.saving.custom_object_scope({"Doubled": OfKeras3}):
        model = kdzoo.load_model(tmp_path / "model.h5")
    np.testing.assert_allclose(model(given[0]), expected[0], rtol=1e-5, atol=1e-6)


def test_weights_alone_say_what_to_do(good, tmp_path):
    model = kdzoo.load_model(good[0])
    tf_keras.models.load_model(good[0]).save_weights(tmp_path / "weights.h5")
    model.save_weights(tmp_path / "model.weights.h5")
    for name in ("weights.h5", "model.weights.h5"):
        assert_refused(tmp_path / name, "weights alone, without the layers; build the model")


def test_kernels_that_theano_turns_are_refused(good, tmp_path):
    shutil.copy(good[0], tmp_path / "old.h5")
    with h5py.File(tmp_path / "old.h5", "r+") as file:
        file.attrs["backend"] = file["model_weights"].attrs["backend"] = b"theano"
    assert_refused(tmp_path / "old.h5", "a model of Keras on Theano")


def test_files_of_keras_1_say_what_to_do(good, tmp_path):
    path = copied(good, tmp_path / "old.h5")
    with h5py.File(path, "r+") as file:
        file.attrs["keras_version"] = file["model_weights"].attrs["keras_version"] = b"1.2.2"
    assert_refused(path, "a model of Keras 1, whose layers have other arguments and weights; load")


def test_a_saved_model_says_what_to_do(tmp_path):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"")
    assert_refused(tmp_path / "saved", "`keras.layers.TFSMLayer`")


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("model.tflite", b"x", "open it with `kdzoo.export.LiteRTModel`"),
        ("model.safetensors", b"x", "call `kdzoo.zoo.load_weights`"),
        ("model.zip", b"PK\x03\x04", "name it `.keras`"),
        ("model.onnx", b"x", "only models of Keras are opened"),
        ("model.h5", b"", "which was refused"),
        ("model.keras", b"", "a .keras file of a model"),
    ],
)
def test_other_files_say_what_to_do(name, content, complaint, tmp_path):
    (tmp_path / name).write_bytes(content)
    assert_refused(tmp_path / name, complaint)


def test_what_is_not_there_is_not_found(tmp_path):
    assert_refused(tmp_path / "model.h5", "none there", FileNotFoundError)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"Expected config\.json"):
        kdzoo.load_model(tmp_path / "empty")


@pytest.mark.parametrize("path", [None, 3, ""])
def test_other_arguments_are_refused(path):
    with pytest.raises(ValueError, match=r"^Expected"):
        kdzoo.load_model(path)


@pytest.mark.parametrize("attribute", ["layer_names", "model_config"])
def test_texts_that_would_take_more_than_the_file_are_refused(attribute, good, tmp_path):
    """A thousand names that are one text of a megabyte, or one that says it is much longer."""
    path, long = copied(good, tmp_path / "model.h5"), 1_048_583
    is_one = attribute == "model_config"
    with h5py.File(path, "r+") as file:
        place = file if is_one else file["model_weights"]
        names = [b"x" * long, *(b"y%d" % number for number in range(999))]
        place.attrs[attribute] = names[0] if is_one else np.array(names, h5py.string_dtype())
    content = bytearray(path.read_bytes())
    start = content.find(long.to_bytes(4, "little"))
    if is_one:
        content[start + 3] = 0x7F
    else:
        content[start : start + 16_000] = content[start : start + 16] * 1000
    path.write_bytes(content)
    assert_refused(path, "texts in it that are larger than the file")


def test_a_damaged_heap_of_texts_is_refused_and_not_searched_without_end(good, tmp_path):
    path = copied(good, tmp_path / "model.h5")
    content = bytearray(path.read_bytes())
    start = content.find(b"GCOL") + 16
    content[start : start + 1000] = b"\xff" * 1000
    path.write_bytes(content)
    assert_refused(path, "a text in it that ")


def test_a_synchronized_batch_normalization_stays_one_where_keras_3_has_it(tmp_path):
    made = tf_keras.Sequential([layers.Input((4,)), layers.experimental.SyncBatchNormalization()])
    given, expected = written(randomize(made), tmp_path / "model.h5")
    model = kdzoo.load_model(tmp_path / "model.h5")
    assert model.layers[0].synchronized == (keras.backend.backend() == "tensorflow")
    np.testing.assert_allclose(model(given[0], training=False), expected[0], rtol=1e-5, atol=1e-6)
