"""A network with exits, and gradients of an output, for the tests of exits."""

import keras
from keras import ops


def network():
    """Two blocks and a head, of convolutions with biases, no norms."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    inputs = keras.Input((8, 8, 2))
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="block1")(inputs)
    shortcut = x
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="block2")(x)
    x = layers.Add(name="sum")([x, shortcut])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(inputs, layers.Dense(3, name="logits")(x), name="network")


def gradients(model, images, place):
    """The gradients of the sum of one output with respect to the weights, by name."""
    weights = model.trainable_variables
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            total = ops.sum(model(images, training=True)[place])
        found = tape.gradient(total, [weight.value for weight in weights])
    else:
        import jax

        fixed = [variable.value for variable in model.non_trainable_variables]

        def total(arrays):
            outputs, _ = model.stateless_call(arrays, fixed, images, training=True)
            return ops.sum(outputs[place])

        found = jax.grad(total)([weight.value for weight in weights])
    return {
        weight.path: None if gradient is None else ops.convert_to_numpy(gradient)
        for weight, gradient in zip(weights, found, strict=True)
    }
