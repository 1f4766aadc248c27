"""Files that agree with Keras for every value of `quantize`; of refused models no file is left."""

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from kdzoo.export import LiteRTModel, forms, to_litert
from kdzoo.export.samples import draw_samples
from kdzoo.export.signature import input_specs

pytestmark = pytest.mark.tensorflow

QUANTIZE = [None, "float16", "dynamic", "int8"]


def operators(path):
    """Returns the operator codes and custom names in the flatbuffer at `path`."""
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0)
    return [
        (max(op.builtinCode, op.deprecatedBuiltinCode), op.customCode) for op in model.operatorCodes
    ]


@pytest.mark.parametrize("quantize", QUANTIZE)
def test_file_agrees_with_keras_on_builtin_operators(quantize, student, images, tmp_path):
    path = tmp_path / "new folder" / "student.tflite"
    report = to_litert(student, path, quantize, images)

    assert report.path == path
    assert report.bytes == path.stat().st_size
    assert report.quantize == quantize
    halves = (60, 60) if quantize == "int8" else (120, 0)
    assert (report.samples, report.calibration_samples) == halves
    assert report.verified_on == "representative_data"
    expected = student.predict(images, verbose=0)
    received = LiteRTModel(path).predict(images)
    assert received.dtype == np.float32
    others = slice(1, None, 2) if quantize == "int8" else slice(None)
    differences = np.abs(received - expected)[others]
    assert report.max_abs_difference == pytest.approx(differences.max(), abs=1e-5)
    agreement = np.mean((received.argmax(-1) == expected.argmax(-1))[others])
    assert report.argmax_agreement == pytest.approx(agreement, abs=0.02)
    (output,) = report.outputs_verified
    assert (output.name, output.output_type) == ("logits", "classes")
    assert output.agreement == report.argmax_agreement
    assert output.step == report.outputs[0].step
    if quantize is None:
        np.testing.assert_allclose(received, expected, rtol=0, atol=1e-4)

    found = operators(path)
    assert found
    assert all(custom is None for _, custom in found)
    assert schema.BuiltinOperator.CUSTOM not in [code for code, _ in found]
    (image,), (logits,) = report.inputs, report.outputs
    assert (image.name, image.shape) == ("input", (1, 8, 8, 3))
    assert (logits.name, logits.shape) == ("logits", (1, 5))


def test_int8_is_integer_throughout_and_takes_pixel_bytes(student, images, tmp_path):
    report = to_litert(student, tmp_path / "student.tflite", "int8", images, io="int8")

    (image,), (logits,) = report.inputs, report.outputs
    assert image.dtype == logits.dtype == "int8"
    assert image.scale == pytest.approx(1 / 255, rel=1e-3)
    assert image.zero_point == -128
    model = schema.ModelT.InitFromPackedBuf(report.path.read_bytes(), 0)
    types = {tensor.type for tensor in model.subgraphs[0].tensors}
    assert types <= {schema.TensorType.INT8, schema.TensorType.INT32}


def test_raw_pixels_are_a_warning(student, images, tmp_path):
    with pytest.warns(UserWarning, match=r"raw pixels.*by 255.*check_images=False"):
        to_litert(student, tmp_path / "student.tflite", "int8", images * 255)


def test_quantized_files_of_a_larger_net_are_smaller(tmp_path):
    inputs = keras.Input((64,))
    x = keras.layers.Dense(256, activation="relu")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(10)(x))
    data = np.random.default_rng(0).random((100, 64), "float32")
    sizes = [to_litert(model, tmp_path / f"{name}.tflite", name, data).bytes for name in QUANTIZE]
    assert sizes[1] < 0.6 * sizes[0]
    assert sizes[2] < 0.35 * sizes[0]
    assert sizes[3] < 0.35 * sizes[0]


