"""Networks of several exits in one LiteRT file."""

import json
import zipfile

import flatbuffers
import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from keras import ops

import kdzoo
from kdzoo.dynamic import BudgetedClassifier, add_exits
from kdzoo.evaluation import latency
from kdzoo.export import DynamicRunner, LiteRTModel, to_litert
from kdzoo.utils import untrusted_files

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).uniform(size=(64, 16, 16, 3)).astype("float32")


@pytest.fixture(scope="module")
def classifier(images):
    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(16, 3, 2, "same", activation="relu", name="one")(inputs)
    x = layers.Conv2D(32, 3, 2, "same", activation="relu", name="two")(x)
    shortcut = x
    x = layers.Conv2D(32, 3, 1, "same", activation="relu", name="three")(x)
    x = layers.Add()([x, shortcut])
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(5, name="logits")(x))
    for weight in model.get_layer("logits").weights:
        weight.assign(40 * weight)
    exits = add_exits(model, at=["one", "two"])
    for name in ("exit1", "exit2"):
        for weight in exits.get_layer(name).weights:
            weight.assign(40 * weight)
    made = BudgetedClassifier(exits)
    labels = np.arange(len(images)) % 5  # All classes; the budget asks for no more of them.
    made.fit(images, labels, budget=float(np.mean(made.costs)))
    return made


@pytest.fixture(scope="module", params=[None, "int8"])
def report(request, classifier, images, tmp_path_factory):
    path = tmp_path_factory.mktemp("exits") / "exits.tflite"
    return to_litert(classifier, path, request.param, images, labels=list("abcde"))


def test_a_file_of_exits_stops_where_keras_stops(report, classifier, images):
    path, quantize = report.path, report.quantize
    assert [output.name for output in report.outputs_verified] == ["exit1", "exit2", "exit3"]
    runner = DynamicRunner(path)
    assert runner.thresholds == classifier.thresholds
    assert runner.labels == list("abcde")
    found, expected = runner.predict(images), classifier.predict(images)
    if quantize is None:
        assert report.max_abs_difference < 1e-4
        assert np.array_equal(found.exits, expected.exits)
        np.testing.assert_allclose(found.logits, expected.logits, atol=1e-4)
        assert set(found.exits) == {1, 2, 3}
    else:
        assert (found.exits == expected.exits).mean() > 0.8
        assert report.inputs[0].dtype == "float32"
    assert (found.milliseconds > 0).all()
    assert (DynamicRunner(path, thresholds=[0, 0]).predict(images).exits == 1).all()
    assert (DynamicRunner(path, thresholds=[2, 2]).predict(images).exits == 3).all()


def test_samples_of_a_batch_stop_one_by_one(classifier, images, tmp_path):
    to_litert(classifier, tmp_path / "exits.tflite", batch_size=5)
    found = DynamicRunner(tmp_path / "exits.tflite").predict(images)
    expected = classifier.predict(images)
    assert np.array_equal(found.exits, expected.exits)
    np.testing.assert_allclose(found.logits, expected.logits, atol=1e-4)


def test_mixed_precision_is_written_in_float32(tmp_path):
    keras.utils.set_random_seed(0)
    policy = keras.dtype_policies.DTypePolicy("mixed_bfloat16")
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(6, "relu", name="one", dtype=policy),
            keras.layers.Dense(6, "relu", name="two", dtype=policy),
            keras.layers.Dense(3, name="logits", dtype="float32"),
        ]
    )
    classifier = BudgetedClassifier(add_exits(model, at=["one"]))
    classifier.thresholds = [0.4]
    report = to_litert(classifier, tmp_path / "exits.tflite")
    assert report.max_abs_difference < 1e-4
    runner = DynamicRunner(tmp_path / "exits.tflite")
    assert runner.predict(np.ones((3, 4), "float32")).logits.shape == (3, 3)


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_exits_cost_few_bytes(quantize, tmp_path):
    """At most a twentieth of the network alone, whose file holds its weights at least."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 4, 128))
    x = keras.layers.Conv2D(128, 3, padding="same", activation="relu", name="one")(inputs)
    x = keras.layers.Conv2D(128, 3, padding="same", activation="relu", name="two")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(5)(x))
    images = np.random.default_rng(0).random((8, 4, 4, 128), "float32")
    exits = BudgetedClassifier(add_exits(model, at=["one"]))
    report = to_litert(exits, tmp_path / "e.tflite", quantize, images, min_agreement=0)
    kernels, biases = 2 * 9 * 128 * 128 + 128 * 5, 2 * 128 + 5
    assert report.bytes <= 1.05 * ((4 if quantize is None else 1) * kernels + 4 * biases)


def _late_inputs():
    """Two inputs and a feature that later exits take, not the first or the second."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    image, meta = keras.Input((6, 6, 2), name="image"), keras.Input((3,), name="meta")
    first = layers.Conv2D(4, 3, activation="relu", name="first")(image)
    early = layers.Dropout(0.5)(layers.Dense(4, "relu", name="early")(layers.Flatten()(first)))
    second = layers.Dense(5, "relu", name="second")(early)
    third = layers.Concatenate()([layers.Dense(6, "relu")(second), early, meta])
    third = layers.Dense(6, "relu", name="third")(third)
    last = layers.Concatenate()([third, layers.Flatten()(image)])
    exits = [layers.Dense(3, name=f"exit{n}")(x) for n, x in enumerate((early, second, third), 1)]
    return keras.Model([image, meta], [*exits, layers.Dense(3, name="logits")(last)])


