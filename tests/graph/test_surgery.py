"""Graphs that are built again: the same where nothing is changed, else what a build by hand is."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from kdzoo.graph.calls import run_graph
from kdzoo.graph.keras_internals import flatten_layers, functional_of, nodes_of
from kdzoo.graph.surgery import copy_of, rebuild, split


def random(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def application(name, size=32, **arguments):
    make = getattr(keras.applications, name)
    return lambda: make(weights=None, input_shape=(size, size, 3), classes=5, **arguments)


def two_inputs():
    table, image = keras.Input((3,), name="table"), keras.Input((4, 4, 2), name="image")
    x = layers.Flatten()(layers.Conv2D(2, 3, name="conv")(image))
    both = layers.Concatenate()([x, layers.Dense(4, name="of_table")(table)])
    outputs = {"class": layers.Dense(3, name="class")(both), "parts": [x * 2.0, both + 1.0]}
    return keras.Model({"table": table, "image": image}, outputs, name="two")


def shared():
    inputs = keras.Input((4,), name="x")
    dense, norm = layers.Dense(4, name="dense"), layers.BatchNormalization(name="norm")
    x = norm(dense(inputs))
    x = ops.concatenate([ops.relu(x), norm(dense(x))], axis=-1)
    return keras.Model(inputs, layers.Dense(2, name="logits")(x), name="shared")


def nested():
    inner = keras.Input((4,))
    x = layers.Dense(4, name="stage1")(inner)
    backbone = keras.Model(inner, layers.ReLU(name="top")(layers.Dropout(0.5)(x)), name="backbone")
    inputs = keras.Input((4,), name="x")
    head = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="stage1")], name="head")
    return keras.Model(inputs, head(backbone(backbone(inputs, training=False))), name="nested")


def sequential():
    return keras.Sequential(
        [
            keras.Input((6, 6, 2), name="image"),
            layers.Conv2D(3, 3, name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.Flatten(),
            layers.Dense(2, name="logits", activation="softmax"),
        ],
        name="chain",
    )


def masked():
    words = keras.Input((7,), dtype="int32", name="words")
    x = layers.Embedding(9, 4, mask_zero=True, name="embedding")(words)
    query = layers.Bidirectional(layers.LSTM(4, return_sequences=True), name="both")(x)
    x = layers.MultiHeadAttention(2, 3, name="attention")(query, x)
    by_hand = ops.greater(words, 2)
    return keras.Model(words, layers.GRU(3, name="last")(ops.tanh(x), mask=by_hand), name="masked")


def masked_sequential():
    parts = [layers.Embedding(9, 4, mask_zero=True), layers.LSTM(3), layers.Dense(2)]
    return keras.Sequential([keras.Input((7,), dtype="int32"), *parts])


def operations():
    inputs = keras.Input((4, 4, 3), name="image")
    x = (inputs - 0.5) * ops.reshape(ops.mean(inputs, axis=(1, 2)), (-1, 1, 1, 3))
    first, second = ops.split(layers.Conv2D(4, 1)(x)[:, 1:, :, :], 2, axis=-1)
    x = ops.where(first > 0, first, ops.square(second))
    return keras.Model(
        inputs, ops.transpose(ops.pad(x, ((0, 0), (1, 1), (0, 2), (0, 0))), (0, 2, 1, 3))
    )


def adapted():
    normalization = layers.Normalization()
    normalization.adapt(3 * random((64, 5)) + 7)
    inputs = keras.Input((5,))
    return keras.Model(inputs, layers.Dense(2)(normalization(inputs)))


MODELS = {
    "mobilenet": application("MobileNetV2", alpha=0.35),
    "resnet": application("ResNet50"),
    "efficientnet": application("EfficientNetB0"),
    "two_inputs": two_inputs,
    "shared": shared,
    "nested": nested,
    "sequential": sequential,
    "masked": masked,
    "masked_sequential": masked_sequential,
    "operations": operations,
    "adapted": adapted,
}


def inputs_of(model):
    def some(tensor):
        shape = (2, *tensor.shape[1:])
        if "int" in tensor.dtype:
            return np.random.default_rng(0).integers(0, 5, shape)
        return random(shape)

    structure = model.inputs[0] if isinstance(model, keras.Sequential) else model.input
    return keras.tree.map_structure(some, structure)


def arrays(outputs):
    return [ops.convert_to_numpy(leaf) for leaf in keras.tree.flatten(outputs)]


def check_equal(ours, theirs):
    keras.tree.assert_same_structure(ours, theirs)
    for our, their in zip(arrays(ours), arrays(theirs), strict=True):
        np.testing.assert_array_equal(our, their)


def state_of(model):
    """What a surgeon must leave as it is: the weights, and how often each layer was called."""
    nodes = [
        (len(layer._inbound_nodes), len(layer._outbound_nodes)) for layer in flatten_layers(model)
    ]
    return [*model.get_weights(), np.asarray(nodes)]


def names_of(model):
    """Names of operations, in order; those of nested models in lists."""
    if functional_of(model) is None:
        return model.name
    nodes = nodes_of(functional_of(model))
    makers = [node.operation for node in nodes if type(node.operation).__name__ != "NotEqual"]
    return [model.name, *map(names_of, makers)]  # Masks' makers are Keras's own.


def check_apart(new, model):
    assert not {id(part) for part in (*flatten_layers(new), *new.variables)} & {
        id(part) for part in (*flatten_layers(model), *model.variables)
    }


# What surgery does to a published network is the same on every backend, and JAX compiles for long.
_LARGE_ONES = dict.fromkeys(("mobilenet", "resnet", "efficientnet"), pytest.mark.tensorflow)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=_LARGE_ONES.get(name, ())) for name in MODELS]
)
def test_without_a_change_all_stays(name):
    model = MODELS[name]()
    for number, weight in enumerate(model.weights):  # As after a training.
        if name != "adapted":
            weight.assign(weight + 0.1 * np.abs(random(weight.shape, number)))
    before, x = state_of(model), inputs_of(model)
    expected = model(x, training=False)
    new = rebuild(model)
    check_equal(new(x, training=False), expected)
    check_apart(new, model)
    for our, their in zip(state_of(model), before, strict=True):
        np.testing.assert_array_equal(our, their)
    assert type(new) is type(model)
    assert new.name == model.name
    assert new.output_names == model.output_names if hasattr(model, "output_names") else True
    assert names_of(new) == names_of(model)
    trained = [[weight.trainable for weight in part.weights] for part in (new, model)]
    assert trained[0] == trained[1]


def test_what_is_frozen_stays_frozen():
    model = nested()
    model.get_layer("backbone").trainable = False
    model.get_layer("backbone").get_layer("stage1").trainable = True
    new = rebuild(model)
    assert not new.get_layer("backbone").trainable
    assert new.get_layer("backbone").get_layer("stage1").trainable
    assert len(new.trainable_weights) == len(model.trainable_weights)


def test_a_rebuilt_model_goes_through_a_file(tmp_path):
    for make in (two_inputs, nested, masked, operations, sequential):
        model = rebuild(make())
        model.save(tmp_path / "model.keras")
        x = inputs_of(model)
        check_equal(keras.saving.load_model(tmp_path / "model.keras")(x), model(x))


def test_the_class_of_a_model_is_kept():
    @keras.saving.register_keras_serializable("surgery")
    class Own(keras.Model):
        pass

    model = shared()
    new = rebuild(Own(model.input, model.output), name="other")
    assert type(new) is Own
    assert new.name == "other"


def test_a_layer_is_replaced_in_all_its_calls():
    model, x = shared(), random((3, 4))

    def replace(layer, path):
        return copy_of(layer, activation="tanh") if path == "dense" else None

    new = rebuild(model, replace)
    dense, norm = model.get_layer("dense"), model.get_layer("norm")

    def step(x):
        return norm(ops.tanh(dense(x)))

    once = step(x)
    expected = model.get_layer("logits")(ops.concatenate([ops.relu(once), step(once)], axis=-1))
    np.testing.assert_allclose(*map(arrays, (new(x), expected)), rtol=1e-6)
    assert len([node for node in nodes_of(new) if node.operation.name == "dense"]) == 2


def test_a_layer_in_a_nested_model_is_replaced_with_weights_of_its_own():
    model, x = nested(), random((3, 4))
    paths = []

    def replace(layer, path):
        paths.append(path)
        if path == "backbone/stage1":
            return layers.Dense(4, name="other"), [np.eye(4), np.ones(4)]
        return None

    new = rebuild(model, replace)
    assert {"backbone", "backbone/stage1", "head", "head/stage1"} <= set(paths)
    assert len(paths) == len(set(paths))
    x = random((3, 4))
    expected = model.get_layer("head")(ops.relu(ops.relu(x + 1) + 1))
    np.testing.assert_allclose(*map(arrays, (new(x), expected)), rtol=1e-6)


def test_calls_are_left_out_and_added():
    model = sequential()

    def perform(call, layer, args, kwargs):
        if call.path == "norm":
            return args[0]
        outputs = layer(*args, **kwargs)
        return layers.ReLU(name="added")(outputs) if call.path == "conv" else outputs

    new = rebuild(model, perform=perform)
    names = [layer.name for layer in new.layers]
    assert isinstance(new, keras.Sequential)
    assert names == ["conv", "added", "flatten", "logits"]
    x = inputs_of(model)
    x, expected = x, ops.reshape(ops.relu(model.get_layer("conv")(x)), (2, -1))
    check_equal(new(x), model.get_layer("logits")(expected))


def test_operations_are_replaced_by_ones_with_other_arguments():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, ops.clip(inputs * 3.0, -1, 1))

    def perform(call, operation, args, kwargs):
        if type(operation).__name__ == "Clip":
            return ops.clip(*args, -2, 2) + 1.0
        return operation(args[0], 4.0)

    x = random((3, 4))
    check_equal(rebuild(model, perform=perform)(x), ops.clip(x * 4.0, -2, 2) + 1.0)


def test_what_is_added_gets_a_name_that_is_free():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, inputs + 1.0)
    keras.backend.clear_session(free_memory=False)  # As when a file is loaded.

    def perform(call, operation, args, kwargs):
        return operation(args[0] + 2.0, args[1])

    new = rebuild(model, perform=perform)
    assert new.operations[-1].name == model.operations[-1].name
    check_equal(new(np.ones((1, 4), "float32")), np.full((1, 4), 4, "float32"))


def test_layers_get_other_widths():
    model = sequential()
    conv, norm, logits = (model.get_layer(name) for name in ("conv", "norm", "logits"))
    kept = [0, 2]
    rows = np.arange(4 * 4 * 3).reshape(16, 3)[:, kept].ravel()
    others = {
        "conv": (copy_of(conv, filters=2), [w[..., kept] for w in conv.get_weights()]),
        "norm": (copy_of(norm), [w[kept] for w in norm.get_weights()]),
        "logits": (copy_of(logits), [logits.get_weights()[0][rows], logits.get_weights()[1]]),
    }
    new, x = rebuild(model, lambda layer, path: others.get(path)), inputs_of(model)
    features = ops.convert_to_numpy(norm(conv(x)))
    features[..., 1] = 0
    expected = logits(features.reshape(2, -1))
    np.testing.assert_allclose(*map(arrays, (new(x), expected)), rtol=1e-5)
    with pytest.raises(ValueError, match=r"as wide inputs of 'norm' as they were"):
        rebuild(model, lambda layer, path: others.get(path) if path == "conv" else None)


def test_outputs_are_added():
    model, x = shared(), random((3, 4))
    tensors = {"out": "logits", "inner": [model.layers[2].output, model.output]}
    new = rebuild(model, outputs=tensors)
    outputs = new(x)
    norm, dense = model.get_layer("norm"), model.get_layer("dense")
    check_equal(outputs["inner"], [norm(dense(x)), model(x)])
    check_equal(outputs["out"], model(x))


def test_outputs_of_nested_models_are_added():
    inner = nested().get_layer("backbone")
    middle = keras.Sequential([keras.Input((4,)), layers.Dense(4, name="before")], name="middle")
    x = keras.Input((4,))
    wrapped = keras.Model(x, {"y": inner(middle(x))}, name="wrapped")
    inputs = keras.Input((4,))
    model = keras.Model(inputs, layers.Dense(2, name="logits")(wrapped(inputs)["y"]))
    paths = ["wrapped/middle/before", "wrapped/backbone/stage1", "wrapped", "logits"]
    new, x = rebuild(model, outputs=paths), random((3, 4))
    before = middle.get_layer("before")(x)
    stage = inner.get_layer("stage1")(before)
    check_equal(new(x), [before, stage, ops.relu(stage), model(x)])
    assert new.get_layer("wrapped").get_layer("backbone").get_layer("stage1").built


@pytest.mark.parametrize(
    ("make", "at"),
    [
        (shared, lambda model: nodes_of(model)[1].outputs[0]),  # The first of two calls.
        pytest.param(
            application("MobileNetV2", alpha=0.35),
            lambda model: "block_2_add",
            marks=pytest.mark.tensorflow,
        ),
        (two_inputs, lambda model: {"a": "conv", "b": "of_table"}),
        (sequential, lambda model: "norm"),
        (masked, lambda model: ["both", "embedding", model.input]),
    ],
)
def test_both_halves_make_the_whole(make, at):
    model = make()
    before, x = state_of(model), inputs_of(model)
    if make is masked:
        x = x + 1  # No further than to a model's inputs do masks go.
    first, second = split(model, at(model))
    middle = keras.tree.map_structure(ops.convert_to_numpy, first(x, training=False))
    check_equal(second(middle, training=False), model(x, training=False))
    for our, their in zip(state_of(model), before, strict=True):
        np.testing.assert_array_equal(our, their)
    for part in (first, second):
        check_apart(part, model)


def test_halves_share_what_both_call():
    model = shared()
    first, second = split(model, nodes_of(model)[1].outputs[0])
    assert first.get_layer("dense") is second.get_layer("dense")
    assert "logits" not in [layer.name for layer in first.layers]


def test_a_model_is_split_within_a_nested_one():
    inner = keras.Input((4,))
    x = layers.Dense(4, name="stage1")(inner)
    backbone = keras.Model(inner, layers.Dense(3, name="stage2")(x), name="backbone")
    inputs = keras.Input((4,))
    x = layers.Dense(4, name="stage1")(inputs)
    model = keras.Model(inputs, layers.Dense(2, name="logits")(backbone(x)))
    first, second = split(model, "backbone/stage1")
    assert [layer.name for layer in first.layers[1:]] == ["stage1", "backbone_stage1"]
    assert [layer.name for layer in second.layers[1:]] == ["stage2", "logits"]
    x = random((3, 4))
    check_equal(second(first(x)), model(x))


def test_what_is_no_cut_is_refused():
    model = two_inputs()
    with pytest.raises(ValueError, match=r"Received: tensors beside 'table'"):
        split(model, "conv")
    with pytest.raises(ValueError, match=r"Unknown layer of 'two': 'con'\. Did you mean 'conv'"):
        split(model, "con")
    with pytest.raises(ValueError, match=r"'backbone', which it calls 2 times"):
        split(nested(), "backbone/stage1")
    with pytest.raises(ValueError, match="tensors of the model"):
        rebuild(model, outputs=[shared().output])
    with pytest.raises(ValueError, match="sequential model that is built"):
        rebuild(keras.Sequential([layers.Dense(2)]))


def test_a_tensor_within_a_model_that_is_called_twice_is_refused():
    model = nested()
    tensor = model.get_layer("backbone").get_layer("stage1").output
    inputs = keras.Input((4,))
    around = keras.Model(inputs, model(inputs))
    for whole in (model, around):
        for change in (split, lambda model, at: rebuild(model, outputs=at)):
            with pytest.raises(ValueError, match=r"that is called once\. Received: one of '.*back"):
                change(whole, tensor)


def test_a_nested_model_that_is_called_by_keyword_is_split():
    inner = keras.Input((4,))
    hidden = layers.Dense(3, name="stage1")(inner)
    backbone = keras.Model(inner, layers.Dense(3, name="stage2")(hidden), name="backbone")
    inputs, x = keras.Input((4,)), random((3, 4))
    model = keras.Model(inputs, backbone(inputs=inputs))
    first, second = split(model, "backbone/stage1")
    check_equal(second(first(x)), model(x))


def test_a_lambda_is_copied_with_its_function():
    inputs, factor = keras.Input((4,)), 2
    twice = layers.Lambda(
        lambda x, plus: x * factor + plus, (4,), arguments={"plus": 1}, name="twice"
    )
    copy = rebuild(keras.Model(inputs, twice(inputs)))
    assert copy.get_layer("twice") is not twice
    np.testing.assert_array_equal(copy(np.ones((1, 4))), np.full((1, 4), 3.0))


def test_a_subclass_of_sequential_becomes_a_plain_one():
    class Own(keras.Sequential):
        pass

    assert type(rebuild(Own([keras.Input((4,)), layers.Dense(2)]))) is keras.Sequential


def test_a_graph_is_run_with_other_values():
    model = two_inputs()
    seen = []

    def perform(call, args, kwargs):
        seen.append(call.path)
        return [f"{call.path}()" for _ in call.outputs]

    outputs = run_graph(model, {"image": "i", "table": "t"}, perform, "net/")
    assert outputs["class"] == "net/class()"
    assert seen[0].startswith("net/")


def test_a_nested_model_that_was_built_from_the_outer_input_is_split():
    """Its input is the outer model's own tensor; called with another one it is ambiguous."""
    inputs = keras.Input((4,))
    hidden = layers.Dense(3, name="hidden")(inputs)
    inner = keras.Model(inputs, layers.Dense(2)(hidden), name="inner")
    model = keras.Model(inputs, layers.Dense(2)(inner(inputs)))
    first, second = split(model, ["inner/hidden"])
    x = np.random.default_rng(0).random((2, 4), "float32")
    np.testing.assert_array_equal(second(first(x)), model(x))
    other = keras.Model(inputs, inner(layers.Dense(4)(inputs)))
    with pytest.raises(ValueError, match="'inner', built from"):
        split(other, ["inner/hidden"])
