"""Quantization-aware training: the same as TF-MOT's own, files, a teacher, and the int8 export."""

import re

import keras
import numpy as np
import pytest
from compression_helpers import NothingQuantized, compiled, cross_entropy

import kdzoo
from kdzoo import compression
from kdzoo.compression import (
    cluster_weights,
    fold_batch_normalization,
    prune_low_magnitude,
    quantize_annotate_layer,
    quantize_annotate_model,
    quantize_apply,
    quantize_model,
)

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.filterwarnings("ignore:Not (pruned|clustered) in:UserWarning"),
]

BATCH = 16


@pytest.mark.parametrize("epochs", [10, pytest.param(50, marks=pytest.mark.large)])
def test_weights_and_ranges_are_those_of_tfmot(net, legacy_net, data, epochs):
    import tf_keras

    from kdzoo.compression.tfmot.library import load_tfmot

    plain = net()
    theirs = load_tfmot().quantization.keras.quantize_model(legacy_net(plain.get_weights()))
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    theirs.compile(tf_keras.optimizers.SGD(0.02, momentum=0.9), loss)
    theirs.fit(*data, BATCH, epochs, verbose=0, shuffle=False)
    ours = compiled(quantize_model(plain))
    ours.fit(*data, BATCH, epochs, verbose=0, shuffle=False)
    for our, their in zip(ours.wrapped.weights, theirs.weights, strict=True):
        assert re.sub(r"_\d+", "", our.name) == re.sub(r"_\d+", "", their.name)
        np.testing.assert_allclose(our.numpy(), their.numpy(), atol=1e-4, err_msg=our.name)


def test_a_file_goes_on(net, data, tmp_path):
    fit = {"batch_size": BATCH, "shuffle": False, "verbose": 0}
    whole, part = (compiled(quantize_model(net())) for _ in range(2))
    whole.fit(*data, epochs=4, **fit)
    part.fit(*data, epochs=2, **fit)
    part.save(tmp_path / "part.keras")
    again = keras.saving.load_model(tmp_path / "part.keras")
    np.testing.assert_array_equal(
        again.predict(data[0], verbose=0), part.predict(data[0], verbose=0)
    )
    again.fit(*data, epochs=4, initial_epoch=2, **fit)
    for ours, theirs in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_student_learns_from_a_teacher_and_becomes_an_int8_file(net, data, tmp_path):
    student = quantize_model(net())
    losses = [
        kdzoo.losses.SoftTargets(2.0),
        kdzoo.losses.Hint("stage1", "stage1", reduction="mean"),
    ]
    distiller = kdzoo.Distiller(net(1, "teacher"), student, losses)
    distiller.compile(keras.optimizers.SGD(0.02, momentum=0.9), cross_entropy())
    history = distiller.fit(*data, BATCH, epochs=6, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]

    path = tmp_path / "student.tflite"
    report = kdzoo.export.to_litert(student, path, "int8")
    assert report.verified_on == "random samples"
    assert (report.io, report.inputs[0].dtype) == ("float32", "float32")
    assert report.inputs[0].step == pytest.approx(1 / 255, rel=1e-3)
    report = kdzoo.export.to_litert(student, path, "int8", data[0], io="int8")
    assert report.argmax_agreement >= 0.95
    assert report.layers_in_float == ()
    (image,) = report.inputs
    assert (image.dtype, image.scale) == ("int8", pytest.approx(1 / 255, rel=1e-3))
    dtypes = {tensor["dtype"] for tensor in tensors(path)}
    assert np.float32 not in dtypes
    assert np.int8 in dtypes


def tensors(path):
    from ai_edge_litert.interpreter import Interpreter

    return Interpreter(str(path)).get_tensor_details()