@pytest.mark.parametrize(
    ("quantize", "io"), [(None, "float32"), ("int8", "float32"), ("int8", "int8")]
)
def test_what_a_part_does_not_need_goes_round_it(quantize, io, tmp_path):
    model, random = _late_inputs(), np.random.default_rng(0)
    data = [random.random((60, 6, 6, 2), "float32"), random.random((60, 3), "float32")]
    path = tmp_path / "exits.tflite"
    to_litert(BudgetedClassifier(model), path, quantize, data, io=io, min_agreement=0.8)
    taken, given = {}, {}
    for name in ("exit1", "exit2", "exit3", "exit4"):
        part = LiteRTModel(path, signature=name)
        taken[name] = {info.name for info in part.inputs}
        given[name] = {info.name for info in part.outputs} - {"logits"}
    assert taken["exit1"] == {"image"}
    assert taken["exit2"] == given["exit1"]
    assert not given["exit1"] & given["exit2"]
    assert taken["exit3"] == {"meta"} | given["exit1"] | given["exit2"]
    assert taken["exit4"] == {"image"} | given["exit3"]
    runner = DynamicRunner(path, thresholds=[2, 2, 2])
    assert [(info.name, info.dtype) for info in runner.inputs] == [("image", io), ("meta", io)]
    found = runner.logits_of_exits({"image": data[0], "meta": data[1]})
    for logits, expected in zip(found, map(ops.convert_to_numpy, model(data)), strict=True):
        differences = np.abs(logits - expected)
        if quantize is None:
            assert differences.max() < 1e-5
        else:  # Samples that it was not calibrated with are cut off.
            assert np.quantile(differences, 0.9) < 0.01 * np.ptp(expected)


@pytest.mark.large
@pytest.mark.parametrize("quantize", [None, "int8"])
def test_exits_of_a_residual_network_cost_few_bytes(quantize, tmp_path):
    model = kdzoo.create("resnet_20", 10, (32, 32, 3))
    images = np.random.default_rng(0).random((16, 32, 32, 3), "float32")
    alone = to_litert(model, tmp_path / "alone.tflite", quantize, images, min_agreement=0)
    exits = BudgetedClassifier(add_exits(model, at=["stage1", "stage2"], heads="convolved"))
    report = to_litert(exits, tmp_path / "exits.tflite", quantize, images, min_agreement=0)
    assert report.bytes <= 1.05 * alone.bytes


