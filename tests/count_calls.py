"""A layer that counts how often a network runs forward."""

import keras


@keras.saving.register_keras_serializable("tests")
class CountCalls(keras.layers.Layer):
    """Counts forward passes in a variable, so that compiled steps count too."""

    def build(self, input_shape):
        self.calls = self.add_weight(shape=(), initializer="zeros", trainable=False, name="calls")

    def call(self, inputs):
        self.calls.assign(self.calls + 1)
        return inputs
