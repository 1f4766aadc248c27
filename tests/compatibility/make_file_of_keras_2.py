"""Writes `of_keras_2.h5`, a file of tf_keras 2 that several rules carry over, and its outputs.

    PYTHONPATH=tests/zoo python tests/compatibility/make_file_of_keras_2.py

It lies beside the files of kdzoo, and is damaged by `tests/damage`.
"""

import pathlib

import numpy as np
import tf_keras
from old_files import randomize, written

FILES = pathlib.Path(__file__).parent / "files"


def model():
    """A small network with layers that Keras 3 has by other names or arguments."""
    layers = tf_keras.layers
    inputs = layers.Input((8, 8, 1), name="image")
    x = layers.Conv2D(4, 3, use_bias=False, name="conv/first")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.LeakyReLU(alpha=0.1, name="leaky")(x)
    x = layers.DepthwiseConv2D(3, name="depthwise")(x)
    inner = [layers.Input((4, 4, 4)), layers.SeparableConv2D(6, 1)]
    x = tf_keras.Sequential([*inner, layers.ThresholdedReLU(theta=0.05)], name="inner")(x)
    x = layers.Reshape((16, 6), name="rows")(x)
    recurrent = layers.LSTM(3, recurrent_activation="hard_sigmoid")
    x = layers.Bidirectional(recurrent, name="both")(x)
    return tf_keras.Model(inputs, layers.Dense(3, name="logits")(x), name="of_keras_2")


if __name__ == "__main__":
    tf_keras.utils.set_random_seed(0)
    made = model()
    made.compile(tf_keras.optimizers.legacy.SGD(0.1), lambda labels, outputs: outputs - labels)
    given, outputs = written(randomize(made), FILES / "of_keras_2.h5")
    np.savez(FILES / "of_keras_2.npz", inputs=given[0], outputs=outputs[0])