@pytest.mark.large
def test_signatures_of_a_foreign_network_give_what_keras_gives(tmp_path):
    keras.utils.set_random_seed(0)
    options = {"alpha": 0.35, "weights": None, "classes": 7, "classifier_activation": None}
    model = keras.applications.MobileNetV2((64, 64, 3), **options)
    images = np.random.default_rng(0).random((4, 64, 64, 3), "float32")
    exits = add_exits(model, at=["block_5_add", "block_12_add"])
    to_litert(BudgetedClassifier(exits), tmp_path / "exits.tflite")
    runner = DynamicRunner(tmp_path / "exits.tflite", thresholds=[1, 1])
    for found, expected in zip(runner.logits_of_exits(images), exits(images), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def _last_exit_alone(classifier):
    """The network without its first exits."""
    carried = classifier.parts[0].input
    for part in classifier.parts:
        logits, *carried = keras.tree.flatten(part(carried))
        carried = carried[0] if len(carried) == 1 else carried
    return keras.Model(classifier.parts[0].input, logits)


def test_values_that_integers_do_not_hold(report, images):
    """Floats go in: the range is that of the integers that the first operator makes of them."""
    runner = DynamicRunner(report.path)
    if report.quantize is None:
        assert runner.inputs[0].range is None
        assert runner.predict(255 * images[:2]).logits.shape == (2, 5)
        return
    assert runner.inputs[0].range == pytest.approx((0, 1), abs=0.01)
    assert all(info.step > 0 for info in (*runner.outputs, *report.outputs))
    with pytest.raises(ValueError, match=r"from about 0 to 1 for input .*by 255"):
        runner.predict(255 * images[:2])
    with pytest.raises(ValueError, match=r"from about 0 to 1 for input .*by 255"):
        runner.logits_of_exits(255 * images[:2])
    with pytest.warns(UserWarning, match="cut off") as caught:
        runner.predict(4 * images[:2])
    assert caught[0].filename == __file__


def test_the_file_is_read_once(report, monkeypatch):
    opened, usual = [], untrusted_files.open_regular
    monkeypatch.setattr(
        untrusted_files, "open_regular", lambda *given: (opened.append(given), usual(*given))[1]
    )
    assert DynamicRunner(report.path).thresholds
    assert len(opened) == 1


def test_each_exit_is_timed_and_run_alone(report, images):
    runner, first = DynamicRunner(report.path), LiteRTModel(report.path, signature="exit1")
    found = first.predict(images[:3])
    np.testing.assert_allclose(found["logits"], runner.logits_of_exits(images[:3])[0], atol=1e-6)
    following = first.with_signature("exit2")
    assert [info.shape for info in following.inputs] == [(1, 8, 8, 16)]
    for name in ("exit1", "exit2", "exit3"):
        assert latency(report.path, runs=2, warmup=0, signature=name).median_ms > 0


def _split(path):
    """The network of a file, and what its `metadata.json` says."""
    with zipfile.ZipFile(path) as archive:
        end = min(member.header_offset for member in archive.infolist())
        return path.read_bytes()[:end], json.loads(archive.read("metadata.json"))


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"thresholds": ["a", 0.5]}, r"exits\.tflite' with thresholds that can be used"),
        ({"thresholds": [float("nan"), 0.5]}, "Expected thresholds of at least 0"),
        ({"thresholds": [-1, 0.5]}, "Expected thresholds of at least 0"),
        ({"thresholds": [True, 0.5]}, "Expected thresholds of at least 0"),
        ({"thresholds": [0.5]}, "Expected 2 thresholds"),
        ({"thresholds": {"exit1": 0.5, "exit2": 0.5}}, "Expected 2 thresholds"),
        ({"thresholds": [0.5, 0.5], "confidence": "sure"}, "with a known measure"),
        ({"thresholds": [0.5, 0.5], "confidence": ["entropy"]}, "with a known measure"),
        ({}, "a file without them"),
        ([0.5, 0.5], "a file without them"),
        (None, "a file without them"),
    ],
    ids=str,
)
def test_what_a_file_says_of_its_exits_is_checked(said, complaint, report, images, tmp_path):
    network, told = _split(report.path)
    path = tmp_path / "exits.tflite"
    path.write_bytes(network)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("metadata.json", json.dumps({**told, "labels": None, "exits": said}))
    with pytest.raises(ValueError, match=complaint):
        DynamicRunner(path)
    runner = DynamicRunner(path, thresholds=[0.5, 10**400], confidence="margin")
    assert runner.thresholds == [0.5, np.inf]
    assert runner.predict(images[:1]).logits.shape == (1, 5)


def _without(model):
    model.signatureDefs = []


def _swapped(model):
    first, second, _ = model.signatureDefs
    first.signatureKey, second.signatureKey = second.signatureKey, first.signatureKey


def _renamed(model):
    model.signatureDefs[1].inputs[0].name = b"image"


def _beyond(model):
    model.signatureDefs[0].outputs[0].tensorIndex = 9999


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (_without, "of several exits"),
        (_swapped, "signatures that go on from each other"),
        (_renamed, "signatures that go on from each other"),
        (_beyond, "the interpreter refused: Invalid tensor index 9999"),
    ],
)
def test_other_signatures_are_refused(change, complaint, classifier, tmp_path):
    to_litert(classifier, tmp_path / "right.tflite")
    network, _ = _split(tmp_path / "right.tflite")
    model = schema.ModelT.InitFromPackedBuf(network, 0)
    change(model)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    path = tmp_path / "exits.tflite"
    path.write_bytes(bytes(builder.Output()))
    with pytest.raises(ValueError, match=complaint):
        DynamicRunner(path, thresholds=[0.5, 0.5])


def test_wrong_files_and_arguments(classifier, images, tmp_path):
    path = tmp_path / "exits.tflite"
    plain = _last_exit_alone(classifier)
    to_litert(plain, path)
    with pytest.raises(ValueError, match="of several exits"):
        DynamicRunner(path)
    without = BudgetedClassifier(_two_exits())
    to_litert(without, path)
    with pytest.raises(ValueError, match="call `fit`"):
        DynamicRunner(path)
    assert DynamicRunner(path, thresholds=[0.5]).confidence == "max_probability"
    with pytest.raises(ValueError, match="1 thresholds"):
        DynamicRunner(path, thresholds=[0.5, 0.5])
    with pytest.raises(ValueError, match="sparse"):
        to_litert(without, path, sparse=True)
    with pytest.raises(ValueError, match=r"shape \(samples, 4\)"):
        DynamicRunner(path, thresholds=[0.5]).predict(np.zeros((2, 5)))


def _two_exits():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(3, "relu", name="one"),
            keras.layers.Dense(2, name="logits"),
        ]
    )
    return add_exits(model, at=["one"])
