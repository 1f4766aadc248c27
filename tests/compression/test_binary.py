"""Binary weights: what layers compute, what they learn, and what is left when they are stripped."""

import keras
import numpy as np
import pytest

import kdzoo
from kdzoo.compression import binarize, strip_binarization

LAYERS = keras.layers


def net():
    inputs = keras.Input((5, 5, 2))
    x = LAYERS.Conv2D(4, 3, padding="same", name="conv")(inputs)
    x = LAYERS.BatchNormalization(name="norm")(x)
    x = LAYERS.Flatten(name="flat")(LAYERS.ReLU()(x))
    return keras.Model(inputs, LAYERS.Dense(3, name="logits")(x), name="net")


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return net()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).random((4, 5, 5, 2), "float32")


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def dense(rng, inputs=6, outputs=5):
    """A model of one dense layer, and its kernel."""
    model = keras.Sequential([keras.Input((inputs,)), LAYERS.Dense(outputs, name="logits")])
    kernel = rng.normal(0, 0.5, (inputs, outputs)).astype("float32")
    model.set_weights([kernel, rng.normal(size=outputs).astype("float32")])
    return model, kernel


def test_signs_are_what_a_layer_computes_with():
    rng = np.random.default_rng(0)
    model, kernel = dense(rng)
    x, bias = rng.normal(size=(3, 6)).astype("float32"), model.get_weights()[1]
    binary, report = binarize(model)
    np.testing.assert_allclose(numpy(binary(x)), x @ np.sign(kernel) + bias, rtol=1e-5)
    assert report.layers == {"logits": 30}
    assert report.real == 5
    scaled, _ = binarize(model, method="xnor")
    wanted = x @ (np.abs(kernel).mean(0) * np.sign(kernel)) + bias
    np.testing.assert_allclose(numpy(scaled(x)), wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(model.get_weights()[0], kernel)


def test_draws_have_the_latent_weight_for_a_mean():
    rng = np.random.default_rng(0)
    model, kernel = dense(rng)
    binary, _ = binarize(model, method="stochastic", seed=3)
    coefficient = np.sqrt(1.5 / (6 + 5))
    latent = np.clip(kernel / 2 / coefficient, -1, 1)
    layer = binary.layers[-1]
    draws = np.stack([numpy(layer.binary_kernel(training=True)) for _ in range(100)])
    assert set(np.unique(draws)) == {-1.0, 1.0}
    np.testing.assert_allclose(draws.mean(0), latent, atol=0.35)
    x = rng.normal(size=(3, 6)).astype("float32")
    wanted = x @ latent + model.get_weights()[1]
    np.testing.assert_allclose(numpy(binary(x, training=False)), wanted, rtol=1e-4, atol=1e-5)


def test_a_step_moves_latent_weights_as_the_paper_scales_it_and_clips_them():
    rng = np.random.default_rng(0)
    model, kernel = dense(rng)
    binary, _ = binarize(model)
    coefficient = np.sqrt(1.5 / (6 + 5))
    latent = np.clip(kernel / 2 / coefficient, -1, 1)
    x, y = rng.normal(size=(8, 6)).astype("float32"), rng.normal(size=(8, 5)).astype("float32")
    error = x @ np.sign(kernel) + model.get_weights()[1] - y
    gradient = 2 * x.T @ error / error.size
    binary.compile(keras.optimizers.SGD(0.02), "mse", run_eagerly=True)
    binary.train_on_batch(x, y)
    wanted = np.clip(latent - 0.02 / coefficient**2 * gradient, -1, 1)
    moved = binary.get_weights()[0] / coefficient
    np.testing.assert_allclose(moved, wanted, atol=1e-5)
    assert (np.abs(wanted) == 1).any()
    assert (np.abs(wanted - latent) > 0.01).any()


@pytest.mark.parametrize("method", ["deterministic", "stochastic", "xnor"])
def test_stripped_models_are_plain_and_compute_what_was_computed(method, model, images, tmp_path):
    binary, report = binarize(model, method=method, seed=0)
    assert report.layers == {"conv": 72, "logits": 300}
    plain = strip_binarization(binary, real_valued=method == "stochastic")
    assert {type(layer).__module__.split(".")[0] for layer in plain.layers} == {"keras"}
    assert [layer.name for layer in plain.layers] == [layer.name for layer in model.layers]
    np.testing.assert_allclose(plain(images), binary(images, training=False), rtol=1e-4, atol=1e-4)
    kernels = [numpy(binary.get_layer("logits").binary_kernel()), plain.get_weights()[-2]]
    np.testing.assert_array_equal(*kernels)  # A sign after it may turn on the last bit.
    binary.save(tmp_path / "net.keras")
    again = kdzoo.load_model(tmp_path / "net.keras")
    np.testing.assert_array_equal(again(images), binary(images))
    signs = strip_binarization(binary).get_layer("logits").get_weights()[0]
    assert all(len(np.unique(np.abs(column))) == 1 for column in signs.T)


def test_a_distiller_trains_it_and_a_file_has_one_bit_a_weight(tmp_path):
    rng = np.random.default_rng(0)
    teacher, _ = dense(rng, 90, 6)
    binary, _ = binarize(teacher, method="stochastic", seed=0)
    before = binary.get_weights()[0]
    distiller = kdzoo.Distiller(teacher, binary, kdzoo.losses.SoftTargets())
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    distiller.compile(keras.optimizers.Adam(0.1), loss, run_eagerly=True)
    distiller.train_on_batch(rng.random((4, 90), "float32"), np.array([0, 1, 2, 0]))
    after = binary.get_weights()[0]
    assert (before != after).any()
    assert np.abs(after).max() <= np.float32(np.sqrt(1.5 / 96))
    report = kdzoo.save_compressed(strip_binarization(binary), tmp_path / "net.kdz")
    kernel = next(row for row in report.weights if row.path == "logits/kernel")
    assert kernel.codebook == 8
    assert kernel.symbols <= 540 / 8 + 1


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_draws_are_made_in_the_type_of_the_weights(policy):
    """In halves the chances and the smallest weights would be rounded."""
    layer = LAYERS.Dense(64, dtype=policy, use_bias=False)
    model = keras.Sequential([keras.Input((64,)), layer])
    layer.kernel.assign(np.full((64, 64), -1e-9, "float32"))
    binary, _ = binarize(model)
    assert (numpy(binary(np.ones((1, 64)))) == -64).all()
    drawing, _ = binarize(model, method="stochastic", seed=1)
    chance = 1 / 1024
    latent = (2 * chance - 1) * np.sqrt(1.5 / 128)
    drawing.layers[0].kernel.assign(np.full((64, 64), latent, "float32"))
    sums = [numpy(drawing(np.ones((1, 64)), training=True)).astype("float32") for _ in range(30)]
    ones = (np.sum(sums) / 64 + 30 * 64) / 2 / (30 * 64)
    assert ones == pytest.approx(chance, abs=4e-4)


def test_an_average_of_weights_is_clipped_where_it_is_computed_with():
    model, _ = dense(np.random.default_rng(0))
    binary, _ = binarize(model, method="stochastic")
    coefficient = np.sqrt(1.5 / (6 + 5))
    binary.layers[0].kernel.assign(np.full((6, 5), 1.5 * coefficient, "float32"))
    np.testing.assert_array_equal(numpy(binary.layers[0].binary_kernel()), np.ones((6, 5)))
    plain = strip_binarization(binary, real_valued=True)
    np.testing.assert_array_equal(plain.get_weights()[0], np.ones((6, 5)))


def test_fit_clips_under_weight_decay_and_averages():
    """The average that the optimizer leaves in the end is computed with within [-1, 1]."""
    rng = np.random.default_rng(0)
    model, _ = dense(rng)
    x, y = rng.normal(size=(64, 6)).astype("float32"), 5 * rng.normal(size=(64, 5))
    limit = np.float32(np.sqrt(1.5 / 11)) * (1 + 1e-6)
    for average in (False, True):
        binary, _ = binarize(model, method="stochastic", seed=0)
        before = binary.get_weights()[0]
        rate = {"learning_rate": 0.5, "weight_decay": 0.1, "use_ema": average}
        binary.compile(keras.optimizers.AdamW(**rate, ema_momentum=0.5), "mse")
        binary.fit(x, y, batch_size=8, epochs=2, verbose=0)
        assert (binary.get_weights()[0] != before).any()
        assert average or np.abs(binary.get_weights()[0]).max() <= limit
        assert np.abs(numpy(binary.layers[0].binary_kernel())).max() <= 1
        plain = strip_binarization(binary, real_valued=True)
        np.testing.assert_allclose(numpy(plain(x)), numpy(binary(x)), rtol=1e-4, atol=1e-4)


def test_scaled_signs_pass_the_gradient_within_1():
    """Of α · sign(w), with α the mean of |w|: through the sign where |w| <= 1, and through α."""
    model, _ = dense(np.random.default_rng(0), 3, 1)
    kernel = np.array([[0.5], [-2.0], [0.25]], "float32")
    model.set_weights([kernel, np.zeros(1, "float32")])
    binary, _ = binarize(model, method="xnor")
    x, y = np.array([[1.0, 2.0, 4.0]], "float32"), np.array([[0.0]], "float32")
    signs, scale = np.sign(kernel), np.abs(kernel).mean()
    back = 2 * (x @ signs * scale) * x.T
    wanted = scale * back * (np.abs(kernel) <= 1) + (back * signs).sum() * signs / 3
    binary.compile(keras.optimizers.SGD(0.01), "mse", run_eagerly=True)
    binary.train_on_batch(x, y)
    np.testing.assert_allclose(binary.get_weights()[0], kernel - 0.01 * wanted, rtol=1e-5)


@pytest.mark.large_on_jax
def test_signs_take_the_place_of_the_activations_that_binary_layers_read(tmp_path):
    inputs = keras.Input((8, 8, 2))
    x = LAYERS.Conv2D(4, 3, name="first")(inputs)
    x = LAYERS.ReLU(name="first_relu")(LAYERS.BatchNormalization(name="norm")(x))
    x = LAYERS.MaxPooling2D(name="pool")(x)
    inner = keras.Input((3, 3, 4))
    y = LAYERS.Conv2D(5, 2, activation="tanh", name="second")(inner)
    x = keras.Model(inner, y, name="inner")(x)
    x = LAYERS.Dropout(0.5)(LAYERS.Flatten()(x))
    x = LAYERS.Activation("linear", name="features")(x)
    x = LAYERS.Dense(7, activation="sigmoid", name="gate")(x)
    x = keras.ops.relu(LAYERS.Dense(6, name="third")(x))
    model = keras.Model(inputs, LAYERS.Dense(3, activation="relu", name="logits")(x), name="net")
    before = [weight.tobytes() for weight in model.get_weights()]
    binary, report = binarize(model, sign_activations=True)
    assert sorted(report.signs) == ["first_relu", "relu", "second"]
    assert report.real_inputs == ("first", "third")
    assert [weight.tobytes() for weight in model.get_weights()] == before
    images = np.random.default_rng(0).normal(size=(3, 8, 8, 2)).astype("float32")
    wanted = [binary.get_layer(name).output for name in ("first_relu", "features")]
    taps = keras.Model(binary.input, wanted)(images, training=False)
    assert all(set(np.unique(numpy(tap))) == {-1.0, 1.0} for tap in taps)
    assert binary.get_layer("logits").activation is keras.activations.relu
    plain = strip_binarization(binary)
    allowed = [layer for layer in plain.layers if "kdzoo" not in type(layer).__module__]
    assert len(allowed) == len(plain.layers)
    np.testing.assert_allclose(
        numpy(plain(images, training=False)), numpy(binary(images, training=False)), atol=1e-4
    )
    for made in (binary, plain):
        made.save(tmp_path / "net.keras")
        again = kdzoo.load_model(tmp_path / "net.keras")
        np.testing.assert_array_equal(numpy(again(images)), numpy(made(images)))


def test_the_gradient_of_a_sign_is_that_of_a_clip():
    """A step of a model of one dense layer, whose weights the sign hands its error to."""
    layers = [LAYERS.Dense(4, activation="relu", name="a"), LAYERS.Dense(1, name="b")]
    model = keras.Sequential([keras.Input((2,)), *layers])
    binary, report = binarize(model, layers=["b"], sign_activations=True)
    assert report.signs == ("a",)
    first = np.array([[0.1, -0.2, 1.5, -3.0], [0.3, 0.1, 0.2, 0.5]], "float32")
    binary.layers[0].set_weights([first, np.zeros(4, "float32")])
    x, y = np.array([[1.0, 0.5]], "float32"), np.array([[10.0]], "float32")
    second, bias = binary.layers[1].get_weights()
    hidden, back = x @ first, np.sign(second)
    output = np.where(hidden >= 0, 1, -1) @ back + bias
    wanted = first - 0.1 * 2 * (output - y) * x.T * back.T * (np.abs(hidden) <= 1)
    binary.compile(keras.optimizers.SGD(0.1), "mse", run_eagerly=True)
    binary.train_on_batch(x, y)
    np.testing.assert_allclose(binary.layers[0].get_weights()[0], wanted, rtol=1e-5)


def test_what_is_left_or_refused(model):
    _, report = binarize(model, layers=["conv"])
    assert report.left == {"logits": "not among the layers that were named"}
    with pytest.raises(ValueError, match="Unknown method"):
        binarize(model, method="ternary")
    with pytest.raises(ValueError, match="layer with a kernel: 'norm'"):
        binarize(model, layers=["norm"])
    with pytest.raises(ValueError, match="without binary layers"):
        strip_binarization(model)
    binary, _ = binarize(model)
    with pytest.raises(ValueError, match=r"a layer can be replaced\. Received: 'conv', a Binary"):
        binarize(binary)


@pytest.mark.tensorflow
def test_who_saves_a_binary_model_is_told_to_strip_it(model, tmp_path):
    for signs in (False, True):
        binary, _ = binarize(model, method="xnor", sign_activations=signs)
        with pytest.raises(ValueError, match=r"is not being compressed .*`strip_binarization`"):
            kdzoo.save_compressed(binary, tmp_path / "net.kdz")


@pytest.mark.tensorflow
def test_a_stripped_model_of_signs_is_exported(model, images, tmp_path):
    binary, report = binarize(model, sign_activations=True)
    assert len(report.signs) == 1
    plain = strip_binarization(binary)
    kdzoo.export.to_litert(plain, tmp_path / "net.tflite", representative_data=images)
    found = kdzoo.export.LiteRTModel(tmp_path / "net.tflite").predict(images)
    np.testing.assert_allclose(found, numpy(binary(images, training=False)), rtol=1e-4, atol=1e-4)
