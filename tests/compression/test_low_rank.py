"""Kernels of a low rank: against NumPy's singular values, and equal at full rank."""

import keras
import numpy as np
import pytest

from kdzoo.compression import factorize, merge_factors

LAYERS = keras.layers
METHODS = ("spatial", "channel", "tucker")


def net():
    """Convolutions of several strides and paddings, one shared in a nested model, dense layers."""
    inputs = keras.Input((13, 12, 3))
    x = LAYERS.Conv2D(6, 3, strides=2, padding="same", activation="relu", name="first")(inputs)
    x = LAYERS.BatchNormalization(name="norm")(x)
    x = LAYERS.Conv2D(8, (3, 1), strides=(1, 2), use_bias=False, name="tall")(x)
    x = LAYERS.Conv2D(7, 3, dilation_rate=(1, 2), padding="same", name="dilated")(x)
    inner = keras.Input((None, None, 7))
    shared = LAYERS.Conv2D(7, 3, padding="same", activation="tanh", name="shared")
    x = keras.Model(inner, shared(shared(inner)), name="nested")(x)
    x = LAYERS.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    x = LAYERS.Flatten()(x)
    x = LAYERS.Dense(12, activation="relu", name="hidden")(x)
    return keras.Model(inputs, LAYERS.Dense(4, name="logits")(x), name="net")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    made = net()
    rng = np.random.default_rng(0)
    values = [rng.normal(0, 0.3, weight.shape) for weight in made.get_weights()]
    made.set_weights([abs(v) + 0.05 if v.ndim == 1 else v for v in values])
    return made


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((3, 13, 12, 3), "float32")


def outputs(model, x):
    return keras.ops.convert_to_numpy(model(x, training=False))


def kernel_of(model, name):
    return model.get_layer(name).get_weights()[0]


def cut(matrix, rank):
    """The best matrix of a rank, and the norm of what it loses over that of the matrix."""
    left, values, right = np.linalg.svd(matrix.astype("float64"), full_matrices=False)
    error = np.linalg.norm(values[rank:]) / np.linalg.norm(values)
    return (left[:, :rank] * values[:rank]) @ right[:rank], error


def as_matrix(kernel, method):
    height, width, inputs, outputs = kernel.shape
    if method == "channel":
        return kernel.reshape(-1, outputs)
    return kernel.transpose(0, 2, 1, 3).reshape(height * inputs, width * outputs)


