"""Weights that share values: the clusters, what layers compute, and what codebooks learn."""

import keras
import numpy as np
import pytest

import kdzoo
from kdzoo.compression import share_weights, strip_shared_weights
from kdzoo.compression.shared_weights import cluster

LAYERS = keras.layers


def numpy(tensor):
    return keras.ops.convert_to_numpy(tensor)


def lloyd(numbers, values):
    """k-means from even distances, as it is written in textbooks."""
    centroids = np.linspace(numbers.min(), numbers.max(), values)
    while True:
        nearest = np.abs(numbers[:, None] - centroids).argmin(1)
        moved = centroids.copy()
        for number in set(nearest):
            moved[number] = numbers[nearest == number].mean()
        if np.allclose(moved, centroids, atol=1e-12):
            return centroids, nearest
        centroids = moved


@pytest.mark.parametrize("values", [1, 2, 7, 40])
def test_clusters_are_those_of_k_means_from_even_distances(values):
    numbers = np.random.default_rng(values).normal(size=300) ** 3
    centroids, indices = cluster(numbers, values)
    wanted, nearest = lloyd(numbers, values)
    np.testing.assert_allclose(centroids[indices], wanted[nearest], rtol=1e-9)
    assert len(centroids) == len(set(nearest))  # Without those that nothing is nearest to.


def dense(rng, inputs=6, outputs=5, zeros=0.4):
    """A model of one dense layer, and its kernel."""
    model = keras.Sequential([keras.Input((inputs,)), LAYERS.Dense(outputs, name="logits")])
    kernel = rng.normal(0, 0.5, (inputs, outputs)).astype("float32")
    kernel[rng.random(kernel.shape) < zeros] = 0
    model.set_weights([kernel, rng.normal(size=outputs).astype("float32")])
    return model, kernel


def every_layer():
    inputs = keras.Input((4, 4, 4, 1))
    x = LAYERS.Conv3D(2, 2, name="three")(inputs)
    x = LAYERS.Reshape((9, 3, 2))(x)
    x = LAYERS.Conv2D(3, 2, strides=2, activation="relu", name="two")(x)
    x = LAYERS.Conv1D(4, 2, padding="causal", name="one")(LAYERS.Reshape((4, 3))(x))
    x = LAYERS.DepthwiseConv1D(2, name="depthwise")(x)
    x = LAYERS.Dense(3, use_bias=False, name="logits")(LAYERS.Flatten()(x))
    return keras.Model(inputs, x)


def test_every_layer_computes_with_its_clustered_kernel():
    keras.utils.set_random_seed(0)
    model = every_layer()
    shared, report = share_weights(model, 3)
    wanted = every_layer()
    for layer, other in zip(model.layers, wanted.layers, strict=True):
        weights = layer.get_weights()
        if weights and layer.name != "depthwise":
            flat = weights[0].reshape(-1).astype("float64")
            centroids, nearest = lloyd(flat, 3)
            weights[0] = centroids[nearest].reshape(weights[0].shape).astype("float32")
        other.set_weights(weights)
    x = np.random.default_rng(0).random((2, 4, 4, 4, 1), "float32")
    outputs = numpy(wanted(x))
    np.testing.assert_allclose(numpy(shared(x)), outputs, rtol=1e-4, atol=1e-6)
    plain = strip_shared_weights(shared)
    np.testing.assert_allclose(numpy(plain(x)), outputs, rtol=1e-4, atol=1e-6)
    assert [type(layer) for layer in plain.layers] == [type(layer) for layer in model.layers]
    assert report.layers == {"three": 3, "two": 3, "one": 3, "logits": 3}
    assert list(report.left) == ["depthwise"]
    lost = plain.get_layer("two").get_weights()[0] - model.get_layer("two").get_weights()[0]
    norm = np.linalg.norm(model.get_layer("two").get_weights()[0])
    assert report.errors["two"] == pytest.approx(np.linalg.norm(lost) / norm, rel=1e-4)


