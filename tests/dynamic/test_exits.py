"""Exits: where they leave a network, what they cost, and how they are trained."""

import keras
import numpy as np
import pytest
from exit_networks import gradients, network
from keras import ops

from kdzoo.dynamic import ExitLearner, add_exits, exit_macs, exit_model, exit_parts
from kdzoo.dynamic.scaled_gradients import with_equal_gradients


@pytest.fixture(scope="module")
def exits():
    return add_exits(network(), at=["block1", "block2"])


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).normal(size=(6, 8, 8, 2)).astype("float32")


def test_last_exit_is_the_model_and_others_are_dense_layers_on_means(images):
    model = network()
    before = [weight.copy() for weight in model.get_weights()]
    made = add_exits(model, at=["block1"])
    first, last = made.predict(images, verbose=0)
    np.testing.assert_allclose(last, model.predict(images, verbose=0), atol=1e-6)
    inner = keras.Model(model.input, model.get_layer("block1").output).predict(images, verbose=0)
    kernel, bias = made.get_layer("exit1").get_weights()
    np.testing.assert_allclose(first, inner.mean((1, 2)) @ kernel + bias, atol=1e-5)
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_parts_give_what_the_whole_gives(exits, images):
    whole = exits.predict(images, verbose=0)
    carried, outputs = images, []
    parts = exit_parts(exits)
    for part in parts[:-1]:
        output, *carried = part.predict(carried, verbose=0)
        outputs.append(output)
    outputs.append(parts[-1].predict(carried, verbose=0))
    for one, other in zip(whole, outputs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    # The second part starts from the features, not from the image.
    assert [tuple(tensor.shape) for tensor in parts[1].inputs] == [(None, 8, 8, 4)]
    np.testing.assert_allclose(exit_model(exits, 2).predict(images, verbose=0), whole[1], atol=1e-5)


def test_macs_up_to_an_exit_hold_the_heads_before_it(exits):
    first = 64 * 9 * 2 * 4 + 4 * 3
    second = first + 64 * 9 * 4 * 4 + 4 * 3
    assert exit_macs(exits) == [first, second, second + 4 * 3]


def test_exits_in_a_nested_model_need_no_more_than_what_comes_before_them():
    keras.utils.set_random_seed(0)
    backbone = keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(7, "relu", name="early"),
            keras.layers.Dense(9, "relu", name="late"),
        ],
        name="backbone",
    )
    model = keras.Sequential([keras.Input((5,)), backbone, keras.layers.Dense(3, name="logits")])
    made = add_exits(model, at=["backbone/early"])
    assert exit_macs(made) == [5 * 7 + 7 * 3, 5 * 7 + 7 * 3 + 7 * 9 + 9 * 3]
    x = np.ones((2, 5), "float32")
    np.testing.assert_allclose(
        made.predict(x, verbose=0)[1], model.predict(x, verbose=0), atol=1e-6
    )


def test_models_of_exits_load_again(exits, images, tmp_path):
    exits.save(tmp_path / "exits.keras")
    loaded = keras.models.load_model(tmp_path / "exits.keras")
    for one, other in zip(exits.predict(images, verbose=0), loaded(images), strict=True):
        np.testing.assert_allclose(one, ops.convert_to_numpy(other), atol=1e-6)


def test_given_heads(images):
    model = network()
    made = add_exits(model, at=["block1", "block2"], heads="convolved")
    assert [tuple(output.shape) for output in made.outputs] == [(None, 3)] * 3
    flat = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(3)])
    given = add_exits(model, at=["block1"], heads=[flat])
    assert given.count_params() == model.count_params() + 8 * 8 * 4 * 3 + 3
    assert len(given.predict(images, verbose=0)) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"at": ["blok1"]}, "block1"),
        ({"at": "block1"}, "list of paths"),
        ({"at": []}, "list of paths"),
        ({"at": ["block2", "block1"]}, "in which the model runs"),
        ({"at": ["block1", "block1"]}, "each layer once"),
        ({"at": ["logits"]}, "before its output"),
        ({"at": ["block1"], "heads": "pool"}, "pooled"),
        ({"at": ["block1"], "heads": []}, "for each of 1 exits"),
        ({"at": ["block1"], "heads": keras.layers.Flatten()}, "list of layers"),
        ({"at": ["block1"], "heads": [keras.layers.Flatten()]}, "that of the model"),
        ({"at": ["block1"], "heads": lambda x: x}, "^Expected the head of exit 1 to take a tensor"),
        ({"at": ["block1"], "heads": [lambda: None]}, "^Expected the head of exit 1 to take a ten"),
    ],
)
def test_wrong_exits(arguments, message):
    with pytest.raises(ValueError, match=message):
        add_exits(network(), **arguments)


