"""The types of a file's inputs and outputs, beside that of its body."""

import copy
import json
import zipfile

import flatbuffers
import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

import kdzoo
from kdzoo.export import LiteRTModel, to_litert
from kdzoo.export.convert import file_io
from kdzoo.utils.litert.integers_inside import ranges_inside

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def data():
    """Images from the darkest pixel 0 to the brightest 1, and four token ids of a sample."""
    random = np.random.default_rng(1)
    images = random.random((64, 8, 8, 3), "float32")
    images[:, 0, 0], images[:, 0, 1] = 0.0, 1.0
    return {"image": images, "ids": random.integers(0, 10, (64, 4)).astype("int32")}


@pytest.fixture(scope="module")
def reports(data, tmp_path_factory):
    """Returns io -> the report of one int8 body with an image and ids, classes and a score."""
    keras.utils.set_random_seed(0)
    inputs = {
        "image": keras.Input((8, 8, 3), name="image"),
        "ids": keras.Input((4,), dtype="int32", name="ids"),
    }
    x = keras.layers.Flatten()(keras.layers.Conv2D(4, 3, activation="relu")(inputs["image"]))
    words = keras.layers.Flatten()(keras.layers.Embedding(10, 3)(inputs["ids"]))
    x = keras.layers.Concatenate()([x, words])
    outputs = {"classes": keras.layers.Dense(5)(x), "score": keras.layers.Dense(1)(x)}
    model, room = keras.Model(inputs, outputs), tmp_path_factory.mktemp("io")
    return {
        io: to_litert(model, room / f"{io}.tflite", "int8", data, min_agreement=0, io=io)
        for io in ("float32", "uint8", "int8")
    }


def run_by_hand(path, samples):
    """What a file gives, its integers made and read with NumPy by the scales that it says."""
    interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner()
    details, rows = (runner.get_input_details(), runner.get_output_details()), []
    for index in range(len(samples["ids"])):
        given = {}
        for name, detail in details[0].items():
            values, (scale, zero) = samples[name][index : index + 1], detail["quantization"]
            if scale and detail["dtype"] != np.int32:
                limits = np.iinfo(detail["dtype"])
                values = np.clip(np.rint(values / scale) + zero, limits.min, limits.max)
            given[name] = values.astype(detail["dtype"])
        row = runner(**given)
        for name, detail in details[1].items():
            scale, zero = detail["quantization"]
            row[name] = (row[name].astype("float32") - zero) * scale if scale else row[name]
        rows.append(row)
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


@pytest.mark.parametrize("io", ["float32", "uint8", "int8"])
def test_one_body_has_ends_of_any_type(io, reports, data):
    report = reports[io]
    dtypes = {info.name: info.dtype for info in (*report.inputs, *report.outputs)}
    assert dtypes == {"image": io, "ids": "int32", "classes": io, "score": io}
    with zipfile.ZipFile(report.path) as archive:
        metadata = json.loads(archive.read("metadata.json"))
    assert (report.io, metadata["io"], metadata["quantize"]) == (io, io, "int8")

    samples = {name: array[:8] for name, array in data.items()}
    found = run_by_hand(report.path, samples)
    others = run_by_hand(reports["int8"].path, samples)
    predicted = LiteRTModel(report.path).predict(samples)
    for name in found:
        np.testing.assert_allclose(found[name], others[name], rtol=1e-6)
        np.testing.assert_allclose(predicted[name], found[name], rtol=1e-6)


def test_pixels_go_into_uint8_as_they_are(reports):
    image = next(info for info in reports["uint8"].inputs if info.name == "image")
    assert (image.scale, image.zero_point) == (pytest.approx(1 / 255, rel=1e-6), 0)