@pytest.mark.parametrize("method", METHODS)
def test_outputs_are_equal_at_full_rank_and_merged(method, model, images):
    before = [weight.copy() for weight in model.get_weights()]
    config = model.get_config()
    full, report = factorize(model, energy=1.0, method=method, only_smaller=False)
    names = {"first", "tall", "dilated", "nested/shared", "hidden", "logits"}
    assert {row.path for row in report.layers} == names
    assert report.left == {"depthwise": "a DepthwiseConv2D, no Dense or Conv2D"}
    assert np.abs(outputs(full, images) - outputs(model, images)).max() < 1e-4
    merged = merge_factors(full)
    assert [layer.name for layer in merged.layers] == [layer.name for layer in model.layers]
    assert merged.get_config() == config
    for ours, theirs in zip(merged.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert np.abs(outputs(merged, images) - outputs(model, images)).max() < 1e-4
    for ours, theirs in zip(model.get_weights(), before, strict=True):
        assert ours.tobytes() == theirs.tobytes()


def test_merging_multiplies_what_was_trained(model, images):
    smaller, _ = factorize(model, rank=2, method="tucker")
    rng = np.random.default_rng(3)
    smaller.set_weights([rng.random(weight.shape) - 0.4 for weight in smaller.get_weights()])
    merged = merge_factors(smaller)
    wanted = outputs(smaller, images)
    np.testing.assert_allclose(outputs(merged, images), wanted, rtol=1e-3, atol=1e-3)
    assert len(merged.layers) == len(model.layers)


def test_a_dense_layer_is_cut_as_numpy_cuts_it(model):
    smaller, report = factorize(model, rank=3, layers=["hidden"])
    (row,) = report.layers
    kernel = kernel_of(model, "hidden")
    wanted, error = cut(kernel, 3)
    found = kernel_of(smaller, "hidden_factor_1") @ kernel_of(smaller, "hidden")
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert row.weight_error == pytest.approx(error, abs=1e-9)
    assert (row.method, row.rank, row.parameters_before) == ("svd", 3, kernel.size)
    assert row.parameters_predicted == row.parameters_after == sum(kernel.shape) * 3
    saved = kernel.size - row.parameters_after
    assert report.parameters_before - report.parameters_after == saved
    assert smaller.count_params() == report.parameters_after
    shown = str(report).split("\n")[1].split()
    assert shown[-4:-1] == [f"{kernel.size:,}", *[f"{sum(kernel.shape) * 3:,}"] * 2]


@pytest.mark.parametrize("method", ["spatial", "channel"])
def test_a_convolution_is_cut_as_numpy_cuts_its_matrix(method, model):
    smaller, report = factorize(model, rank={"dilated": 4}, method=method)
    (row,) = report.layers
    matrix = as_matrix(kernel_of(model, "dilated"), method)
    wanted, error = cut(matrix, 4)
    merged = as_matrix(kernel_of(merge_factors(smaller), "dilated"), method)
    np.testing.assert_allclose(merged, wanted, atol=1e-5)
    assert row.weight_error == pytest.approx(error, abs=1e-9)
    assert row.parameters_predicted == row.parameters_after == sum(matrix.shape) * 4
    sizes = {"spatial": [(3, 1), (1, 3)], "channel": [(3, 3), (1, 1)]}[method]
    chain = [smaller.get_layer(name) for name in ("dilated_factor_1", "dilated")]
    assert [layer.kernel_size for layer in chain] == sizes
    assert chain[0].use_bias is False
    assert chain[1].use_bias is True


def test_tucker_loses_no_more_than_the_tails_of_both_sides(model):
    smaller, report = factorize(model, rank=4, layers=["nested/shared"], method="tucker")
    (row,) = report.layers
    kernel = kernel_of(model.get_layer("nested"), "shared").astype("float64")
    sides = [np.moveaxis(kernel, axis, 0).reshape(kernel.shape[axis], -1) for axis in (2, 3)]
    tails = [cut(side, 4)[1] for side in sides]
    assert max(tails) <= row.weight_error <= np.hypot(*tails)
    merged = kernel_of(merge_factors(smaller).get_layer("nested"), "shared")
    found = np.linalg.norm(merged - kernel) / np.linalg.norm(kernel)
    assert row.weight_error == pytest.approx(found, abs=1e-6)
    assert row.rank == (4, 4)
    assert row.parameters_predicted == row.parameters_after == 7 * 4 + 9 * 4 * 4 + 4 * 7


@pytest.mark.large_on_jax
def test_the_rank_is_the_smallest_that_keeps_the_energy(model):
    _, report = factorize(model, energy=0.9, method="channel", only_smaller=False)
    for row in report.layers:
        holder = model.get_layer("nested") if "/" in row.path else model
        kernel = kernel_of(holder, row.path.rpartition("/")[2])
        matrix = kernel if kernel.ndim == 2 else as_matrix(kernel, "channel")
        assert 1 - cut(matrix, row.rank)[1] ** 2 >= 0.9
        assert 1 - cut(matrix, row.rank - 1)[1] ** 2 < 0.9


@pytest.mark.large_on_jax
def test_tucker_keeps_the_energy(model):
    _, report = factorize(model, energy=0.8, method="tucker", only_smaller=False)
    assert all(1 - row.weight_error**2 >= 0.8 for row in report.layers)
    assert any(row.weight_error > 0.1 for row in report.layers)


@pytest.mark.large_on_jax
def test_auto_takes_the_fewest_parameters_or_the_smallest_error():
    convolutions = [LAYERS.Conv2D(6, 3), LAYERS.Conv2D(9, (1, 5))]
    model = keras.Sequential([keras.Input((9, 9, 4)), *convolutions])
    rows = {
        method: [
            factorize(model, **amount, method=method, only_smaller=False)[1].layers
            for amount in ({"energy": 0.7}, {"rank": 3})
        ]
        for method in ("auto", *METHODS)
    }
    at_energy, at_rank = zip(*rows.values(), strict=True)
    for auto, *others in zip(*at_energy, strict=True):
        assert auto.parameters_after == min(row.parameters_after for row in others)
    for auto, *others in zip(*at_rank, strict=True):
        smaller = [row for row in others if row.parameters_after < row.parameters_before]
        assert auto.weight_error == min(row.weight_error for row in smaller)


@pytest.mark.large_on_jax
@pytest.mark.parametrize("ratio", [0.6, 0.9])
def test_a_ratio_is_reached_and_hardly_more(ratio, model):
    smaller, report = factorize(model, ratio=ratio)
    assert smaller.count_params() <= ratio * model.count_params()
    assert smaller.count_params() > (ratio - 0.1) * model.count_params()
    assert report.parameters_after == smaller.count_params()


@pytest.mark.large_on_jax
@pytest.mark.parametrize("noise", [0.05, 0.3])
def test_variational_bayes_tells_a_rank_from_noise(noise):
    rng = np.random.default_rng(0)
    dense, conv = LAYERS.Dense(40, name="dense"), LAYERS.Conv2D(30, 3, name="conv")
    model = keras.Sequential([keras.Input((6, 6, 20)), conv, dense])
    matrix = rng.normal(size=(30, 4)) @ rng.normal(size=(4, 40))
    core = rng.normal(size=(3, 3, 3, 5))
    kernel = np.einsum("hwab,ia,ob->hwio", core, rng.normal(size=(20, 3)), rng.normal(size=(30, 5)))
    for layer, values in ((dense, matrix), (conv, kernel)):
        layer.kernel.assign(values + noise * rng.normal(size=values.shape))
    _, report = factorize(model, rank="vbmf", method="tucker")
    assert {row.path: row.rank for row in report.layers} == {"conv": (3, 5), "dense": 4}


@pytest.fixture(scope="module")
def classifier():
    """A model of kernels near to a low rank, inputs, and as labels its classes."""
    rng = np.random.default_rng(0)
    layers = [LAYERS.Dense(40, activation="relu"), LAYERS.Dense(30), LAYERS.Dense(5)]
    made = keras.Sequential([keras.Input((20,)), *layers])
    for layer in layers[:2]:
        inputs, units = layer.kernel.shape
        low = rng.normal(size=(inputs, 4)) @ rng.normal(size=(4, units))
        layer.kernel.assign(low + 0.3 * rng.normal(size=(inputs, units)))
    made.compile(loss="mse", run_eagerly=True)  # So that nothing is traced for each size.
    x = rng.normal(size=(200, 20)).astype("float32")
    return made, x, outputs(made, x).argmax(-1)


@pytest.mark.large_on_jax
def test_an_accuracy_is_kept_at_the_smallest_size_that_was_tried(classifier):
    made, x, labels = classifier
    smaller, report = factorize(made, accuracy=0.8, data=(x, labels))
    reached = np.mean(outputs(smaller, x).argmax(-1) == labels)
    assert 0.8 <= reached < 1
    fitting = [trial for trial in report.tried if trial.accuracy >= 0.8]
    assert min(trial.parameters for trial in fitting) == smaller.count_params()
    assert any(trial.accuracy < 0.8 for trial in report.tried)
    assert (report.tried[0].energy, report.tried[0].accuracy) == (1.0, 1.0)
    assert report.parameters_after == smaller.count_params() < made.count_params()
    taken = next(t for t in report.tried if t.parameters == smaller.count_params())
    assert taken.accuracy == pytest.approx(reached)
    again, _ = factorize(made, energy=taken.energy)
    for ours, theirs in zip(smaller.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert len({trial.parameters for trial in report.tried}) == len(report.tried) <= 9
    assert str(report).count("tried: ") == len(report.tried)


def test_an_accuracy_that_the_model_does_not_have_is_refused(classifier):
    made, x, labels = classifier
    wrong = np.where(np.arange(200) < 50, (labels + 1) % 5, labels)
    with pytest.raises(ValueError, match=r"on the data, at most 0\.7500. Received: accuracy=0.9"):
        factorize(made, accuracy=0.9, data=(x, wrong))


def test_what_would_not_be_smaller_is_left(model):
    same, report = factorize(model, energy=1.0)
    assert "no smaller at rank" in report.left["logits"]
    assert {row.path for row in report.layers}.isdisjoint(report.left)
    assert all(row.parameters_after < row.parameters_before for row in report.layers)
    assert same.count_params() <= model.count_params()
    assert str(report).count("\n") == len(report.layers) + len(report.left) + 1


def test_what_is_left_and_why():
    class Own(LAYERS.Dense):
        pass

    inputs = keras.Input((6, 6, 4))
    x = LAYERS.Conv2D(4, 3, groups=2, name="grouped")(inputs)
    x = LAYERS.Conv2D(4, 3, kernel_constraint="max_norm", name="constrained")(x)
    x = LAYERS.Flatten()(x)
    x = LAYERS.Dense(8, name="broken")(x)
    x = Own(9, name="own")(x)
    model = keras.Model(inputs, LAYERS.Dense(9, name="taken")(x))
    kernel = kernel_of(model, "broken")
    kernel[0, 0] = np.nan
    model.get_layer("broken").kernel.assign(kernel)
    once, report = factorize(model, rank=1)
    assert report.left == {
        "grouped": "a convolution of 2 groups",
        "constrained": "with a constraint, which new kernels would not keep",
        "broken": "with a weight that is not finite",
        "own": "a Own, no Dense or Conv2D",
    }
    for path, why in {"taken": "the last of a chain", "taken_factor_1": "a factor"}.items():
        with pytest.raises(ValueError, match=f"'{path}', {why} already"):
            factorize(once, rank=1, layers=[path])
    with pytest.raises(ValueError, match=r"a layer can be replaced\. Received: 'grouped', a conv"):
        factorize(once, rank=1)
    alone = keras.Sequential([keras.Input((8, 8, 2)), LAYERS.Conv2D(9, 3)])
    with pytest.raises(ValueError, match="a Conv2D, which the method 'svd' leaves"):
        factorize(alone, rank=1, method="svd")


@pytest.mark.large_on_jax
def test_a_compiled_sequential_model_of_halves_stays_one():
    keras.utils.set_random_seed(0)
    layers = [LAYERS.Dense(9, "relu", dtype="mixed_bfloat16"), LAYERS.Dense(8, dtype="float16")]
    model = keras.Sequential([keras.Input((10,)), *layers])
    model.layers[0].trainable = False
    model.compile("sgd", "mse")
    smaller, report = factorize(model, rank=2)
    assert type(smaller) is keras.Sequential
    assert smaller.compiled
    assert [layer.dtype_policy.name for layer in smaller.layers] == [
        *("mixed_bfloat16", "mixed_bfloat16", "float16", "float16")
    ]
    assert [layer.trainable for layer in smaller.layers] == [False, False, True, True]
    assert [weight.dtype.name for weight in smaller.layers[2].get_weights()] == ["float16"]
    assert len(report.layers) == 2
    assert [layer.name for layer in merge_factors(smaller).layers] == [
        layer.name for layer in model.layers
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "one of rank, energy, ratio and accuracy. Received: none"),
        ({"accuracy": 0, "data": ()}, "Expected accuracy to lie in"),
        ({"rank": 1, "data": ()}, "Expected data with accuracy, and only then"),
        ({"accuracy": 0.5}, "accuracy=0.5, data=None"),
        ({"rank": 1, "energy": 0.5}, "Received: rank and energy"),
        ({"energy": 0}, "energy to lie in"),
        ({"ratio": 1}, "ratio to lie in"),
        ({"ratio": 0.001}, "Expected a ratio of at least 0"),
        ({"rank": "bayes"}, "Unknown rank"),
        ({"rank": {"logits": 1}, "layers": ["hidden"]}, "a rank for each of the layers"),
        ({"rank": {"logits": 0}}, "rank of 'logits' to be a positive integer"),
        ({"rank": 1, "layers": ["logit"]}, "Did you mean 'logits'"),
        ({"rank": 1, "layers": ["depthwise"]}, "Received: 'depthwise', a DepthwiseConv2D"),
        ({"rank": 1, "layers": "logits"}, "Expected layers to be a collection"),
        ({"rank": 1, "method": "cp"}, "Unknown method"),
    ],
)
def test_what_is_refused(arguments, message, model):
    with pytest.raises(ValueError, match=message):
        factorize(model, **arguments)


