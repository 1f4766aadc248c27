"""Every wrong argument of `to_litert` gets one sentence that names the remedy."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

from kdzoo.export import LiteRTModel, forms, to_litert
from kdzoo.export.convert import check_loops


class TestOnTensorFlow:
    pytestmark = pytest.mark.tensorflow

    @pytest.fixture
    def export(self, student, tmp_path):
        """Returns `to_litert` on the student, and fails if it leaves a file after an error."""

        def run(model=student, **arguments):
            return to_litert(model, tmp_path / "student.tflite", **arguments)

        yield run
        assert list(tmp_path.iterdir()) == []

    def test_unknown_quantize(self, export):
        with pytest.raises(ValueError, match=r"Unknown quantize: 'int_8'. Did you mean 'int8'\?"):
            export(quantize="int_8")

    def test_integers_around_a_body_of_floats(self, export):
        for quantize in (None, "float16", "dynamic"):
            with pytest.raises(ValueError, match=r"no scale for integers.*Rescaling\(1 / 255\)"):
                export(quantize=quantize, io="uint8")
        with pytest.raises(ValueError, match=r"Unknown io: 'int_8'. Did you mean 'int8'\?"):
            export(io="int_8")

    def test_int8_without_data(self, export):
        with pytest.raises(ValueError, match=r"Expected representative_data.*Pass about a hundred"):
            export(quantize="int8")

    def test_empty_data(self, export, images):
        for empty in (images[:0], [], iter(())):
            with pytest.raises(ValueError, match="Expected at least one sample"):
                export(quantize="int8", representative_data=empty)

    def test_fewer_samples_than_a_batch(self, export, images):
        with pytest.raises(ValueError, match="at least batch_size=16 samples"):
            export(quantize="int8", representative_data=images[:10], batch_size=16)

    def test_data_with_nan(self, export, images):
        images[3, 0, 0, 0] = np.nan
        with pytest.raises(ValueError, match="finite samples"):
            export(representative_data=images)

    def test_wrong_shape(self, export, images):
        with pytest.raises(ValueError, match=r"shape \(samples, 8, 8, 3\).*shape=\(120, 8, 8, 1\)"):
            export(representative_data=images[..., :1])

    def test_data_of_a_wrong_type(self, export):
        with pytest.raises(ValueError, match="an array or a dataset"):
            export(representative_data=3)

    def test_labels_that_do_not_fit(self, export):
        for labels, message in (
            (["a", "b"], "one label for each of the model's 5 outputs.*2 labels"),
            ("abcde", "a list of class names"),
            ([0, 1, 2, 3, 4], "a list of class names"),
            (["a", "b", "c", "d", ""], "one line of text"),
            (["a", "b", "c", "d", "e\nf"], "one line of text"),
        ):
            with pytest.raises(ValueError, match=message):
                export(labels=labels)
        unit = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, "sigmoid")])
        with pytest.raises(ValueError, match=r"one unit, which is binary.*labels=\['dog'\]"):
            export(unit, labels=["cat", "dog"])

    def test_a_state_that_lasts(self, export):
        inputs = keras.Input((5, 3), batch_size=1)
        layer = keras.layers.Bidirectional(keras.layers.LSTM(4, stateful=True, name="kept"))
        for model in (
            keras.Model(inputs, keras.layers.LSTM(4, stateful=True, name="kept")(inputs)),
            keras.Model(inputs, layer(inputs)),
        ):
            with pytest.raises(ValueError, match=r"kept' with stateful=True.*stateful=False"):
                export(model)

    def test_a_model_that_keras_quantized(self, export):
        model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)])
        model.layers[-1].quantize("int8")
        with pytest.raises(ValueError, match=r"a model of floats.*export the model as it was"):
            export(model)

    def test_counts(self, export):
        with pytest.raises(ValueError, match="batch_size to be a positive integer"):
            export(batch_size=0)
        with pytest.raises(ValueError, match="samples to be a positive integer"):
            export(samples=2.5)
        with pytest.raises(ValueError, match="threads to be a positive integer"):
            LiteRTModel("never.tflite", threads=0)

    @pytest.mark.parametrize("value", [float("nan"), -1e-4])
    def test_limits(self, value, export):
        with pytest.raises(ValueError, match=f"tolerance to be a difference.*tolerance={value}"):
            export(tolerance=value)
        with pytest.raises(ValueError, match=f"min_agreement to be a fraction.*={value}"):
            export(min_agreement=value)

    @pytest.mark.parametrize(
        "make",
        [
            lambda unroll: keras.layers.LSTM(2, unroll=unroll, name="loop"),
            lambda unroll: keras.layers.Bidirectional(
                keras.layers.GRU(2, unroll=unroll, name="loop")
            ),
            lambda unroll: keras.layers.RNN(
                keras.layers.SimpleRNNCell(2), unroll=unroll, name="loop"
            ),
        ],
    )
    def test_loops_in_int8(self, make, export):
        # Exported, they would kill the process: only the check is run.
        inputs = keras.Input((3, 2))
        model = keras.Model(inputs, make(unroll=False)(inputs))
        with pytest.raises(ValueError, match=r"layer '\w*loop' with unroll=False.*`unroll=True`"):
            check_loops(model, "int8")
        check_loops(model, "dynamic")
        check_loops(keras.Model(inputs, make(unroll=True)(inputs)), "int8")

    def test_loops_in_int8_are_refused_before_anything_is_converted(self, export, monkeypatch):
        monkeypatch.setattr(forms, "convert", None)
        inputs = keras.Input((2, 3, 2))
        layer = keras.layers.TimeDistributed(keras.layers.LSTM(2, name="loop"))
        model = keras.Model(inputs, layer(inputs))
        with pytest.raises(ValueError, match=r"layer 'loop' with unroll=False"):
            export(model, quantize="int8", representative_data=np.zeros((4, 2, 3, 2), "float32"))

    def test_labels_of_several_outputs(self, export):
        inputs = keras.Input((2,))
        model = keras.Model(inputs, [keras.layers.Dense(4)(inputs), keras.layers.Dense(3)(inputs)])
        with pytest.raises(ValueError, match=r"the model's 4 or 3 outputs.*2 labels"):
            export(model, labels=["a", "b"])

    def test_samples_on_which_outputs_are_undefined(self, export):
        inputs = keras.Input((2,))
        model = keras.Model(inputs, keras.ops.log(keras.layers.Dense(1)(inputs) * 0 - 1))
        with pytest.raises(ValueError, match=r"finite outputs.*its weights are finite, so pass"):
            export(model)

    def test_other_things_than_models_to_export(self, export):
        with pytest.raises(ValueError, match=r"Expected a keras.Model. Received: model=Dense"):
            export(keras.layers.Dense(3))
        with pytest.raises(ValueError, match=r"Expected a built model.*call it once"):
            export(keras.Sequential([keras.layers.Dense(3)]))

    def test_open_shapes(self, export):
        inputs = keras.Input((None, None, 3))
        x = keras.layers.GlobalAveragePooling2D()(inputs)
        with pytest.raises(ValueError, match=r"open in the batch alone.*keras.Input"):
            export(keras.Model(inputs, x))

    def test_half_precision_weights(self, export):
        inputs = keras.Input((3,))
        model = keras.Model(inputs, keras.layers.Dense(2, dtype="bfloat16")(inputs))
        with pytest.raises(ValueError, match=r"float32 weights.*'mixed_bfloat16'"):
            export(model)

    def test_a_directory(self, student, tmp_path):
        with pytest.raises(ValueError, match="a directory"):
            to_litert(student, tmp_path)


@pytest.mark.tensorflow
def test_models_that_rescale_take_raw_pixels(images, tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Rescaling(1 / 255)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(x)))
    report = to_litert(model, tmp_path / "model.tflite", "int8", images * 255)
    assert report.inputs[0].step == pytest.approx(1, rel=1e-3)


def test_another_backend_is_told_how_to_switch():
    program = (
        "import keras, pytest\n"
        "from kdzoo.export import to_litert\n"
        "model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])\n"
        "with pytest.raises(RuntimeError, match='KERAS_BACKEND=tensorflow'):\n"
        "    to_litert(model, 'never.tflite')\n"
    )
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
