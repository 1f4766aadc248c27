"""The `.keras` files that people have: whole ones load, attacks are refused before Keras is."""

import io
import json
import os
import pathlib
import re
import threading
import tracemalloc
import warnings
import zipfile

import h5py
import keras
import numpy as np
import pytest

import kdzoo
from kdzoo.zoo import files
from kdzoo.zoo.files import load_keras_file

FILES = pathlib.Path(__file__).parents[1] / "compatibility" / "files"
CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "student.keras"
    model = kdzoo.create("mlp_2x64", 3, (4, 4, 1))
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    model.save(path)
    return path


def members(path):
    """Name -> content of a file's members."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(path, parts, compression=zipfile.ZIP_STORED):
    """Writes members, a dictionary or pairs, as a `.keras` file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of names that are there twice.
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, content in getattr(parts, "items", lambda: parts)():
                archive.writestr(name, content)
    return path


def with_config(good, path, change):
    parts = members(good)
    config = json.loads(parts[CONFIG])
    change(config)
    return packed(path, {**parts, CONFIG: json.dumps(config)})


def with_weights(good, path, change):
    parts = members(good)
    file = io.BytesIO(parts[WEIGHTS])
    with h5py.File(file, "r+") as opened:
        change(opened)
    return packed(path, {**parts, WEIGHTS: file.getvalue()})


def first_kernel(file):
    return file["layers/dense/vars/0"]


def replaced(make):
    """A change of the first kernel: removed, and what `make` puts there with its group and name."""

    def change(file):
        group = file["layers/dense/vars"]
        del group["0"]
        make(group, "0")

    return change


def set_nan(file):
    first_kernel(file)[0, 0] = np.nan


def set_units(config):
    for layer in config["config"]["layers"]:
        if layer["class_name"] == "Dense":
            layer["config"]["units"] = 10**9


def external(group, name):
    group.create_dataset(name, (16, 64), "float32", external=[("/etc/passwd", 0, 4096)])


def unfilled(group, name):
    group.create_dataset(name, (1 << 20, 1 << 20), "float32", chunks=(64, 64), compression="gzip")


def virtual(group, name):
    layout = h5py.VirtualLayout((16, 64), "float32")
    layout[:] = h5py.VirtualSource("elsewhere.h5", "x", (16, 64))
    group.create_virtual_dataset(name, layout)


WEIGHTS_ATTACKS = {
    "nan": (set_nan, "NaN or infinity among its weights, at '/layers/dense/vars/0'"),
    "soft": (replaced(lambda g, n: g.__setitem__(n, h5py.SoftLink("/x"))), "a link to elsewhere"),
    "linked": (
        replaced(lambda g, n: g.__setitem__(n, h5py.ExternalLink("/etc/passwd", "/x"))),
        "a link to elsewhere",
    ),
    "external": (replaced(external), "compressed or lie elsewhere"),
    "unfilled": (replaced(unfilled), "larger than the file"),
    "compressed": (
        replaced(lambda g, n: g.create_dataset(n, data=np.zeros((16, 64)), compression="gzip")),
        "compressed or lie elsewhere",
    ),
    "virtual": (replaced(virtual), "compressed or lie elsewhere"),
    "twice": (lambda file: file.__setitem__("again", first_kernel(file)), "under two names"),
    "round": (lambda file: file.__setitem__("layers/dense/x", file["layers"]), "under two names"),
    "text": (replaced(lambda g, n: g.create_dataset(n, data="text")), "not numbers"),
    "shape": (
        replaced(lambda g, n: g.create_dataset(n, data=np.zeros((3, 3), "float32"))),
        "which Keras refused: A total of 1 objects could not be loaded",
    ),
    "gone": (replaced(lambda g, n: None), "which Keras refused: A total of 1 objects"),
}


@pytest.mark.parametrize("attack", WEIGHTS_ATTACKS)
def test_weights_that_are_not_the_models_own_are_refused(attack, good, tmp_path):
    change, complaint = WEIGHTS_ATTACKS[attack]
    assert_refused(with_weights(good, tmp_path / "model.keras", change), complaint)


