"""Layers compute in another way for a while, and as before after it."""

import keras
import numpy as np
import pytest

from kdzoo.graph.patched_calls import calls_restored, reset_call, set_call, wrap_calls


@pytest.fixture
def layer():
    layer = keras.layers.Dense(2, kernel_initializer="ones")
    layer.build((None, 3))
    return layer


def test_a_call_is_set_and_reset(layer):
    x = np.ones((1, 3), "float32")
    set_call(layer, lambda inputs: inputs * 2)
    np.testing.assert_array_equal(layer(x), x * 2)
    reset_call(layer)
    np.testing.assert_array_equal(layer(x), [[3, 3]])


def test_both_ways_of_computing_are_wrapped_and_come_back(layer):
    x, seen = np.ones((1, 3), "float32"), []

    def wrap(call):
        def wrapped(*args, **kwargs):
            seen.append(call)
            return call(*args, **kwargs)

        return wrapped

    set_call(layer, own := lambda inputs: inputs + 1)
    with calls_restored([layer, layer]):
        wrap_calls(layer, wrap)
        np.testing.assert_array_equal(layer(x), x + 1)
        assert {"call", "quantized_call"} <= set(vars(layer))
    assert seen == [own]
    assert vars(layer)["call"] is own
    assert "quantized_call" not in vars(layer)


def test_calls_come_back_after_an_error(layer):
    def fail():
        with calls_restored([layer]):
            wrap_calls(layer, lambda call: None)
            layer(np.ones((1, 3), "float32"))

    with pytest.raises(TypeError):
        fail()
    assert not {"call", "quantized_call"} & set(vars(layer))
