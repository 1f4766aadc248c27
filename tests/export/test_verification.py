"""A file is verified by what each output means: classes, binary labels, numbers."""

import linecache

import keras
import numpy as np
import pytest
from keras import layers

from kdzoo.export import OutputAgreement, agreement, forms, to_litert
from kdzoo.export.keras_outputs import KerasOutput, keras_outputs

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
            argmax = found[0].argmax_agreement
            assert report.argmax_agreement == (found[0].agreement if argmax is None else argmax)
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
    if activation == "sigmoid":
        found = export(model, grey)
    else:
        with pytest.warns(UserWarning, match="taken for numbers, such as an image") as caught:
            found = export(model, grey)
        assert "to_litert" in linecache.getline(caught[0].filename, caught[0].lineno)
        assert found.argmax_agreement < 0.9
    assert found.output_type == ("binary" if activation == "sigmoid" else "numbers")
    assert found.agreement > 0.98
    assert export(model, grey, output_type="numbers").agreement > 0.98


def test_classes_that_a_file_mixes_up_are_no_numbers(export):
    # All outputs rise and fall together, by a hundred times what tells the classes apart.
    kernel = 3 + 0.03 * np.random.default_rng(0).normal(size=(4, 20))
    with pytest.raises(RuntimeError, match=r"Keras's argmax.*output_type='numbers'"):
        export(dense(kernel), TABLE)
    assert export(dense(kernel), TABLE, output_type="numbers").agreement > 0.98


def test_any_of_the_largest_classes_agrees(export):
    # Both are zero for half of the samples, where neither is Keras's argmax.
    model = dense(np.array([[1.0, 1.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]), "relu")
    model.layers[-1].bias.assign([0.0, 0.001])
    assert export(model, TABLE, "dynamic", output_type="classes").agreement == 1.0
    found = agreement.judge(
        "last",
        KerasOutput(np.array([[0.0, 0.0, -1.0]] * 3, "float32"), "classes", False),
        np.array([[0.0, 0.1, -1.0], [0.1, 0.0, -1.0], [0.0, 0.0, 0.1]], "float32"),
        None,
        0.9,
    )
    assert found.agreement == pytest.approx(2 / 3)


def test_a_constant_column_of_several_answers_is_refused(export):
    model = dense([[20.0, 0, 0, 0], [0, 0.01, 0.01, 0.01]], "sigmoid")
    model.layers[-1].bias.assign([-18.0, -25.0, -10.0, -40.0])
    with pytest.raises(RuntimeError, match="a constant in column 0 of 'last'"):
        export(model, WIDE)


def test_numbers_that_vary_by_less_than_a_step(export):
    data = RNG.random((300, 2)).astype("float32")
    found = export(dense([[0.01], [0.0]], bias=5.0), data)
    assert (found.output_type, found.agreement) == ("numbers", 1.0)
    assert 0.005 < found.max_abs_difference < found.step


def test_values_far_outside_of_those_that_calibrate(export):
    data = RNG.random((256, 4)).astype("float32")
    data[101, 0] = 60.0  # Every second sample verifies.
    model = dense(np.eye(4, 3))
    assert export(model, data).agreement > 0.9
    with pytest.raises(RuntimeError, match="variance of Keras's numbers"):
        export(model, data, output_type="numbers")


@pytest.mark.parametrize("quantize", [None, "float16", "int8"])
def test_masked_classes(quantize, export):
    model = dense(np.eye(4))
    model.layers[-1].bias.assign([0.0, 0.0, 0.0, -np.inf])
    if quantize == "int8":
        with pytest.raises(ValueError, match=r"integers stand for no -inf.*'last'"):
            export(model, TABLE, quantize)
        return
    found = export(model, TABLE, quantize)
    assert found.agreement > 0.99
    assert found.max_abs_difference < 0.01
    with pytest.raises(ValueError, match="'last' is infinite"):
        export(model, TABLE, quantize, output_type="numbers")
    model.layers[-1].bias.assign([-np.inf] * 4)
    with pytest.raises(ValueError, match=r"'last' is infinite.*infinite values in its weights"):
        export(model, TABLE, quantize)


def test_a_compiled_loss_on_logits_says_where_yes_begins(export):
    model = dense([[0.8], [0.0]], bias=0.1)  # Logits from 0.1 to 0.9: all of them say yes.
    model.compile(loss=keras.losses.BinaryCrossentropy(from_logits=True))
    (output,) = keras_outputs(model, [np.array([[0.0, 0.0], [1.0, 0.0]], "float32")]).values()
    assert (output.output_type, output.are_probabilities) == ("binary", False)
    model.compile(loss="binary_crossentropy")
    (output,) = keras_outputs(model, [np.array([[0.0, 0.0], [1.0, 0.0]], "float32")]).values()
    assert (output.output_type, output.are_probabilities) == ("binary", True)
    inputs = keras.Input((2,))
    heads = [keras.layers.Dense(1, name=name)(inputs) for name in "ab"]
    both = keras.Model(inputs, heads)
    both.compile(loss={"b": keras.losses.BinaryCrossentropy(from_logits=True), "a": "mse"})
    found = keras_outputs(both, [np.zeros((2, 2), "float32")])
    assert [found[name].are_probabilities for name in "ab"] == [True, False]


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
        predict = forms.predict_unchecked

        def run(change, model, data=TABLE, **arguments):
            monkeypatch.setattr(forms, "predict_unchecked", lambda *args: change(predict(*args)))
            return export(model, data, **arguments)

        return run

    def test_no_yes_at_all(self, changed):
        model = dense([[4.0], [0.0], [0.0], [0.0]], "sigmoid", bias=-6.0)  # One in 20 is 1.
        with pytest.raises(RuntimeError, match="Expected predictions of 1 in 'last'"):
            changed(lambda outputs: np.minimum(outputs, 0.4), model, TABLE, samples=300)

    def test_no_yes_in_one_of_several_columns(self, changed):
        def spoil(outputs):
            return np.minimum(outputs, [1.0, 0.4, 1.0])

        model = dense(4 * np.eye(4, 3), "sigmoid", bias=-6.0)
        with pytest.raises(RuntimeError, match="Expected predictions of 1 in column 1 of 'last'"):
            changed(spoil, model, TABLE, samples=300)

    def test_answers_on_the_other_side(self, changed):
        with pytest.raises(
            RuntimeError, match=r"Keras's label, 0 or 1.*min_agreement=0.9.*Received: 0"
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
