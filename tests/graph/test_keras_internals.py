"""What kdzoo uses of Keras beneath its public names: a new Keras that changes it fails here first.

And no other file of kdzoo touches a private part of Keras.
"""

import ast
import io
import pathlib
import zipfile

import keras
import numpy as np
import pytest

import kdzoo
from kdzoo.graph import keras_internals

PACKAGE = pathlib.Path(kdzoo.__file__).parent
IN_VIEW = PACKAGE / "graph" / "keras_internals.py"


@pytest.fixture
def model():
    inputs = keras.Input((4,), name="x")
    shared = keras.layers.Dense(4, name="shared")
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="inner")], name="part")
    return keras.Model(inputs, inner(shared(shared(inputs)) + 1.0), name="net")


@pytest.mark.tensorflow
def test_argmax_is_that_of_tensorflow_within_the_block():
    x = np.random.default_rng(0).normal(size=(3, 4, 5)).astype("float32")
    x[0, 0, 0] = -0.0
    before = keras.ops.argmax, keras_internals._backend.numpy.argmax
    for name in ("argmax", "argmin"):
        for arguments in ({}, {"axis": 1}, {"axis": -1, "keepdims": True}, {"keepdims": True}):
            expected = getattr(np, name)(x, **arguments)
            with keras_internals.plain_argmax():
                found = getattr(keras.ops, name)(x, **arguments)
            np.testing.assert_array_equal(found, expected)
    assert before == (keras.ops.argmax, keras_internals._backend.numpy.argmax)


# Graphs.


def test_functional_and_sequential_models_have_a_graph(model):
    class Subclassed(keras.Model):
        def call(self, inputs):
            return inputs

    assert keras_internals.functional_of(model) is model
    graph = keras_internals.functional_of(model.get_layer("part"))
    assert [layer.name for layer in graph.layers][1:] == ["inner"]
    assert keras_internals.functional_of(keras.Sequential([keras.layers.Dense(2)])) is None
    assert keras_internals.functional_of(Subclassed()) is None


def test_nodes_come_in_order_with_their_arguments(model):
    nodes = keras_internals.nodes_of(model)
    assert [type(node.operation).__name__ for node in nodes] == [
        "Dense",
        "Dense",
        "Add",
        "Sequential",
    ]
    assert nodes[0].inputs[0] is model.inputs[0]
    assert nodes[2].args[1] == 1.0
    assert nodes[3].outputs[0] is model.outputs[0]


def test_masks_are_recorded_and_are_those_that_keras_keeps():
    inputs = keras.Input((5,), dtype="int32")
    embedded = keras.layers.Embedding(7, 3, mask_zero=True)(inputs)
    *_, last = keras_internals.nodes_of(keras.Model(inputs, keras.layers.LSTM(2)(embedded)))
    mask = keras_internals.mask_of(embedded)
    assert mask is not None
    assert last.kwargs["mask"] is mask
    assert keras_internals.mask_of(inputs) is None


def test_makers_are_found_from_tensors(model):
    assert keras_internals.maker_of(model.outputs[0]).name == "part"
    assert isinstance(keras_internals.maker_of(model.inputs[0]), keras.layers.InputLayer)


def test_classes_that_are_made_from_inputs_and_outputs_are_told(model):
    class Plain(keras.Model):
        pass

    class Other(keras.Model):
        def __init__(self, inputs, outputs, name=None, *, size=3):
            super().__init__(inputs, outputs, name=name)

    assert keras_internals.keeps_its_class(model)
    assert keras_internals.keeps_its_class(Plain(model.input, model.output))
    assert not keras_internals.keeps_its_class(model.get_layer("part"))


def test_a_copied_operation_computes_the_same_and_has_no_calls(model):
    reshape = keras.ops.reshape(model.input, (-1, 2, 2))
    operation = keras_internals.maker_of(reshape)
    copy = keras_internals.copy_of_operation(operation)
    assert copy(keras.Input((4,))).shape == (None, 2, 2)
    assert len(operation._inbound_nodes) == 1
    assert keras_internals.maker_of(reshape) is operation
    assert copy.name == operation.name


def test_inputs_are_standardized(model):
    (array,) = keras_internals.standardized_inputs(model, np.ones((2, 4), "float64"))
    assert keras.backend.standardize_dtype(array.dtype) == "float32"


# Layers.


