"""The pages of documentation about compression say what is so."""

import operator
import pathlib
import re

import keras
import numpy as np
import pytest

from kdzoo import compression
from kdzoo.compression import UpdatePruningStep, prune_low_magnitude, strip_pruning

pytestmark = pytest.mark.tensorflow

DOCS = pathlib.Path(__file__).parents[3] / "docs"


def names_of_both():
    text = (DOCS / "coming_from_tfmot.md").read_text(encoding="utf-8")
    return re.findall(r"^\| `tfmot\.([\w.]+)` \| `kdzoo\.compression\.(\w+)`", text, re.M)


def test_every_name_of_tfmot_is_there():
    from kdzoo.compression.tfmot.library import load_tfmot

    found = names_of_both()
    assert len(found) > 20
    for theirs, ours in found:
        operator.attrgetter(theirs)(load_tfmot())
        assert ours in compression.__all__
        assert getattr(compression, ours)
        assert theirs.rpartition(".")[2] == ours


@pytest.mark.parametrize("graph", [True, False])
def test_a_training_loop_of_ones_own(graph, net, data):
    """As the page says, with a gradient tape."""
    import tensorflow as tf

    schedule = compression.ConstantSparsity(0.5, 0, frequency=1)
    with pytest.warns(UserWarning, match="Not pruned"):
        model = prune_low_magnitude(net(), schedule)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.SGD(0.02)
    optimizer.build(model.trainable_variables)

    def step(x, y):
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=True))
        gradients = tape.gradient(value, [v.value for v in model.trainable_variables])
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return value

    step = tf.function(step) if graph else step
    callback = UpdatePruningStep()
    callback.set_model(model)
    callback.on_train_begin()
    values = []
    for epoch in range(3):
        values += [float(step(*data)) for _ in range(2)]
        callback.on_epoch_end(epoch)
    assert values[-1] < values[0]
    kernel = strip_pruning(model).get_layer("conv").get_weights()[0]
    assert np.mean(kernel == 0) == pytest.approx(0.5, abs=0.01)