def test_a_value_learns_by_the_sum_of_the_gradients_of_those_that_share_it():
    rng = np.random.default_rng(0)
    model, kernel = dense(rng)
    shared, report = share_weights(model, 4)
    assert report.zeros == {"logits": pytest.approx((kernel == 0).mean())}
    before = strip_shared_weights(shared).get_weights()[0]
    x, y = rng.normal(size=(8, 6)).astype("float32"), rng.normal(size=(8, 5)).astype("float32")
    error = x @ before + model.get_weights()[1] - y
    gradient = 2 * x.T @ error / error.size
    shared.compile(keras.optimizers.SGD(0.1), "mse")
    shared.train_on_batch(x, y)
    after = strip_shared_weights(shared).get_weights()[0]
    wanted = before.copy()
    for value in set(before[before != 0]):
        wanted[before == value] -= 0.1 * gradient[before == value].sum()
    np.testing.assert_allclose(after, wanted, rtol=1e-4, atol=1e-6)
    assert (after[kernel == 0] == 0).all()


def test_the_first_step_of_adam_is_as_long_as_its_rate_and_clusters_stay():
    """So it is handed one gradient a value, not one of each number."""
    rng = np.random.default_rng(1)
    model, kernel = dense(rng, 30, 20)
    shared, _ = share_weights(model, {"logits": 4})
    book = numpy(shared.layers[0].codebook)
    x, y = rng.normal(size=(8, 30)).astype("float32"), rng.normal(size=(8, 20)).astype("float32")
    shared.compile(keras.optimizers.AdamW(0.01, weight_decay=0.0), "mse")
    shared.train_on_batch(x, y)
    np.testing.assert_allclose(np.abs(numpy(shared.layers[0].codebook) - book), 0.01, rtol=1e-3)
    shared.fit(x, y, epochs=2, verbose=0)
    found = strip_shared_weights(shared).get_weights()[0]
    assert len(np.unique(found)) == 5
    np.testing.assert_array_equal(found == 0, kernel == 0)
    np.testing.assert_array_equal(model.get_weights()[0], kernel)


def test_it_learns_from_a_teacher_is_saved_and_takes_a_codebook_of_a_file(tmp_path):
    rng = np.random.default_rng(0)
    teacher, _ = dense(rng, 40, 30)
    shared, _ = share_weights(dense(rng, 40, 30, zeros=0.9)[0], 8)
    distiller = kdzoo.Distiller(
        teacher, shared, kdzoo.losses.SoftTargets(2.0), student_loss_weight=0.0
    )
    distiller.compile("adam")
    x = rng.normal(size=(16, 40)).astype("float32")
    distiller.fit(x, np.zeros(16), epochs=2, verbose=0)
    shared.save(tmp_path / "shared.keras")
    again = keras.saving.load_model(tmp_path / "shared.keras")
    np.testing.assert_array_equal(numpy(again(x)), numpy(shared(x)))
    with pytest.raises(ValueError, match="being compressed any more"):
        kdzoo.save_compressed(shared, tmp_path / "shared.kdz")
    plain = strip_shared_weights(again)
    report = kdzoo.save_compressed(plain, tmp_path / "plain.kdz")
    kernel = next(row for row in report.weights if row.path == "logits/kernel")
    assert 0 < kernel.codebook <= 4 * 8
    outputs = numpy(kdzoo.load_compressed(tmp_path / "plain.kdz")(x))
    np.testing.assert_allclose(outputs, numpy(shared(x)), rtol=1e-5, atol=1e-5)


def test_a_kernel_of_few_values_keeps_them_and_one_of_zeros_stays_zero():
    model = keras.Sequential([keras.Input((2,)), LAYERS.Dense(2), LAYERS.Dense(2)])
    kernel = np.array([[0.5, -1.0], [0.5, 0.0]], "float32")
    model.set_weights([kernel, np.zeros(2), np.zeros((2, 2)), np.ones(2)])
    shared, report = share_weights(model, 16)
    assert list(report.layers.values()) == [2, 1]
    found = strip_shared_weights(shared).get_weights()
    for ours, theirs in zip(found, model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_what_cannot_share_is_refused():
    model = every_layer()
    with pytest.raises(ValueError, match="values to be an integer from 1 to 65,535"):
        share_weights(model, 0)
    with pytest.raises(ValueError, match=r"values\['two'\] to be an integer from 1"):
        share_weights(model, {"two": 1 << 16})
    with pytest.raises(ValueError, match="'depthwise', a DepthwiseConv1D, no Dense"):
        share_weights(model, {"depthwise": 4})
    with pytest.raises(ValueError, match="layer with a kernel"):
        share_weights(model, {"twp": 4})
    with pytest.raises(ValueError, match="without layers that share weights"):
        strip_shared_weights(model)
    with pytest.raises(ValueError, match=r"Expected values to be a collection .* values=\[\]"):
        share_weights(model, {})