def test_layers_are_flattened(model):
    part = model.get_layer("part")
    names = [layer.name for layer in keras_internals.flatten_layers(model)]
    assert names[0] == "net"
    assert names.count("inner") == 1
    direct = keras_internals.flatten_layers(model, include_self=False, recursive=False)
    assert part in direct
    assert part.get_layer("inner") not in direct


def test_a_first_layer_brings_its_input_shape():
    first, other = keras.layers.Dense(2, input_shape=(3,)), keras.layers.Dense(2)
    assert keras_internals.input_shape_argument(first) == (3,)
    assert keras_internals.input_shape_argument(other) is None
    keras_internals.set_input_shape_argument(other, (3,))
    assert keras.Sequential([other, keras.layers.Dense(1)]).built


test_a_first_layer_brings_its_input_shape = pytest.mark.filterwarnings(
    "ignore:Do not pass an `input_shape`:UserWarning"
)(test_a_first_layer_brings_its_input_shape)


def test_a_variable_becomes_a_layers_own():
    layer, variable = keras.layers.Layer(), keras.Variable([1.0, 2.0])
    keras_internals.track_variable(layer, variable)
    assert any(weight is variable for weight in layer.trainable_weights)


# Training.


def test_what_compile_was_given_is_computed(model):
    assert keras_internals.compile_loss(model) is None
    model.compile("sgd", "mse")
    value = keras_internals.compile_loss(model)(np.ones((2, 3)), keras.ops.zeros((2, 3)))
    assert float(value) == 1
    assert float(keras_internals.additional_loss(model, keras.ops.ones(()))) == 1


def test_fit_tells_evaluate_that_it_calls(model):
    class Listening(keras.Model):
        def evaluate(self, *args, **kwargs):
            heard.append(kwargs)
            return super().evaluate(*args, **kwargs)

    heard, listening = [], Listening(model.input, model.output)
    listening.compile("sgd", "mse")
    x, y = np.ones((2, 4), "float32"), np.ones((2, 3), "float32")
    listening.fit(x, y, validation_data=(x, y), verbose=0)
    assert heard[0][keras_internals.CACHED_EVALUATION] is True


@pytest.mark.tensorflow
def test_tensorboard_has_a_writer(tmp_path, model):
    callback = keras.callbacks.TensorBoard(tmp_path)
    callback.set_model(model)
    assert hasattr(keras_internals.train_writer(callback), "as_default")


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="JAX alone has a step's state")
def test_a_step_on_jax_is_handed_what_the_hook_says(model):
    class Hooked(keras_internals.JaxStateHook, keras.Model):
        def changed_jax_state(self, parts, purges):
            asked.append((list(parts), purges))
            kept = {name: [array + 0 for array in arrays] for name, arrays in parts.items()}
            self.remember_jax_state(kept)
            return kept

    asked, hooked = [], Hooked(model.input, model.output)
    hooked.compile("sgd", "mse")
    hooked.fit(np.ones((2, 4), "float32"), np.ones((2, 3), "float32"), verbose=0)
    order = ["trainable", "non_trainable", "optimizer", "metrics"]
    assert asked[0] == ([f"{part}_variables" for part in order], True)
    assert np.isfinite(hooked.get_weights()[0]).all()


def test_a_variable_is_given_an_array_itself():
    variable = keras.Variable([1.0, 2.0])
    keras_internals.set_value(variable, keras.Variable([3.0, 4.0]).value)
    assert variable.numpy().tolist() == [3, 4]


# Variables that are being made.


def test_every_variable_of_a_layer_begins_in_the_function_that_is_watched():
    """Otherwise `kdzoo.zoo.files` would bound nothing."""
    usual, seen = keras_internals.initialize_function(), []

    def watched(variable, initializer):
        seen.append(tuple(variable.shape))
        usual(variable, initializer)

    keras_internals.set_initialize_function(watched)
    try:
        layer = keras.layers.Bidirectional(keras.layers.LSTM(3))
        layer.build((None, 2, 4))
    finally:
        keras_internals.set_initialize_function(usual)
    for shape in {tuple(weight.shape) for weight in layer.weights}:
        assert seen.count(shape) >= 2, "a variable was made that was not seen"