def test_what_tfmot_cannot_quantize_is_named_with_the_remedy():
    with pytest.raises(ValueError, match="'stage1_block1_norm1', a BatchNormalization; pass `fold"):
        quantize_model(kdzoo.create("wide_resnet_16_1"))
    inputs = keras.Input((4, 4, 3))
    norm = keras.layers.LayerNormalization(name="norm")(keras.layers.Conv2D(3, 1)(inputs))
    with pytest.raises(ValueError, match="'norm', a LayerNormalization; leave it in float32 by `a"):
        quantize_model(keras.Model(inputs, norm))
    keras.config.set_dtype_policy("mixed_bfloat16")
    half = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="half")])
    with pytest.raises(ValueError, match=r"compute in float32.*'half'"):
        quantize_model(half)
    with pytest.raises(ValueError, match="functional or sequential"):
        quantize_model(None)


def test_what_is_not_finished_is_not_exported(net, tmp_path):
    for model in (prune_low_magnitude(net()), cluster_weights(net(), 4)):
        with pytest.raises(ValueError, match=r"still being compressed: pass `strip_pruning"):
            kdzoo.export.to_litert(model, tmp_path / "model.tflite")
    with pytest.raises(ValueError, match="Expected quantize='int8' for a model"):
        kdzoo.export.to_litert(quantize_model(net()), tmp_path / "model.tflite", "float16")
    assert not list(tmp_path.iterdir())


def annotated(model, classes, config=None):
    """A copy in which the layers of some classes are marked for quantization."""

    def mark(layer):
        return quantize_annotate_layer(layer, config) if isinstance(layer, classes) else layer

    clone = keras.models.clone_model(model, clone_function=mark)
    clone.set_weights(model.get_weights())
    return clone


def test_layers_that_are_not_annotated_stay_in_float(net, data, tmp_path):
    plain = net()
    marked = annotated(plain, keras.layers.Dense)
    np.testing.assert_array_equal(
        marked.predict(data[0], verbose=0), plain.predict(data[0], verbose=0)
    )
    quantized = compiled(quantize_apply(marked))
    names = [layer.name for layer in quantized.wrapped.layers]
    assert "quant_logits" in names
    assert {"conv", "depthwise", "stage2"} <= set(names)
    quantized.fit(*data, BATCH, epochs=2, verbose=0)
    quantized.save(tmp_path / "part.keras")
    again = keras.saving.load_model(tmp_path / "part.keras")
    np.testing.assert_array_equal(
        again.predict(data[0], verbose=0), quantized.predict(data[0], verbose=0)
    )
    report = kdzoo.export.to_litert(quantized, tmp_path / "part.tflite", "int8", data[0])
    assert report.layers_in_float == ("conv", "depthwise", "stage2")
    assert (report.io, report.inputs[0].range) == ("float32", None)
    with pytest.raises(ValueError, match=r"from end to end.*'image', which stays in float32"):
        kdzoo.export.to_litert(quantized, tmp_path / "x.tflite", "int8", data[0], io="int8")


def test_what_tfmot_refuses_can_be_left_out():
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.Conv2D(3, 1, name="conv")(inputs)
    model = keras.Model(inputs, keras.layers.PReLU(name="own")(x))
    quantized = quantize_apply(annotated(model, keras.layers.Conv2D))
    assert {"quant_conv", "own"} <= {layer.name for layer in quantized.wrapped.layers}


def test_squeeze_and_excitation_becomes_an_int8_file(data, tmp_path):
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 3, activation="relu")(inputs)
    gate = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = keras.layers.Conv2D(8, 1, activation="sigmoid")(gate)
    x = keras.layers.Flatten()(keras.layers.Multiply(name="gated")([x, gate]))
    quantized = compiled(quantize_model(keras.Model(inputs, keras.layers.Dense(3)(x))))
    quantized.fit(*data, BATCH, epochs=3, verbose=0)
    path = tmp_path / "model.tflite"
    report = kdzoo.export.to_litert(quantized, path, "int8", data[0], io="int8")
    assert report.argmax_agreement >= 0.95
    assert np.float32 not in {tensor["dtype"] for tensor in tensors(path)}