@pytest.mark.parametrize("quantize", [None, "float16"])
def test_zeros_need_not_be_stored(quantize, tmp_path):
    model = keras.Sequential([keras.Input((200,)), keras.layers.Dense(300, name="logits")])
    kernel, bias = model.get_weights()
    kernel[np.random.default_rng(0).random(kernel.shape) < 0.9] = 0
    model.set_weights([kernel, bias])
    data = np.random.default_rng(1).random((64, 200), "float32")
    dense, sparse = (
        to_litert(model, tmp_path / f"{sparse}.tflite", quantize, data, sparse=sparse)
        for sparse in (False, True)
    )
    assert sparse.bytes < 0.5 * dense.bytes
    outputs = [LiteRTModel(report.path).predict(data) for report in (dense, sparse)]
    np.testing.assert_allclose(*outputs, atol=1e-5)


@pytest.mark.parametrize("quantize", ["dynamic", "int8"])
def test_sparse_integers_are_refused(quantize, student, images, tmp_path):
    with pytest.raises(ValueError, match=r"sparse=True.*quantize='(dynamic|int8)'"):
        to_litert(student, tmp_path / "student.tflite", quantize, images, sparse=True)
    assert not list(tmp_path.iterdir())


def test_without_data_it_verifies_on_random_samples_and_says_so(student, tmp_path):
    report = to_litert(student, tmp_path / "student.tflite", samples=10)
    assert (report.verified_on, report.samples) == ("random samples", 10)


def test_another_batch_size(student, images, tmp_path):
    report = to_litert(student, tmp_path / "student.tflite", "int8", images, batch_size=7)
    assert report.inputs[0].shape == (7, 8, 8, 3)
    assert LiteRTModel(report.path).predict(images[:10]).shape == (10, 5)


def test_several_inputs_and_outputs_keep_their_names(tmp_path):
    image, extra = keras.Input((8, 8, 1), name="zoom"), keras.Input((4,), name="age")
    x = keras.layers.Flatten()(keras.layers.Conv2D(4, 3)(image))
    x = keras.layers.Concatenate()([x, extra])
    heads = [keras.layers.Dense(3, name="logits")(x), keras.layers.Dense(2, name="aux")(x)]
    generator = np.random.default_rng(0)
    data = {
        "zoom": generator.random((100, 8, 8, 1), "float32"),
        "age": generator.random((100, 4), "float32"),
    }
    for inputs in ([image, extra], {"zoom": image, "age": extra}):
        model = keras.Model(inputs, heads)
        for quantize in (None, "int8"):
            report = to_litert(model, tmp_path / "two.tflite", quantize, data)
            assert sorted(info.name for info in report.inputs) == ["age", "zoom"]
            assert [info.name for info in report.outputs] == ["aux", "logits"]
    runner = LiteRTModel(report.path)
    expected = model.predict(data, verbose=0)
    np.testing.assert_allclose(runner.predict(data)["logits"], expected[0], atol=0.1)


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_one_tensor_given_out_twice(quantize, images, tmp_path):
    inputs = keras.Input((8, 8, 3))
    logits = keras.layers.Dense(3)(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, [logits, logits])
    report = to_litert(model, tmp_path / "twice.tflite", quantize, images)
    assert [info.name for info in report.outputs] == ["output_0", "output_1"]
    first, second = LiteRTModel(report.path).predict(images).values()
    np.testing.assert_array_equal(first, second)


def test_outputs_in_a_dictionary_keep_their_keys(tmp_path):
    class Subclassed(keras.Model):
        def call(self, x):
            return {"twice": 2 * x, "parts": [x[:, :1], x[:, 1:]]}

    inputs = keras.Input((4,))
    heads = {
        "logits": keras.layers.Dense(3)(inputs),
        "class id/score": keras.layers.Dense(2)(inputs),
    }
    subclassed = Subclassed()
    x = np.random.default_rng(0).random((20, 4), "float32")
    subclassed(x)
    for model, names in (
        (keras.Model(inputs, heads), ["class id/score", "logits"]),
        (subclassed, ["parts/0", "parts/1", "twice"]),
    ):
        report = to_litert(model, tmp_path / "two.tflite", None, x)
        assert [info.name for info in report.outputs] == names
        assert [output.name for output in report.outputs_verified] == names
        found, expected = LiteRTModel(report.path).predict(x), keras.tree.flatten(model(x))
        for name, array in zip(names, expected, strict=True):
            np.testing.assert_allclose(found[name], array, atol=1e-5)