def test_a_variable_may_begin_with_another_value():
    assert keras_internals.current_scope() is None
    with keras.StatelessScope() as scope:
        assert keras_internals.current_scope() is scope
        layer = keras.layers.Dense(2)
        layer.build((None, 3))
        scope.add_update((layer.kernel, np.ones((3, 2), "float32")))
        assert scope.get_current_value(layer.kernel).sum() == 6
        keras_internals.begin_with(layer.kernel, np.full((3, 2), 7, "float32"))
        waiting = keras_internals.waiting_variables()
        assert any(variable is layer.kernel for variable in waiting)
    np.testing.assert_array_equal(layer.kernel, np.full((3, 2), 7))


def test_variables_that_are_forgotten_get_no_values():
    before = keras_internals.waiting_variables()
    with keras.StatelessScope():
        keras.layers.Dense(2).build((None, 3))
        assert len(keras_internals.waiting_variables()) == len(before) + 2
        keras_internals.set_waiting_variables(before)
    assert keras_internals.waiting_variables() == before


# Files.


def test_the_safe_mode_is_told_by_the_innermost_scope():
    from keras.src.saving.serialization_lib import SafeModeScope, in_safe_mode

    with SafeModeScope(False):
        assert not in_safe_mode()
        with keras_internals.refusing_code():
            assert in_safe_mode()


def test_a_model_is_saved_into_memory(model):
    names = {"config.json", "metadata.json", "model.weights.h5"}
    file = io.BytesIO(keras_internals.keras_file(model))
    assert set(zipfile.ZipFile(file).namelist()) == names


def test_the_weights_of_a_keras_file_are_loaded(model):
    with zipfile.ZipFile(io.BytesIO(keras_internals.keras_file(model))) as file:
        content = file.read("model.weights.h5")
    expected = model.get_weights()
    model.set_weights([0 * weight for weight in expected])
    keras_internals.load_keras_weights(model, io.BytesIO(content))
    for found, weight in zip(model.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(found, weight)
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(9)])
    with pytest.raises(ValueError, match="could not be loaded"):
        keras_internals.load_keras_weights(other, io.BytesIO(content))


def test_state_goes_through_a_store(model):
    class InMemory(keras_internals.Store):
        def __init__(self, contents):
            self.contents = contents

        def make(self, path, metadata=None):
            return self.contents.setdefault(path, {})

        def get(self, path):
            return self.contents.get(path, {})

        def has_path(self, path):
            return any(name.startswith(path) for name in self.contents)

        def close(self):
            pass

    contents, before = {}, model.get_weights()
    keras_internals.save_state(model, InMemory(contents))
    contents = {
        path: {name: np.array(keras.ops.convert_to_numpy(value)) for name, value in values.items()}
        for path, values in contents.items()
    }
    for weight in model.weights:
        weight.assign(keras.ops.zeros(weight.shape))
    keras_internals.load_state(model, InMemory(contents))
    for weight, expected in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, expected)


# Nobody else.


def private_names():
    """The private names of Keras's classes, and of what their objects hold."""
    inputs = keras.Input((2,))
    layer = keras.layers.Dense(1)
    model = keras.Model(inputs, layer(inputs))
    model.compile("sgd", "mse")
    node = layer._inbound_nodes[0]
    objects = [inputs, layer, model, keras.Sequential([layer]), layer.kernel, model.optimizer, node]
    objects += [keras.layers.InputLayer((2,)), keras.callbacks.TensorBoard(), keras.losses.Loss()]
    objects += [keras_internals._saving_lib]
    names = {name for thing in objects for name in {*dir(thing), *vars(thing)}}
    return {name for name in names if name.startswith("_") and not name.startswith("__")}


def touched(source, private):
    """Yields (line, what) for each private part of Keras that a source touches."""
    tree = ast.parse(source)
    stored = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }
    methods = {
        part.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for part in node.body
        if isinstance(part, ast.FunctionDef)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [name.name for name in node.names]
            yield from ((node.lineno, name) for name in names if name.startswith("keras.src"))
        elif isinstance(node, ast.Attribute) and node.attr in private - (stored | methods):
            yield node.lineno, node.attr
        elif isinstance(node, ast.Attribute) and ast.unparse(node) == "keras.src":
            yield node.lineno, "keras.src"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr"):
            name = node.args[1].value if isinstance(node.args[1], ast.Constant) else None
            yield from [(node.lineno, name)] if name in private else []
    yield from ((1, name) for name in methods & private)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("from keras.src.saving import saving_lib", "keras.src.saving"),
        ("import keras.src.backend as b", "keras.src.backend"),
        ("model._flatten_layers()", "_flatten_layers"),
        ("getattr(tensor, '_keras_history', None)", "_keras_history"),
        ("class A:\n    def _get_call_context(self):\n        pass", "_get_call_context"),
        ("def f(self):\n    return self._compile_loss", "_compile_loss"),
    ],
)
def test_what_touches_a_private_part_is_seen(source, name):
    assert name in [found for _, found in touched(source, private_names())]


