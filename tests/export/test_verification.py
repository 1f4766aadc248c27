"""A file is verified by what each output means: classes, yes or no, numbers."""

import keras
import numpy as np
import pytest
from keras import layers

from kdzoo.export import LiteRTModel, OutputAgreement, to_litert

pytestmark = pytest.mark.tensorflow
RNG = np.random.default_rng(0)
TABLE = RNG.normal(size=(600, 4)).astype("float32")
IMAGES = RNG.random((120, 8, 8, 3)).astype("float32")
# One column that the outputs hang on, and one a thousand times as wide, which takes all of the
# steps of an int8 input.
WIDE = np.stack([RNG.random(300), 5000 * RNG.random(300)], axis=1).astype("float32")


def dense(kernel, activation=None, bias=0.0):
    kernel = np.array(kernel, "float32")
    inputs = keras.Input((len(kernel),))
    outputs = layers.Dense(kernel.shape[1], activation, name="last")(inputs)
    model = keras.Model(inputs, outputs)
    model.set_weights([kernel, np.full(kernel.shape[1], bias, "float32")])
    return model


@pytest.fixture
def export(tmp_path):
    """Returns `to_litert` to int8, which gives the report of the only output, or of all of them."""

    def run(model, data, quantize="int8", **arguments):
        report = to_litert(model, tmp_path / "file.tflite", quantize, data, **arguments)
        assert [output.name for output in report.outputs_verified] == [
            output.name for output in report.outputs
        ]
        found = report.outputs_verified
        if len(found) == 1:
            assert found[0].agreement == report.argmax_agreement
        return found[0] if len(found) == 1 else {output.name: output for output in found}

    return run


@pytest.mark.parametrize(
    ("activation", "slope"), [(None, 1.0), ("sigmoid", 2.0), ("softplus", 1.0)]
)
def test_a_constant_where_keras_varies_is_refused(activation, slope, export):
    model = dense([[slope], [0.0]], activation)
    with pytest.raises(RuntimeError, match=r"Expected outputs that vary.*a constant in 'last'"):
        export(model, WIDE)
    assert export(model, WIDE, min_agreement=0).agreement < 0.6  # Answers of one side, or less.


def test_a_constant_of_several_classes_is_refused(export):
    with pytest.raises(RuntimeError, match="a constant in 'last'"):
        export(dense([[1.0, 0.5, -1.0], [0.0, 0.0, 0.0]]), WIDE)


def test_columns_of_different_units_are_judged_one_by_one(export):
    model = dense(np.diag([1.0, 1000.0]))
    data = RNG.random((300, 2)).astype("float32")
    with pytest.raises(RuntimeError, match=r"variance of Keras's numbers.*0 for 'last'"):
        export(model, data, output_type="numbers")
    model.compile(loss="mse")
    with pytest.raises(RuntimeError, match="variance of Keras's numbers"):
        export(model, data)
    assert export(dense(np.eye(2)), data, output_type="numbers").agreement > 0.99


def test_confident_answers_agree_by_their_threshold(export):
    # Most probabilities are below half a step, and 0 in the file.
    found = export(dense([[40.0], [0.0], [0.0], [0.0]], "sigmoid"), TABLE)
    assert (found.output_type, found.agreement) == ("binary", pytest.approx(1.0, abs=0.02))
    logits = dense([[40.0], [0.0], [0.0], [0.0]])
    assert export(logits, TABLE, output_type="binary").agreement > 0.98
    assert export(logits, TABLE).output_type == "numbers"
    assert export(logits, TABLE).agreement > 0.99


def test_masks_count_by_their_pixels(export):
    inputs = keras.Input((8, 8, 3))
    outputs = layers.Conv2D(1, 1, activation="sigmoid", name="mask")(inputs)
    model = keras.Model(inputs, outputs)
    model.set_weights([np.full((1, 1, 3, 1), 30.0), np.array([-45.0])])
    found = export(model, IMAGES)
    assert (found.output_type, found.step) == ("binary", 1 / 256)
    assert found.agreement > 0.98


@pytest.mark.parametrize("activation", [None, "sigmoid", "relu"])
def test_images_agree_by_their_values(activation, export):
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, layers.Conv2D(3, 1, activation=activation)(inputs))
    model.set_weights([np.eye(3)[None, None] + 0.1, np.array([0.0, 0.001, 0.0])])
    grey = np.repeat(IMAGES[..., :1], 3, axis=-1)  # Channels alike: their order means nothing.
    found = export(model, grey)
    assert found.output_type == ("binary" if activation == "sigmoid" else "numbers")
    assert found.agreement > 0.98
    assert export(model, grey, output_type="numbers").agreement > 0.98