def test_a_chain_that_is_no_product_is_refused():
    inputs = keras.Input((4,))
    x = LAYERS.Dense(2, "relu", use_bias=False, name="a_factor_1")(inputs)
    model = keras.Model(inputs, LAYERS.Dense(3, name="a")(x))
    with pytest.raises(ValueError, match="Received: 'a_factor_1', with a bias or an activation"):
        merge_factors(model)
    x = LAYERS.Dense(2, use_bias=False, name="a_factor_1")(inputs)
    model = keras.Model(inputs, [LAYERS.Dense(3, name="a")(x), x])
    with pytest.raises(ValueError, match="whose output also goes elsewhere"):
        merge_factors(model)


def test_a_layer_of_a_chain_that_is_called_elsewhere_is_refused():
    inputs = keras.Input((4,))
    first = LAYERS.Dense(4, use_bias=False, name="a_factor_1")
    x = LAYERS.Dense(4, name="a")(first(inputs))
    model = keras.Model(inputs, [x, LAYERS.Dense(3, name="b")(first(x))])
    with pytest.raises(ValueError, match="'a_factor_1', which is also called elsewhere"):
        merge_factors(model)


@pytest.mark.parametrize("change", ["enable_lora", "quantize"])
@pytest.mark.parametrize("position", [0, 1])
def test_a_chain_whose_kernels_are_not_all_is_refused(change, position):
    model = keras.Sequential([keras.Input((9,)), LAYERS.Dense(8, name="a")])
    smaller, _ = factorize(model, rank=2)
    getattr(smaller.layers[position], change)({"enable_lora": 1, "quantize": "int8"}[change])
    with pytest.raises(ValueError, match="quantized by Keras, or with LoRA"):
        merge_factors(smaller)


def test_names_of_strangers_are_not_taken_twice():
    """And a name in a nested model is none of the layers around it."""
    layers = [LAYERS.Conv2D(8, 3, name=name) for name in ("a", "a_factor_2")]
    inner = keras.Sequential(
        [keras.Input((4, 4, 8)), LAYERS.Conv2D(8, 3, name="b_factor_1")], name="inner"
    )
    b = LAYERS.Conv2D(9, 1, name="b")
    model = keras.Sequential([keras.Input((8, 8, 8)), *layers, inner, b])
    _, report = factorize(model, rank=2, method="tucker")
    assert [row.path for row in report.layers] == ["b"]
    assert report.left["a"].startswith("the last of a chain already")