def test_nobody_else_touches_a_private_part_of_keras():
    private = private_names()
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path != IN_VIEW
        for line, name in touched(path.read_text(encoding="utf-8"), private)
    ]
    assert found == [], "put it into kdzoo/graph/keras_internals.py, with a test"


@pytest.mark.parametrize(
    ("name", "compute"),
    [
        ("Multiply", lambda x: x * 2.0),
        ("Relu", keras.ops.relu),
        ("Cast", lambda x: keras.ops.cast(x, "int32")),
        ("Logsumexp", keras.ops.logsumexp),
        ("Resize", lambda x: keras.ops.image.resize(x, (2, 2))),
        ("Norm", keras.ops.norm),
    ],
)
def test_operations_have_their_classes_by_name(name, compute):
    made = keras_internals.maker_of(compute(keras.Input((4, 4, 3))))
    assert keras_internals.operation_class(name) is type(made)
    assert keras_internals.operation_class("Dense") is None
    assert keras_internals.operation_class("Operation") is None
    assert keras_internals.operation_class("KerasTensor") is None


@pytest.mark.tensorflow
def test_a_function_knows_whether_it_is_traced_for_xla():
    import tensorflow as tf

    found = []

    def inner():
        @tf.function
        def run():
            found.append(keras_internals.compiles_by_xla())
            return tf.constant(0)

        return run()

    tf.function(inner)()
    tf.function(inner, jit_compile=True)()
    assert found == [False, True]


def test_operations_are_seen_whoever_calls_them():
    seen = []

    def wrap(name, function):
        def noted(*args, **kwargs):
            seen.append(name)
            return function(*args, **kwargs)

        return noted

    dense = keras.layers.Dense(2)
    dense.build((1, 3))
    x, kernel = np.ones((1, 3), "float32"), np.ones((1, 3, 2), "float32")
    with keras_internals.operations_wrapped(("matmul", "conv"), wrap):
        dense(x)
        keras.ops.conv(x[None], kernel)
    dense(x)
    assert seen == ["matmul", "conv"]


@pytest.mark.parametrize(
    "form",
    [
        "tf.data",
        pytest.param("arrays", marks=pytest.mark.tensorflow),
        pytest.param("PyDataset", marks=pytest.mark.tensorflow),
    ],
)
def test_what_is_iterated_over_can_be_changed(form):
    tf = pytest.importorskip("tensorflow")
    x = np.arange(6, dtype="float32").reshape(6, 1)

    class Sequence(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return (x[3 * index : 3 * index + 3],)

    given = {"arrays": x, "tf.data": tf.data.Dataset.from_tensors(x), "PyDataset": Sequence()}
    model = keras.Sequential([keras.Input((1,)), keras.layers.Activation("linear")])
    doubled = []

    def change(dataset):
        doubled.append(dataset)
        return dataset.map(lambda batch: keras.tree.map_structure(lambda part: 2 * part, batch))

    with keras_internals.datasets_changed(change), keras_internals.datasets_changed(change):
        np.testing.assert_array_equal(model.predict(given[form], verbose=0), 2 * x)
    assert len(doubled) == 1
    np.testing.assert_array_equal(model.predict(given[form], verbose=0), x)


@pytest.mark.parametrize(("policy", "own"), [("mixed_bfloat16", "float32"), ("float16",) * 2])
def test_variables_are_read_in_the_dtype_that_they_have(policy, own):
    dtypes = []

    class Reads(keras.layers.Dense):
        def call(self, inputs):
            with keras_internals.without_autocast():
                dtypes.extend([self.kernel.dtype, self.kernel.value.dtype])
            dtypes.append(self.kernel.dtype)
            return inputs

    Reads(2, dtype=policy)(np.ones((1, 2), "float32"))
    found = list(map(keras.backend.standardize_dtype, dtypes[-3:]))
    assert found == [own, own, policy.removeprefix("mixed_")]
