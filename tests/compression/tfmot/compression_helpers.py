"""What several tests of compression share: training, half of the weights, a class of a user."""

import keras

from kdzoo.compression import ConstantSparsity, QuantizeConfig

FIT = {"batch_size": 16, "shuffle": False, "verbose": 0}


def cross_entropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def compiled(model, learning_rate=0.02):
    model.compile(keras.optimizers.SGD(learning_rate, momentum=0.9), cross_entropy())
    return model


def half():
    """A schedule that sets half of the weights to zero from the first step."""
    return ConstantSparsity(0.5, 0, frequency=1)


class NothingQuantized(QuantizeConfig):
    """What a user's own configuration has to implement, and quantizes nothing."""

    def get_weights_and_quantizers(self, layer):
        return []

    def get_activations_and_quantizers(self, layer):
        return []

    def set_quantize_weights(self, layer, quantize_weights):
        pass

    def set_quantize_activations(self, layer, quantize_activations):
        pass

    def get_output_quantizers(self, layer):
        return []

    def get_config(self):
        return {}