@pytest.mark.large
def test_a_pre_activation_network_passes_when_it_is_folded(data, tmp_path):
    plain = kdzoo.create("wide_resnet_16_1", 3, (8, 8, 3))
    random = np.random.default_rng(0)
    for layer in plain.layers:  # Statistics as of a trained network.
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([w + 0.3 * random.random(w.shape) for w in layer.get_weights()])
    folded = fold_batch_normalization(plain)
    np.testing.assert_allclose(
        folded.predict(data[0], verbose=0), plain.predict(data[0], verbose=0), rtol=1e-4, atol=1e-4
    )
    lone = [
        layer.name for layer in folded.layers if isinstance(layer, keras.layers.DepthwiseConv2D)
    ]
    assert "stage1_block1_norm1" in lone
    quantized = compiled(quantize_model(folded))
    quantized.fit(*data, BATCH, epochs=2, verbose=0)
    path = tmp_path / "model.tflite"
    report = kdzoo.export.to_litert(quantized, path, "int8", data[0], io="int8")
    assert report.argmax_agreement >= 0.9
    assert np.float32 not in {tensor["dtype"] for tensor in tensors(path)}


def test_pruned_weights_stay_zero_where_that_is_asked_for(net, data):
    plain = net()
    kernel, bias = plain.get_layer("stage2").get_weights()
    kernel[np.abs(kernel) < np.median(np.abs(kernel))] = 0
    plain.get_layer("stage2").set_weights([kernel, bias])
    classes = (keras.layers.Conv2D, keras.layers.Dense, keras.layers.ReLU)
    zeros = {}
    for preserve in (True, False):
        scheme = compression.Default8BitPrunePreserveQuantizeScheme() if preserve else None
        quantized = compiled(quantize_apply(annotated(plain, classes), scheme))
        quantized.fit(*data, BATCH, epochs=3, verbose=0)
        weights = {weight.name: weight.numpy() for weight in quantized.wrapped.weights}
        zeros[preserve] = np.mean(weights["stage2/kernel:0"][kernel == 0] == 0)
        assert quantized.from_config(quantized.get_config())._scheme.__class__ is type(
            quantized._scheme
        )
    assert zeros[True] == 1.0
    assert zeros[False] < 0.1


def test_annotations_are_checked(net):
    with pytest.raises(ValueError, match="without one; use `quantize_annotate_layer`"):
        quantize_apply(net())
    with pytest.raises(ValueError, match="for models there is `quantize_model`"):
        quantize_annotate_layer(net())
    with pytest.raises(ValueError, match="for models there is `quantize_model`"):
        compression.QuantizeAnnotate(net())
    with pytest.raises(ValueError, match="quantize_config=8"):
        quantize_annotate_layer(keras.layers.Dense(2), 8)
    with pytest.raises(ValueError, match="one of the schemes Default8BitQuantizeScheme"):
        quantize_apply(annotated(net(), keras.layers.Dense), "int8")


def test_a_configuration_of_ones_own(net, data, tmp_path):
    """A QuantizeConfig as in TF-MOT's guide: kernels of the dense layer in 4 bits."""
    from kdzoo.compression.tfmot.library import load_tfmot

    quantizers = load_tfmot().quantization.keras.quantizers

    class FourBitKernels(NothingQuantized):
        quantizer = quantizers.LastValueQuantizer(
            num_bits=4, per_axis=False, symmetric=True, narrow_range=False
        )

        def get_weights_and_quantizers(self, layer):
            return [(layer.kernel, self.quantizer)]

        def set_quantize_weights(self, layer, quantize_weights):
            layer.kernel = quantize_weights[0]

    with keras.saving.custom_object_scope({"FourBitKernels": FourBitKernels}):
        quantized = compiled(quantize_apply(annotated(net(), keras.layers.Dense, FourBitKernels())))
        quantized.fit(*data, BATCH, epochs=1, verbose=0)
        quantized.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(
        again.predict(data[0], verbose=0), quantized.predict(data[0], verbose=0)
    )