def test_new_exits_have_names_of_their_own(exits, images):
    made = add_exits(exit_model(exits, 2), at=["block1"], heads="convolved")
    again = add_exits(exit_model(made, 1), at=["block1"])
    assert made.output_names == ["exit1", "exit2"]
    assert again.output_names == ["exit1_2", "exit1"]
    assert [output.shape for output in again(images)] == [(len(images), 3)] * 2


def test_channels_that_come_first_are_refused():
    inputs = keras.Input((2, 8, 8))
    x = keras.layers.Conv2D(4, 3, data_format="channels_first", name="conv")(inputs)
    x = keras.layers.GlobalAveragePooling2D("channels_first", name="pool")(x)
    x = keras.layers.Dense(5, name="hidden")(x)
    model = keras.Model(inputs, keras.layers.Dense(3)(x), name="first")
    for heads in ("pooled", "convolved"):
        with pytest.raises(ValueError, match=r"^Expected channels last .*'first', in which 'conv'"):
            add_exits(model, at=["conv"], heads=heads)
    assert add_exits(model, at=["hidden"]).get_layer("exit1").kernel.shape == (5, 3)


def test_channels_that_usually_come_first_are_last_in_a_model_that_says_so(images):
    keras.config.set_image_data_format("channels_first")
    try:
        inputs = keras.Input((8, 8, 2))
        x = keras.layers.Conv2D(4, 3, data_format="channels_last", name="conv")(inputs)
        x = keras.layers.GlobalAveragePooling2D("channels_last")(x)
        made = add_exits(keras.Model(inputs, keras.layers.Dense(3)(x)), at=["conv"])
    finally:
        keras.config.set_image_data_format("channels_last")
    assert made.get_layer("exit1").kernel.shape == (4, 3)


def test_models_that_can_have_no_exits(exits):
    class Own(keras.Model):
        def call(self, inputs):
            return inputs

    with pytest.raises(ValueError, match="has a graph"):
        add_exits(Own(), at=["block1"])
    model = network()
    ends = keras.Sequential([keras.Input((8, 8, 2)), model, keras.layers.Softmax()])
    with pytest.raises(ValueError, match="softmax"):
        add_exits(ends, at=["network/block1"])
    with pytest.raises(ValueError, match="one output"):
        add_exits(exits, at=["block1"])
    with pytest.raises(ValueError, match="two or more exits"):
        exit_parts(model)
    with pytest.raises(ValueError, match="from 1 to 3"):
        exit_model(exits, 4)


def test_gradient_equilibrium_is_that_of_the_paper(exits, images):
    equal = with_equal_gradients(exits)
    for one, other in zip(exits(images), equal(images), strict=True):
        assert np.array_equal(ops.convert_to_numpy(one), ops.convert_to_numpy(other))
    # K = 3: from exit i by 1 / (K - i + 1), from behind it by (K - i) / (K - i + 1).
    expected = {
        0: {"block1": 1 / 3, "exit1": 1},
        1: {"block1": 1 / 2 * 2 / 3, "block2": 1 / 2, "exit2": 1},
        2: {"block1": None, "block2": 1 / 2, "logits": 1},
    }
    for place, scales in expected.items():
        plain, scaled = gradients(exits, images, place), gradients(equal, images, place)
        for layer, scale in scales.items():
            path = f"{layer}/kernel"
            if scale is not None:
                np.testing.assert_allclose(scaled[path], scale * plain[path], rtol=1e-4, atol=1e-6)