def test_one_value_for_each_sample(export):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.ops.squeeze(layers.Dense(1)(inputs), -1))
    found = export(model, TABLE)
    wanted = model.predict(TABLE, verbose=0)
    assert found.output_type == "numbers"
    assert 0.99 < found.agreement < 1
    assert found.max_abs_difference < 0.1 * np.ptp(wanted)


def test_small_numbers(export):
    # Most are below half a step, and 0 in the file.
    found = export(dense(np.ones((4, 1)), "softplus"), TABLE)
    assert found.output_type == "numbers"
    assert found.agreement > 0.9


def test_features_beside_classes(export):
    inputs = keras.Input((4,))
    features = layers.Dense(64, "relu", name="hidden")(inputs)
    logits = layers.Dense(3, name="last")(features)
    model = keras.Model(inputs, {"logits": logits, "features": features})
    found = export(model, TABLE)
    assert {name: output.output_type for name, output in found.items()} == {
        "features": "numbers",
        "logits": "classes",
    }
    assert min(output.agreement for output in found.values()) > 0.9
    said = {"logits": "numbers", "features": "classes"}
    found = export(model, TABLE, output_type=said, min_agreement=0)
    assert {name: output.output_type for name, output in found.items()} == said
    with pytest.raises(ValueError, match=r"output_type.*'classes'"):
        export(model, TABLE, output_type="class")
    with pytest.raises(ValueError, match=r"\['features', 'logits'\]"):
        export(model, TABLE, output_type={"embedding": "numbers"})


def test_integers_agree_where_they_are_the_same(export):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.ops.argmax(layers.Dense(3)(inputs), axis=-1))
    found = export(model, TABLE)
    assert found == OutputAgreement("argmax", "classes", found.agreement, found.max_abs_difference)
    assert found.agreement > 0.9
    first = keras.Model(inputs, keras.ops.argmin(inputs, axis=-1, keepdims=True))
    assert export(first, TABLE, None).agreement == 1.0


class TestOfAFileThatGivesOtherOutputs:
    """What a file gives is changed on its way."""

    @pytest.fixture
    def changed(self, monkeypatch, export):
        predict = LiteRTModel.predict

        def run(change, model, data=TABLE, **arguments):
            monkeypatch.setattr(LiteRTModel, "predict", lambda *args: change(predict(*args)))
            return export(model, data, **arguments)

        return run

    def test_no_yes_at_all(self, changed):
        model = dense([[4.0], [0.0], [0.0], [0.0]], "sigmoid", bias=-6.0)  # A twentieth says yes.
        with pytest.raises(RuntimeError, match="Expected answers of yes in 'last'"):
            changed(lambda outputs: np.minimum(outputs, 0.4), model, TABLE, samples=300)

    def test_answers_on_the_other_side(self, changed):
        with pytest.raises(
            RuntimeError, match=r"Keras's yes or no.*min_agreement=0.9.*Received: 0"
        ):
            changed(lambda outputs: 1 - outputs, dense(np.ones((4, 2)), "sigmoid"))

    def test_numbers_with_an_error_as_wide_as_they_are(self, changed):
        def shift(outputs):
            return outputs + 0.5 * outputs.std()

        model = dense(np.ones((4, 1)))
        with pytest.raises(RuntimeError, match=r"min_agreement=0.9 of the variance.*0\.7"):
            changed(shift, model)
        found = changed(shift, model, min_agreement=0.5)
        assert found.agreement == pytest.approx(0.75, abs=0.02)

    def test_many_columns_count_together(self, changed):
        def spoil(outputs):
            return np.where(np.arange(40) == 0, 0.0, outputs)

        found = changed(spoil, dense(np.tile(TABLE[:4], 10)), output_type="numbers")
        assert found.agreement > 0.9

    def test_small_outputs_that_are_all_zero_in_float32(self, changed):
        model = dense(1e-6 * np.ones((4, 1)))
        with pytest.raises(RuntimeError, match="a constant in 'last'"):
            changed(np.zeros_like, model, quantize=None)
        assert changed(lambda outputs: outputs, model, quantize=None).agreement > 0.99

    def test_large_outputs_in_float32(self, changed):
        model = dense(np.ones((4, 1)), bias=5000.0)
        assert changed(lambda outputs: outputs * (1 + 1e-6), model, quantize=None).agreement > 0.99
        with pytest.raises(RuntimeError, match="within tolerance"):
            changed(lambda outputs: outputs * (1 + 1e-3), model, quantize=None)


def test_numbers_that_do_not_vary(export):
    constant = dense(np.zeros((4, 2)), bias=3.0)
    for quantize in ("int8", "dynamic"):
        assert export(constant, TABLE, quantize, output_type="numbers").agreement > 0.99