def assert_refused(path, complaint):
    """The file is refused in one sentence that names it, in little memory."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"Expected a \.keras file") as refused:
            load_keras_file(path)
        assert tracemalloc.get_traced_memory()[1] < (100 << 20) + 2 * path.stat().st_size
    finally:
        tracemalloc.stop()
    said = str(refused.value)
    assert complaint in said
    assert str(path) in said
    assert "\n" not in said
    return said


def nested(levels):
    return '{"class_name": "Functional", "config": ' + "[" * levels + "]" * levels + "}"


def zeros(megabytes):
    return bytes(megabytes << 20)


MEMBERS = {
    "no_weights": (lambda parts: {CONFIG: parts[CONFIG]}, "no model.weights.h5 in it"),
    "no_config": (lambda parts: {WEIGHTS: parts[WEIGHTS]}, "no config.json in it"),
    "further": (lambda parts: {**parts, "run.py": b""}, "'run.py' in it, which Keras does not"),
    "outside": (lambda parts: {**parts, "assets/../../x": b""}, "which Keras does not write"),
    "absolute": (lambda parts: {**parts, "/x": b""}, "which Keras does not write"),
    "twice": (lambda parts: [*parts.items(), (CONFIG, b"{}")], "two members of one name"),
    "no_json": (lambda parts: {**parts, CONFIG: b"{"}, "a config.json that is no JSON"),
    "no_text": (lambda parts: {**parts, CONFIG: b"\xff"}, "a config.json that is no JSON"),
    "no_model": (lambda parts: {**parts, CONFIG: b"[]"}, "a config.json of no model"),
    "deep": (lambda parts: {**parts, CONFIG: nested(100_000)}, "lists within lists without end"),
    "rather_deep": (lambda parts: {**parts, CONFIG: nested(500)}, "lists within lists"),
    "many": (
        lambda parts: {**parts, CONFIG: b"[" + b"[]," * 2_000_000},
        "more values than are opened",
    ),
    "long": (lambda parts: {**parts, CONFIG: b" " * (33 << 20)}, "a config.json of 34,603,008 by"),
    "huge_number": (
        lambda parts: {**parts, CONFIG: b'{"class_name": "x", "config": %d}' % 10**40},
        "a number in config.json beyond",
    ),
    "no_hdf5": (lambda parts: {**parts, WEIGHTS: b"nothing"}, "Unable to synchronously open"),
}


@pytest.mark.parametrize("attack", MEMBERS)
def test_members_that_keras_does_not_write_are_refused(attack, good, tmp_path):
    change, complaint = MEMBERS[attack]
    assert_refused(packed(tmp_path / "model.keras", change(members(good))), complaint)


@pytest.mark.parametrize("member", [CONFIG, WEIGHTS])
def test_what_inflates_is_refused_before_it_does(member, good, tmp_path):
    parts = {**members(good), member: zeros(256)}
    path = packed(tmp_path / "model.keras", parts, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 20
    assert_refused(path, "compressed or encrypted, as Keras does not write it")


def test_a_member_that_says_it_is_larger_is_refused(good, tmp_path):
    content = bytearray(good.read_bytes())
    place = content.rfind(b"PK\x01\x02")  # The last in the list of members: the weights.
    content[place + 20 : place + 28] = (0xF0000000).to_bytes(4, "little") * 2
    (tmp_path / "model.keras").write_bytes(content)
    assert_refused(tmp_path / "model.keras", "members that are larger than the file")


@pytest.mark.parametrize("place", [0.3, 0.6, 0.9])
def test_a_flipped_bit_is_found_by_the_checksum(place, good, tmp_path):
    content = bytearray(good.read_bytes())
    content[int(place * len(content))] ^= 4
    (tmp_path / "model.keras").write_bytes(content)
    assert_refused(tmp_path / "model.keras", "Bad CRC-32")


@pytest.mark.parametrize("fraction", [0, 0.5, 0.99])
def test_a_cut_file_is_refused(fraction, good, tmp_path):
    content = good.read_bytes()
    (tmp_path / "model.keras").write_bytes(content[: int(fraction * len(content))])
    assert_refused(tmp_path / "model.keras", "not a zip file")


def test_layers_beyond_the_weights_are_refused_before_they_are_made(good, tmp_path):
    path = with_config(good, tmp_path / "model.keras", set_units)
    assert_refused(path, "layers that are larger than the weights in the file")


def test_several_layers_beyond_the_weights_are_refused(good, tmp_path):
    parts = members(good)
    # 1.6 GB between two of them; not where 64 is a part of another number, such as a random one.
    wide = re.sub(rb"(?<![\d.])64(?!\d)", b"20000", parts[CONFIG])
    path = packed(tmp_path / "model.keras", {**parts, CONFIG: wide})
    assert_refused(path, "layers that are larger than the weights in the file")


def test_code_is_refused_even_where_keras_was_told_to_run_it(tmp_path, monkeypatch):
    from keras.src.backend.common import global_state

    monkeypatch.chdir(tmp_path)
    ran = pathlib.Path("ran")
    layer = keras.layers.Lambda(lambda x: (x, __import__("os").mkdir("ran"))[0], (2,))
    model = keras.Sequential([keras.Input((2,)), layer, keras.layers.Dense(1)])
    model.save(tmp_path / "model.keras")
    keras.config.enable_unsafe_deserialization()
    try:
        said = assert_refused(tmp_path / "model.keras", "which Keras refused: ")
    finally:
        global_state.set_global_attribute("safe_mode_saving", None)
    assert not ran.exists()
    assert "safe_mode" not in said
    assert said.count(". ") == 1  # Behind "a .keras file of a model".


@pytest.mark.parametrize("file", ["pipe", "directory", "dangling", "itself"])
def test_only_regular_files_are_opened(file, tmp_path):
    path = tmp_path / "model.keras"
    if file == "pipe":
        os.mkfifo(path)
    elif file == "directory":
        path.mkdir()
    else:
        path.symlink_to(path if file == "itself" else tmp_path / "nowhere")
    with pytest.raises((ValueError, OSError), match=r"model\.keras") as refused:
        load_keras_file(path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("path", ["model.h5", "model", None, 3, ""])
def test_other_paths_are_refused(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"^Expected"):
        load_keras_file(path)


def test_what_is_whole_loads_to_the_same_outputs_without_its_optimizer(good):
    x = np.random.default_rng(0).random((2, 4, 4, 1), "float32")
    model = load_keras_file(good)
    assert not model.compiled
    expected = keras.saving.load_model(good)(x)
    np.testing.assert_array_equal(model(x), expected)


def test_every_type_of_weight_loads(tmp_path):
    for dtype in ("bfloat16", "float16", "mixed_bfloat16"):
        layers = [keras.Input((4,)), keras.layers.Dense(3, dtype=dtype)]
        model = keras.Sequential([*layers, keras.layers.Dropout(0.5)])
        model.save(tmp_path / "model.keras")
        again = load_keras_file(tmp_path / "model.keras")
        for loaded, saved in zip(again.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(loaded, saved)


def test_a_weight_of_bfloat16_that_is_not_finite_is_refused(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, dtype="bfloat16")])
    model.layers[0].bias.assign([0, np.inf, 0])
    model.save(tmp_path / "model.keras")
    assert_refused(tmp_path / "model.keras", "NaN or infinity")


def test_a_weight_that_begins_with_infinity_loads(tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization()])
    model.layers[0].moving_mean.assign(np.full(4, np.inf))
    model.save(tmp_path / "model.keras")
    again = load_keras_file(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.layers[0].moving_mean, np.full(4, np.inf))


@pytest.mark.parametrize("bad", [[np.inf, np.nan, np.inf, np.inf], [np.nan] * 4, [1, np.inf, 2, 3]])
def test_a_weight_of_some_infinities_or_of_nan_is_refused(bad, tmp_path):
    model = keras.Sequential([keras.Input((4,)), keras.layers.BatchNormalization()])
    model.layers[0].moving_mean.assign(bad)
    model.save(tmp_path / "model.keras")
    assert_refused(tmp_path / "model.keras", "NaN or infinity")


def test_a_contrastive_distiller_that_was_not_trained_loads(tmp_path):
    teacher, student = (kdzoo.create("mlp_2x64", 3, (4, 4, 1)) for _ in "ab")
    loss = kdzoo.losses.ContrastiveRepresentation(
        10, teacher.layers[-2].name, student.layers[-2].name, 4, negatives=3
    )
    distiller = kdzoo.Distiller(teacher, student, [loss])
    distiller.save(tmp_path / "model.keras")
    assert load_keras_file(tmp_path / "model.keras").count_params()


def test_layers_of_which_keras_builds_copies_load(tmp_path):
    """Of 1.2 MB here, without any room beside what the weights take."""
    layer = keras.layers.Bidirectional(keras.layers.LSTM(128))
    model = keras.Sequential([keras.Input((2, 128)), layer])
    model.save(tmp_path / "model.keras")
    x = np.random.default_rng(0).random((2, 2, 128), "float32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "_SPARE", 0)
        again = load_keras_file(tmp_path / "model.keras")
    np.testing.assert_allclose(again(x), model(x), atol=1e-6)


@keras.saving.register_keras_serializable("tests")
class Unsaved(keras.layers.Layer):
    """A layer that leaves one of its weights out of the file."""

    def build(self, shape):
        self.kept = self.add_weight(name="kept", shape=(3,), initializer="random_normal")
        self.first = self.add_weight(name="first", shape=(3,), initializer="random_normal")

    def call(self, x):
        return x + self.first

    def save_own_variables(self, store):
        store["0"] = self.kept.numpy()

    def load_own_variables(self, store):
        self.kept.assign(store["0"])


def test_what_a_file_leaves_out_is_drawn(tmp_path):
    model = keras.Sequential([keras.Input((3,)), Unsaved()])
    model.save(tmp_path / "model.keras")
    again = load_keras_file(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.layers[0].kept, model.layers[0].kept)
    assert np.std(again.layers[0].first) > 0


def test_loads_that_overlap_leave_nothing_behind():
    """The one that began first ends first."""
    usual = keras.Variable._initialize_with_initializer
    first, second = files._bounded_variables(8), files._bounded_variables(8)
    begun, ended = threading.Event(), threading.Event()

    def load():
        with second:
            begun.set()
            ended.wait(60)
            with pytest.raises(ValueError, match="larger than the weights"):
                keras.Variable("zeros", (100,))

    other = threading.Thread(target=load)
    with first:
        other.start()
        begun.wait(60)
    keras.Variable("zeros", (100,))
    ended.set()
    other.join()
    keras.Variable("zeros", (100,))
    assert keras.Variable._initialize_with_initializer is usual


def test_variables_of_other_threads_are_not_counted(good, monkeypatch):
    monkeypatch.setattr(files, "_SPARE", 0)
    usual = keras.Variable._initialize_with_initializer
    with files._bounded_variables(8):
        other = threading.Thread(target=lambda: keras.Variable("zeros", (100,)))
        other.start()
        other.join()
        with pytest.raises(ValueError, match="larger than the weights"):
            keras.Variable("zeros", (100,))
    assert keras.Variable._initialize_with_initializer is usual
    assert load_keras_file(good).count_params()


@pytest.mark.parametrize("name", ["distiller_several", "distiller_contrastive_representation"])
def test_files_of_today_load_to_the_same_outputs(name):
    assert_gives_the_same(name)


@pytest.mark.tensorflow
@pytest.mark.parametrize("name", ["pruned", "clustered", "quantized", "quantized_layer"])
def test_compressed_files_of_today_load_to_the_same_outputs(name):
    assert_gives_the_same(name)


def assert_gives_the_same(name):
    kept = np.load(FILES / f"{name}.npz")
    outputs = load_keras_file(FILES / f"{name}.keras")(kept["inputs"], training=False)
    outputs = keras.ops.convert_to_numpy(outputs)
    np.testing.assert_allclose(outputs, kept["outputs"], rtol=1e-5, atol=2e-6)


def test_a_distiller_with_the_labels_of_imagenet_loads(tmp_path):
    """Its loss has them in its configuration."""
    labels = np.arange(1_281_167) % 1000
    loss = kdzoo.losses.ContrastiveRepresentation(labels, None, None, dimensions=1, negatives=1)
    teacher, student = (
        keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)], name=name)
        for name in ("teacher", "student")
    )
    kdzoo.Distiller(teacher, student, loss).save(tmp_path / "distiller.keras")
    loaded = load_keras_file(tmp_path / "distiller.keras")
    assert loaded.distillation_losses[0].examples == len(labels)