def test_a_fixed_batch_of_the_model(tmp_path):
    inputs = keras.Input((4,), batch_size=3)
    rows = keras.ops.reshape(keras.layers.Dense(2)(inputs), (3, 2))
    data = np.random.default_rng(0).random((20, 4), "float32")
    report = to_litert(keras.Model(inputs, rows), tmp_path / "x.tflite", None, data, batch_size=3)
    assert report.samples == 20


def test_labels_belong_to_any_of_several_outputs(images, tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Flatten()(inputs)
    model = keras.Model(inputs, [keras.layers.Dense(4)(x), keras.layers.Dense(3)(x)])
    report = to_litert(model, tmp_path / "two.tflite", None, images, ["a", "b", "c"])
    assert LiteRTModel(report.path).labels == ["a", "b", "c"]


def test_unrolled_recurrent_layers_become_int8(tmp_path):
    inputs = keras.Input((3, 2))
    model = keras.Model(inputs, keras.layers.LSTM(4, unroll=True)(inputs))
    data = np.random.default_rng(0).random((20, 3, 2), "float32")
    report = to_litert(model, tmp_path / "lstm.tflite", "int8", data, io="int8")
    assert report.outputs[0].dtype == "int8"


def test_integers_of_numpy(student, tmp_path):
    report = to_litert(
        student, tmp_path / "student.tflite", batch_size=np.int32(2), samples=np.int64(5)
    )
    assert (report.samples, report.inputs[0].shape) == (5, (2, 8, 8, 3))
    assert LiteRTModel(report.path, threads=np.int64(2)).threads == 2


def test_sequential_and_subclassed_models(images, tmp_path):
    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.flatten = keras.layers.Flatten()
            self.dense = keras.layers.Dense(5)

        def call(self, x, training=False):
            return self.dense(self.flatten(x))

    subclassed = Subclassed()
    subclassed(images[:2])
    sequential = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(5)]
    )
    for model in (subclassed, sequential):
        report = to_litert(model, tmp_path / "model.tflite", None, images)
        assert report.inputs[0].shape == (1, 8, 8, 3)
        assert report.max_abs_difference <= 1e-4


def test_half_precision_models_are_exported_in_float32(images, tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3)(inputs))
    x = keras.layers.Flatten()(x)
    model = keras.Model(inputs, keras.layers.Dense(5, dtype="float32")(x))

    report = to_litert(model, tmp_path / "model.tflite", None, images)

    assert report.outputs[0].dtype == "float32"
    assert report.max_abs_difference <= 1e-4
    assert {layer.compute_dtype for layer in model.layers[1:3]} == {"bfloat16"}