def test_a_layer_whose_output_alone_is_quantized_counts_as_float(data, tmp_path):
    """TF-MOT wraps the layer before an annotated one, and leaves its kernel as it is."""
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(16, 3, name="first")(inputs)
    x = keras.layers.Conv2D(16, 3, name="second")(x)
    x = keras.layers.Conv2D(8, 3, name="third")(x)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    clone = keras.models.clone_model(
        model, clone_function=lambda x: quantize_annotate_layer(x) if x.name == "third" else x
    )
    quantized = quantize_apply(clone)
    assert quantized.layers_in_float == ["first", "second"]
    path = tmp_path / "part.tflite"
    compiled(quantized).fit(*data, BATCH, verbose=0)
    kdzoo.export.to_litert(quantized, path, "int8", data[0], min_agreement=0)
    shapes = {tuple(tensor["shape"]): tensor["dtype"] for tensor in tensors(path)}
    assert shapes[16, 3, 3, 16] == np.float32
    assert shapes[8, 3, 3, 16] == np.int8


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (keras.layers.Conv2D(3, 1, activation="elu"), "a Conv2D with activation 'elu'; leave it"),
        (keras.layers.Activation("mish"), "a Activation with activation 'mish'; leave it"),
        (keras.layers.PReLU(), "a PReLU; leave it in float32 by"),
    ],
    ids=["elu", "mish", "prelu"],
)
def test_refusals_name_the_layer_by_its_path(layer, message):
    layer = type(layer).from_config({**layer.get_config(), "name": "my layer"})
    part = keras.Sequential([keras.Input((4, 4, 3)), layer], name="part")
    inputs = keras.Input((4, 4, 3))
    outputs = keras.layers.Dense(2)(keras.layers.Flatten()(part(inputs)))
    with pytest.raises(ValueError, match=f"Received: 'part/my layer', {message}"):
        quantize_model(keras.Model(inputs, outputs))


def test_ranges_come_from_data(net, data, tmp_path):
    quantized = compiled(quantize_model(net()))
    assert not quantized.has_seen_data
    with pytest.raises(ValueError, match="Received: 'net', which was not: call `fit`"):
        kdzoo.export.to_litert(quantized, tmp_path / "model.tflite", "int8", data[0])
    quantized.fit(*data, BATCH, verbose=0)
    assert quantized.has_seen_data
    whole = keras.Sequential([keras.Input((8, 8, 3)), quantized, keras.layers.Softmax()])
    with pytest.raises(ValueError, match="has one as a part: export that one"):
        kdzoo.export.to_litert(whole, tmp_path / "model.tflite", "int8", data[0])
    assert not list(tmp_path.iterdir())


def test_a_frozen_model_stays_as_it_is_within_another(net, data):
    quantized = compiled(quantize_model(net()))
    quantized.fit(*data, BATCH, verbose=0)
    before = [weight.numpy() for weight in quantized.wrapped.weights]
    quantized.trainable = False
    whole = compiled(keras.Sequential([keras.Input((8, 8, 3)), quantized, keras.layers.Dense(3)]))
    whole.fit(2 * data[0], data[1], BATCH, verbose=0)
    for ours, theirs in zip(quantized.wrapped.weights, before, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs)


def test_the_layer_that_is_refused_is_an_annotated_one():
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.Conv2D(3, 1, name="left_out")(inputs)
    x = keras.layers.Conv2D(3, 1, activation="elu", name="marked")(x)
    model = keras.Model(inputs, keras.layers.Flatten()(x))
    clone = keras.models.clone_model(
        model, clone_function=lambda x: quantize_annotate_layer(x) if x.name == "marked" else x
    )
    with pytest.raises(ValueError, match=r"'quantize_annotate_marked', a Conv2D with act.* 'elu'"):
        quantize_apply(clone)


