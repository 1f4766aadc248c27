import keras
import numpy as np
import pytest


@pytest.fixture
def gradient_of():
    """Returns a function that differentiates the sum of a loss by its argument, on any backend."""

    def gradient(function, value):
        value = np.asarray(value, "float32")
        if keras.backend.backend() == "jax":
            import jax

            return np.asarray(jax.grad(lambda x: function(x).sum())(value))
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            value = tf.convert_to_tensor(value)
            with tf.GradientTape() as tape:
                tape.watch(value)
                total = tf.reduce_sum(function(value))
            return tape.gradient(total, value).numpy()
        raise NotImplementedError(keras.backend.backend())

    return gradient


@pytest.fixture
def finite_differences():
    """Returns a function that differentiates the sum of a NumPy loss by central differences."""

    def gradient(function, value, step=1e-5):
        value = np.asarray(value, "float64")
        result = np.zeros_like(value)
        for index in np.ndindex(*value.shape):
            shift = np.zeros_like(value)
            shift[index] = step
            upper, lower = function(value + shift).sum(), function(value - shift).sum()
            result[index] = (upper - lower) / (2 * step)
        return result

    return gradient


@pytest.fixture
def check_gradient(gradient_of, finite_differences):
    """Asserts that a loss has the gradient of a NumPy loss: ‖g − g_numpy‖ ≤ 1e-5 · ‖g_numpy‖."""

    def check(function, formula, value, tolerance=1e-5):
        expected = finite_differences(formula, value)
        difference = np.linalg.norm(gradient_of(function, value) - expected)
        assert difference <= tolerance * np.linalg.norm(expected)

    return check