def test_export_leaves_the_model_as_it_was(student, images, tmp_path):
    weights = student.get_weights()
    config = student.to_json()
    to_litert(student, tmp_path / "student.tflite", "int8", images)
    for before, after in zip(weights, student.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert student.to_json() == config


def test_layers_with_a_call_of_their_own_are_exported(student, images, tmp_path):
    norm = student.layers[2]
    plain = norm.call
    norm.call = lambda x, training=None, mask=None: plain(x, training=training, mask=mask)
    report = to_litert(student, tmp_path / "student.tflite", None, images)
    assert report.max_abs_difference <= 1e-4


def test_every_type_of_dataset_gives_the_same_samples(student, images):
    import tensorflow as tf

    labels = np.zeros(len(images), "int32")

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return images[30 * index : 30 * index + 30], labels[:30]

    flat = tf.data.Dataset.from_tensor_slices((images, labels))
    datasets = [
        images,
        (images, labels),
        flat,
        flat.batch(50),
        flat.map(lambda x, y: x).batch(32),
        Batches(),
        (image for image in images),
        list(images),
    ]
    datasets.append(lambda: ([image[None]] for image in images))
    specs = input_specs(student, batch_size=1)
    (expected,) = draw_samples(images, student, specs, limit=100).verification
    assert len(np.unique(expected, axis=0)) == 100
    for data in datasets:
        (found,) = draw_samples(data, student, specs, limit=100).verification
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("quantize", QUANTIZE)
def test_a_file_that_disagrees_is_refused_and_the_old_one_stays(
    quantize, student, images, tmp_path, monkeypatch
):
    path = tmp_path / "student.tflite"
    path.write_bytes(b"the old file")
    convert = forms.convert

    def damaged(model, *args):
        other = keras.models.clone_model(model)  # fresh weights: a working file, wrong outputs
        other.layers[-1].kernel.assign(-model.layers[-1].kernel)
        return convert(other, *args)

    monkeypatch.setattr(forms, "convert", damaged)
    with pytest.raises(RuntimeError, match="Expected"):
        to_litert(student, path, quantize, images)
    assert path.read_bytes() == b"the old file"
    assert list(tmp_path.iterdir()) == [path]


def test_bytes_that_are_no_model_are_refused(student, images, tmp_path, monkeypatch):
    convert = forms.convert
    monkeypatch.setattr(forms, "convert", lambda *args: convert(*args)[:200])
    with pytest.raises(ValueError, match="the interpreter refused"):
        to_litert(student, tmp_path / "student.tflite", None, images)
    assert list(tmp_path.iterdir()) == []


def test_weights_with_nan_are_refused(student, images, tmp_path):
    student.layers[-1].bias.assign([np.nan] * 5)
    with pytest.raises(ValueError, match=r"finite outputs.*'logits' is NaN.*weights"):
        to_litert(student, tmp_path / "student.tflite", None, images)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_a_file_that_gives_nan_is_refused(quantize, student, images, tmp_path, monkeypatch):
    nothing = np.full((len(images), 5), np.nan, "float32")
    monkeypatch.setattr("kdzoo.export.forms.predict_unchecked", lambda file, x: nothing)
    with pytest.raises(RuntimeError, match="NaN, infinite or misshapen"):
        to_litert(student, tmp_path / "student.tflite", quantize, images)
    assert list(tmp_path.iterdir()) == []


def test_operations_outside_the_builtins_are_named(tmp_path):
    class Determinant(keras.layers.Layer):
        def call(self, x):
            return keras.ops.det(x)[:, None]

    inputs = keras.Input((4, 4))
    model = keras.Model(inputs, Determinant()(inputs))
    with pytest.raises(ValueError, match=r"built-in operators.*MatrixDeterminant.*Replace"):
        to_litert(model, tmp_path / "model.tflite")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_to_the_terminal(student, images, tmp_path, capfd):
    to_litert(student, tmp_path / "student.tflite", "int8", images)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""


@pytest.mark.parametrize(("quantize", "sparse"), [(None, False), (None, True), ("float16", False)])
def test_the_zeros_in_the_file_are_reported(quantize, sparse, tmp_path):
    """Those of the kernels: a bias of zeros, which most have at first, counts for nothing."""
    model = keras.Sequential([keras.Input((32,)), keras.layers.Dense(40), keras.layers.Dense(8)])
    kernels = [layer.kernel for layer in model.layers]
    kernels[0].assign(np.where(np.arange(1280).reshape(32, 40) % 4, 0, 1.5))
    zeros = sum(np.count_nonzero(np.asarray(kernel) == 0) for kernel in kernels)
    report = to_litert(model, tmp_path / "f.tflite", quantize, sparse=sparse)
    assert report.sparsity == pytest.approx(zeros / 1600, abs=1e-3)
    assert report.sparsity > 0.5