def test_a_configuration_of_tfmot_itself(net, data, tmp_path):
    from kdzoo.compression.tfmot.library import output_config

    marked = annotated(net(), keras.layers.Conv2D, output_config())
    quantized = compiled(quantize_apply(marked))
    quantized.fit(*data, BATCH, verbose=0)
    assert "quantize_annotate_conv" in quantized.layers_in_float
    quantized.save(tmp_path / "output.keras")
    again = keras.saving.load_model(tmp_path / "output.keras")
    np.testing.assert_array_equal(
        again.predict(data[0], verbose=0), quantized.predict(data[0], verbose=0)
    )


def test_a_head_alone_has_not_seen_data_either(net, data, tmp_path):
    quantized = compiled(quantize_apply(annotated(net(), keras.layers.Dense)))
    assert not quantized.has_seen_data
    with pytest.raises(ValueError, match="which was not: call `fit`"):
        kdzoo.export.to_litert(quantized, tmp_path / "model.tflite", "int8", data[0])
    quantized.fit(*data, BATCH, verbose=0)
    assert quantized.has_seen_data


def test_a_frozen_model_comes_back_frozen(net, tmp_path):
    quantized = quantize_model(net())
    quantized.trainable = False
    quantized.save(tmp_path / "frozen.keras")
    assert not keras.saving.load_model(tmp_path / "frozen.keras").trainable


def test_a_sequential_model_is_annotated_and_brings_its_input_shape():
    layers = keras.layers
    x = np.random.default_rng(0).random((4, 6), "float32")
    plain = keras.Sequential([keras.Input((6,)), layers.Dense(5, "relu"), layers.Dense(3)])
    for scheme in (
        None,
        kdzoo.compression.Default8BitPrunePreserveQuantizeScheme(),
        kdzoo.compression.Default8BitClusterPreserveQuantizeScheme(False),
    ):
        marked = quantize_annotate_model(keras.models.clone_model(plain))
        assert quantize_apply(marked, scheme).output_shape == (None, 3)
    with pytest.warns(UserWarning, match="Do not pass an `input_shape`"):  # Keras's own.
        first = quantize_annotate_layer(layers.Dense(5, input_shape=(6,)))
    model = keras.Sequential([first, layers.Dense(3)])
    assert model.built
    assert quantize_apply(model)(x).shape == (4, 3)


class KnownHere(kdzoo.compression.QuantizeConfig):
    """Registered nowhere."""

    def get_weights_and_quantizers(self, layer):
        return []

    def get_activations_and_quantizers(self, layer):
        return []

    def set_quantize_weights(self, layer, weights):
        pass

    def set_quantize_activations(self, layer, activations):
        pass

    def get_output_quantizers(self, layer):
        return []

    def get_config(self):
        return {}


def test_a_configuration_that_is_not_registered_is_kept_by_the_annotation_of_a_model():
    dense = quantize_annotate_layer(keras.layers.Dense(3, name="d"), KnownHere())
    marked = quantize_annotate_model(keras.Sequential([keras.Input((6,)), dense]))
    assert isinstance(marked.get_layer(dense.name).quantize_config, KnownHere)
    assert quantize_apply(marked).layers_in_float == ["quantize_annotate_d"]


def test_a_lambda_is_left_out_of_the_annotation_with_a_word():
    twice = keras.layers.Lambda(lambda x: 2 * x, name="twice")
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(3), twice])
    with pytest.warns(UserWarning, match=r"Not marked in .*: twice \(a Lambda"):
        marked = quantize_annotate_model(model)
    x = np.ones((2, 6))
    np.testing.assert_array_equal(marked(x), model(x))
    with pytest.raises(ValueError, match="'twice', a Lambda: its function cannot be carried over"):
        quantize_apply(marked)


def test_the_remedy_for_a_recurrent_layer_works(tmp_path):
    inputs = keras.Input((5, 4))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.LSTM(3)(inputs)))
    with pytest.raises(
        ValueError, match=r"a LSTM .* `kdzoo.export.to_litert\(model, path, 'dynamic'"
    ):
        quantize_model(model)
    kdzoo.export.to_litert(model, tmp_path / "model.tflite", "dynamic")