def test_what_goes_around_an_exit_is_not_scaled_by_it(images):
    made = add_exits(network(), at=["block1", "block2"])
    block = made.get_layer("block2")
    block.set_weights([np.zeros_like(weight) for weight in block.get_weights()])
    plain = gradients(made, images, 2)["block1/kernel"]
    scaled = gradients(with_equal_gradients(made), images, 2)["block1/kernel"]
    np.testing.assert_allclose(scaled, 2 / 3 * plain, rtol=1e-4, atol=1e-6)


def test_first_step_of_self_distillation_is_the_formula(exits, images):
    labels = np.array([0, 1, 2, 0, 1, 2])
    learner = ExitLearner(exits, student_loss_weight=0.25, exit_weights=[1.0, 0.5, 2.0])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    learner.compile(keras.optimizers.SGD(0.0), loss, metrics=["accuracy"])
    history = learner.fit(images, labels, batch_size=6, epochs=1, verbose=0).history

    def log_softmax(logits):
        logits = logits.astype("float64")
        logits = logits - logits.max(-1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(-1, keepdims=True))

    outputs = exits.predict(images, verbose=0)
    total, teacher = 0.0, log_softmax(outputs[-1] / 3.0)
    for weight, logits in zip([1.0, 0.5, 2.0], outputs, strict=True):
        hard = -log_softmax(logits)[np.arange(6), labels].mean()
        soft = 9 * (np.exp(teacher) * (teacher - log_softmax(logits / 3.0))).sum(-1).mean()
        is_last = logits is outputs[-1]
        total += weight * (hard if is_last else 0.25 * hard + 0.75 * soft)
    assert history["loss"][0] == pytest.approx(total, rel=1e-5)
    assert "exit2_accuracy" in history


def test_a_teacher_teaches_all_exits_and_stays_as_it_is(exits, images):
    keras.utils.set_random_seed(1)
    teacher = keras.Sequential(
        [keras.Input((8, 8, 2)), keras.layers.Flatten(), keras.layers.Dense(3)]
    )
    before = [weight.copy() for weight in teacher.get_weights()]
    made = keras.models.clone_model(exits)
    learner = ExitLearner(made, teacher, student_loss_weight=0.0)
    learner.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = learner.fit(images, np.zeros(6), batch_size=6, epochs=8, verbose=0).history
    for name in ("exit1", "exit2", "exit3"):
        losses = history[f"{name}_distillation_loss"]
        assert losses[-1] < losses[0]
    assert all(np.array_equal(a, b) for a, b in zip(before, teacher.get_weights(), strict=True))
    assert learner.count_params() == made.count_params()


def _step(model, images, **arguments):
    """The weights, by path, after a step of SGD on some labels."""
    learner = ExitLearner(model, **arguments)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    learner.compile(keras.optimizers.SGD(1.0), loss)
    learner.fit(images, np.arange(len(images)) % 3, batch_size=len(images), epochs=1, verbose=0)
    return {weight.path: ops.convert_to_numpy(weight) for weight in model.weights}


def test_the_last_exit_does_not_learn_from_those_it_teaches(images):
    made = add_exits(network(), at=["block1"])
    before = {weight.path: ops.convert_to_numpy(weight).copy() for weight in made.weights}
    after = _step(made, images, student_loss_weight=0.0, exit_weights=[1.0, 0.0])
    for path in ("logits/kernel", "block2/kernel"):
        np.testing.assert_array_equal(after[path], before[path])
    assert not np.array_equal(after["exit1/kernel"], before["exit1/kernel"])


def test_a_step_has_equal_gradients_where_it_is_told(images):
    before = {weight.path: ops.convert_to_numpy(weight) for weight in network().weights}
    first = {"student_loss_weight": 1.0, "exit_weights": [1.0, 0.0]}
    steps = [
        _step(add_exits(network(), at=["block1"]), images, equal_gradients=equal, **first)
        for equal in (False, True)
    ]
    plain, equal = (step["block1/kernel"] - before["block1/kernel"] for step in steps)
    np.testing.assert_allclose(equal, plain / 2, rtol=1e-3, atol=1e-6)