@pytest.mark.parametrize("io", ["float32", "uint8", "int8"])
def test_ranges_are_known_whatever_the_type(io, reports, data):
    image, ids = sorted(reports[io].inputs, key=lambda info: info.name != "image")
    assert image.range == pytest.approx((0, 1), abs=1e-6)
    assert image.step == pytest.approx(1 / 255, rel=1e-6)
    assert (ids.range, ids.step) == (None, None)
    for info, other in zip(reports[io].outputs, reports["int8"].outputs, strict=True):
        assert info.step == other.scale
        assert info.range == pytest.approx(other.dequantize(np.array([-128, 127])))
    for output, other in zip(reports[io].outputs_verified, reports["int8"].outputs, strict=True):
        assert output.step == other.scale

    file, one = LiteRTModel(reports[io].path), {name: array[:1] for name, array in data.items()}
    with pytest.raises(ValueError, match=r"from about 0 to 1 for input 'image'.*by 255"):
        file.predict({**one, "image": 255 * one["image"]})
    with pytest.raises(ValueError, match="finite values for input 'image'"):
        file.predict({**one, "image": np.nan * one["image"]})
    with pytest.warns(UserWarning, match=r"from about 0 to 1 .*cut off"):
        file.predict({**one, "image": 5 * one["image"]})


def test_an_input_of_several_scales_has_the_range_of_all(reports):
    """As where a quantization-aware model has two branches from one input."""
    network = reports["float32"].path.read_bytes()
    model = schema.ModelT.InitFromPackedBuf(network, 0)
    [graph] = model.subgraphs
    floats = schema.TensorType.FLOAT32
    (image,) = (int(index) for index in graph.inputs if graph.tensors[index].type == floats)
    (quantize,) = (operator for operator in graph.operators if list(operator.inputs) == [image])
    other = copy.deepcopy(graph.tensors[quantize.outputs[0]])
    other.quantization.scale, other.quantization.zeroPoint = [0.5], [-100]
    graph.tensors.append(other)
    second = copy.copy(quantize)
    second.outputs = [len(graph.tensors) - 1]
    graph.operators.append(second)
    found = ranges_inside(packed(model))[0][image]
    assert found == pytest.approx((-14.0, 113.5, 1 / 255), rel=1e-5)
    second.opcodeIndex = next(op.opcodeIndex for op in graph.operators if len(op.inputs) > 1)
    assert image not in ranges_inside(packed(model))[0]


def packed(model):
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def test_the_default_is_floats_and_auto_the_type_of_the_body(student, images, tmp_path):
    path = tmp_path / "x.tflite"
    assert to_litert(student, path, "int8", images).io == "float32"
    report = to_litert(student, path, "int8", images, io="auto")
    assert {info.dtype for info in (*report.inputs, *report.outputs)} == {report.io} == {"int8"}
    for quantize in (None, "float16", "dynamic"):
        assert file_io("auto", quantize) == "float32"
    assert file_io("auto", "int8", ["conv"]) == "float32"


def test_floats_have_no_range(student, images, tmp_path):
    for quantize in (None, "dynamic"):
        report = to_litert(student, tmp_path / "x.tflite", quantize, images)
        ends = (*report.inputs, *report.outputs)
        assert {(info.dtype, info.range, info.step) for info in ends} == {("float32", None, None)}


def test_bytes_for_a_body_of_floats(images, tmp_path):
    """What the refusal of io="uint8" proposes."""
    inputs = keras.Input((8, 8, 3), dtype="uint8")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3)(x))
    pixels = np.rint(255 * images).astype("uint8")
    report = to_litert(model, tmp_path / "x.tflite", None, pixels)
    assert (report.inputs[0].dtype, report.outputs[0].dtype) == ("uint8", "float32")
    found = LiteRTModel(report.path).predict(pixels)
    np.testing.assert_allclose(found, model.predict(pixels, verbose=0), atol=1e-5)


def test_of_what_trains_a_student_the_student_is_exported(student, images, tmp_path):
    teacher = keras.models.clone_model(student)
    expected = student.predict(images[:4], verbose=0)
    for distiller in (
        kdzoo.Distiller(teacher, student, kdzoo.losses.SoftTargets(2.0)),
        keras.distillation.Distiller(teacher, student, keras.distillation.LogitsDistillation()),
    ):
        report = to_litert(distiller, tmp_path / "x.tflite", None, images)
        found = LiteRTModel(report.path).predict(images[:4])
        np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_an_input_of_other_floats_stays_what_it_is(dtype, tmp_path):
    inputs = keras.Input((4,), dtype=dtype)
    model = keras.Model(inputs, keras.layers.Dense(3)(inputs))
    x = np.random.default_rng(0).random((16, 4)).astype(dtype)
    report = to_litert(model, tmp_path / "model.tflite", representative_data=x)
    assert [info.dtype for info in report.inputs] == [dtype]