def test_masks_do_not_get_lost_between_parts():
    layers = keras.layers
    inputs = keras.Input((5,), dtype="int32")
    x = layers.Embedding(9, 4, mask_zero=True)(inputs)
    x = layers.LSTM(4, return_sequences=True, name="tap")(x)
    model = keras.Model(inputs, layers.Dense(2, name="logits")(layers.LSTM(4)(x)))
    with pytest.raises(ValueError, match="without masks"):
        exit_parts(add_exits(model, at=["tap"]))


def test_wrong_learners(exits):
    with pytest.raises(ValueError, match="two or more exits"):
        ExitLearner(network())
    with pytest.raises(ValueError, match="of 3 classes"):
        ExitLearner(exits, keras.Sequential([keras.Input((8, 8, 2)), keras.layers.Dense(4)]))
    with pytest.raises(ValueError, match="each of 3 outputs"):
        ExitLearner(exits, exit_weights=[1.0])
    with pytest.raises(ValueError, match="an output that counts"):
        ExitLearner(exits, exit_weights=[0, 0, 0])
    with pytest.raises(ValueError, match="one loss on the labels"):
        ExitLearner(exits).compile("adam")


@pytest.fixture(scope="module", params=["small", pytest.param("foreign", marks=pytest.mark.large)])
def nested(request):
    """A network that is to be a layer of another one, two of its layers, and images for it."""
    keras.utils.set_random_seed(0)
    images = np.random.default_rng(0).random((2, 32, 32, 3), "float32")
    if request.param == "foreign":
        options = {"weights": None, "include_top": False, "pooling": "avg", "alpha": 0.35}
        base = keras.applications.MobileNetV2((32, 32, 3), **options)
        return base, ["block_5_add", "block_12_add"], images
    convolutions = [keras.layers.Conv2D(4, 3, 2, name=f"conv{number}") for number in range(4)]
    layers = [keras.Input((32, 32, 3)), *convolutions, keras.layers.Flatten(name="flat")]
    return keras.Sequential(layers, name="base"), ["conv0", "conv2"], images


def _by_parts(model, images):
    """What a model's exits give, part after part, as arrays."""
    carried, found = images, []
    for part in exit_parts(model):
        logits, *carried = keras.tree.flatten(part(carried))
        carried = carried[0] if len(carried) == 1 else carried
        found.append(keras.ops.convert_to_numpy(logits))
    return found


def test_exits_lie_in_a_nested_model(nested):
    base, names, images = nested
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Rescaling(2.0, -1.0)(inputs)
    model = keras.Model(inputs, keras.layers.Dense(4, name="logits")(base(x)))
    exits = add_exits(model, at=[f"{base.name}/{name}" for name in names])
    for found, expected in zip(_by_parts(exits, images), exits(images), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(found, model(images), atol=1e-5)


@pytest.mark.parametrize("wraps", ["taps", "exits"])
def test_exits_come_out_of_one_nested_model(wraps, nested):
    base, (name, _), images = nested
    inputs, tensors = keras.Input((32, 32, 3)), [base.get_layer(name).output, base.outputs[0]]

    def heads(first, last):
        first = keras.layers.GlobalAveragePooling2D(name="pooled")(first)
        return [
            keras.layers.Dense(4, name="early")(first),
            keras.layers.Dense(4, name="late")(last),
        ]

    if wraps == "taps":
        outputs = heads(*keras.Model(base.inputs, tensors, name="tapped")(inputs))
    else:
        inner = keras.Model(base.inputs, heads(*tensors), name="inner")
        outputs = inner(keras.layers.Rescaling(2.0)(inputs))
    model = keras.Model(inputs, outputs)
    for found, expected in zip(_by_parts(model, images), model(images), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    first, last = exit_macs(model)
    assert last - first > 7 * 7 * 36 * 4  # A convolution that the first exit does not need.
    alone = exit_model(model, 1)
    np.testing.assert_allclose(alone(images), model(images)[0], atol=1e-5)
    assert "late" not in {layer.name for layer in alone.layers}
