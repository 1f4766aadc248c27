"""How much each channel of a group counts: the criteria by which filters are pruned.

A criterion is a function of a `ChannelGroup` to an array `(size,)` of scores, the least important
first to go, or to None where it says nothing of a group.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from kdzoo.compression.filter_pruning.channel_groups import ChannelGroup, follow
from kdzoo.compression.filter_pruning.coupling import Slices
from kdzoo.evaluation.labelled_batches import labelled_batches
from kdzoo.graph.calls import nodes_within
from kdzoo.graph.input_shape_checks import check_input_shapes
from kdzoo.graph.keras_internals import functional_of
from kdzoo.graph.surgery import copy_of, rebuild

Importance = Callable[[ChannelGroup], "np.ndarray | None"]


def criterion(name: str, model: keras.Model, data: Any, loss: Any, seed: int) -> Importance:
    """Returns the criterion of a name.

    Args:
        name: One of `kdzoo.utils.compression_arguments.FILTER_CRITERIA`.
        model: The model that is to be pruned.
        data: `(x, y)` or batches of them, for those that need some.
        loss: The loss for `"taylor"`.
        seed: The seed for `"random"`.
    """
    if name == "apoz":
        return _activity(model, data)
    if name == "taylor":
        return _taylor(model, data, loss)
    if name == "random":
        rng = np.random.default_rng(seed)
        return lambda group: rng.random(group.size)
    return {
        "l1": lambda group: _of_filters(group, 1),
        "l2": lambda group: _of_filters(group, 2),
        "group_l2": _of_all_weights,
        "batch_norm": _of_scales,
        "geometric_median": _distances,
    }[name]


def _of_filters(group: ChannelGroup, order: int) -> np.ndarray | None:
    """The norms of filters (Li et al. 2017), each kernel's relative to their mean."""
    return _mean([np.linalg.norm(rows, order, axis=1) for rows in group.filters()])


def _of_all_weights(group: ChannelGroup) -> np.ndarray | None:
    """The sum of squares of all weights of a channel (DepGraph), relative to the group's mean.

    These are filters, what reads them, and scales between; neither biases nor shifts.
    """
    squares = np.zeros(group.size)
    for part in group.kernels_and_scales():
        squares += _added_up(group, part, lambda array: np.square(array.astype("float64")))
    return squares / max(squares.mean(), 1e-30) if squares.any() else None


def _of_scales(group: ChannelGroup) -> np.ndarray | None:
    """The sizes of normalizations' scales (Liu et al. 2017); where several go, their mean."""
    scales = [
        part
        for part in group.parts
        if part[0].weight == "gamma" and isinstance(part[0].layer, keras.layers.BatchNormalization)
    ]
    sums = [_added_up(group, part, np.abs) for part in scales]
    counts = [np.bincount(part[2], minlength=group.size) for part in scales]
    return np.sum(sums, 0) / np.maximum(np.sum(counts, 0), 1) if scales else None


def _distances(group: ChannelGroup) -> np.ndarray | None:
    """The sums of each filter's distances to all of its kernel (He et al. 2019, FPGM)."""
    found = []
    for rows in group.filters():
        squares = np.square(rows).sum(1)
        sums = [
            np.sqrt(np.maximum(square + squares - 2 * (rows @ row), 0)).sum()
            for row, square in zip(rows, squares, strict=True)
        ]
        found.append(np.array(sums))
    return _mean(found)


def _mean(scores: Sequence[np.ndarray]) -> np.ndarray | None:
    """The mean of several scores, each divided by its own mean; None of none."""
    if not scores:
        return None
    return np.mean([score / max(float(score.mean()), 1e-30) for score in scores], axis=0)


def _added_up(
    group: ChannelGroup,
    part: tuple[Slices, np.ndarray, np.ndarray],
    function: Callable[[np.ndarray], np.ndarray],
    arrays: dict[int, np.ndarray] | None = None,
) -> np.ndarray:
    """For each channel the sum of what a function makes of its part of a weight."""
    slices, positions, channels = part
    if arrays is None:
        array = np.asarray(slices.variable, "float32")
    else:
        array = arrays[id(slices.variable)]
    rows = np.moveaxis(function(array), slices.axis, 0)[positions]
    sums = rows.reshape(len(positions), -1).sum(1)
    return np.bincount(channels, weights=sums, minlength=group.size)


def _activity(model: keras.Model, data: Any) -> Importance:
    """How often values after activations are not zero: 1 - APoZ (Hu et al. 2016)."""
    fractions: dict[int, np.ndarray] = {}

    def importance(group):
        if not fractions:
            fractions.update(_fractions_not_zero(model, data))
        scores = []
        for (tensor, ids), positions, channels in group.activations:
            if id(tensor) in fractions:
                found = np.broadcast_to(fractions[id(tensor)], ids.size)[positions]
                counts = np.bincount(channels, minlength=group.size)
                sums = np.bincount(channels, weights=found, minlength=group.size)
                scores.append(sums / np.maximum(counts, 1))
        return np.mean(scores, axis=0) if scores else None

    return importance


def _fractions_not_zero(model, data):
    """`id` of a tensor after an activation -> how often values of each channel are not zero."""
    calls = Counter(id(tensor) for node in nodes_within(model) for tensor in node.outputs)
    found = {id(tensor): (tensor, ids) for tensor, ids in follow(model).activations}
    # What a nested model gives that is called twice is no single tensor.
    found = {number: pair for number, pair in found.items() if calls[number] == 1}
    if not found:
        raise ValueError(
            "Expected a model with activations that give zeros, such as ReLU, for "
            f"importance='apoz'. Received: {model.name!r}, without any in layers that kdzoo knows"
        )
    counting = rebuild(model, outputs=[tensor for tensor, _ in found.values()])
    sums, samples = dict.fromkeys(found, 0.0), 0
    for x, _ in _checked_batches(model, data):
        outputs = keras.tree.flatten(counting.predict_on_batch(x))
        samples += len(outputs[0])
        for (number, (_, ids)), array in zip(found.items(), outputs, strict=True):
            axes = tuple(axis for axis, size in enumerate(ids.shape) if size == 1)
            sums[number] += len(array) * np.mean(array != 0, axis=axes).reshape(-1)
    return {number: total / samples for number, total in sums.items()}


def _taylor(model: keras.Model, data: Any, loss: Any) -> Importance:
    """By how much the loss would change, to first order (Molchanov et al. 2019)."""
    gradients = list(_gradients(model, data, loss))

    def importance(group):
        scores = np.zeros(group.size)
        for part in group.parts:
            if part[0].role != "in" and id(part[0].variable) in gradients[0]:
                for products in gradients:
                    scores += np.abs(_added_up(group, part, lambda array: array, products))
        return scores / len(gradients) if scores.any() else None

    return importance


class _AsItPredicts(keras.Model):
    """Trains a model with the statistics that its normalizations have, and without noise."""

    def __init__(self, model: keras.Model) -> None:
        super().__init__(autocast=False)
        self.model = model

    def call(self, inputs: Any) -> Any:
        """Returns what the model gives outside of training."""
        return self.model(inputs, training=False)


class _KeepGradients(keras.optimizers.SGD):
    """Leaves the gradients in the place of the weights."""

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Sets a variable to its gradient."""
        self.assign(variable, keras.ops.cast(keras.ops.convert_to_tensor(gradient), variable.dtype))


def _gradients(model, data, loss):
    """Yields, for each batch, `id` of a weight -> weight times gradient of the loss alone."""
    batches = list(_checked_batches(model, data, needs_labels=True))
    copies: dict[int, tuple[keras.layers.Layer, keras.layers.Layer]] = {}

    def copied(operation, path):
        if not isinstance(operation, keras.layers.Layer) or functional_of(operation) is not None:
            return None
        copies[id(operation)] = operation, _trainable_copy(operation)
        return copies[id(operation)][1], operation.get_weights()

    copy = rebuild(model, copied)
    copy.trainable = True
    trainer = _AsItPredicts(copy)
    for variable in copy.trainable_variables:
        variable.constraint = variable.regularizer = None
    # A few batches: TensorFlow would take longer to trace the step, JAX to run it uncompiled.
    is_jax = keras.backend.backend() == "jax"
    trainer.compile(
        _KeepGradients(1.0, name="keep_gradients"), loss, run_eagerly=not is_jax, jit_compile=is_jax
    )
    before = copy.get_weights()
    trained = {id(variable) for variable in copy.trainable_variables}
    pairs = [
        (old, new, np.asarray(new, "float32"))
        for layer, own in copies.values()
        for old, new in zip(layer.weights, own.weights, strict=True)
        if id(new) in trained
    ]
    for x, y in batches:
        copy.set_weights(before)
        trainer.train_on_batch(x, y)
        yield {id(old): value * np.asarray(new, "float32") for old, new, value in pairs}


def _trainable_copy(layer):
    """A copy of a layer that has a gradient, and no losses of its own."""
    is_loss = isinstance(layer, keras.layers.ActivityRegularization)
    copy = copy_of(layer, **({"l1": 0.0, "l2": 0.0} if is_loss else {}))
    copy.trainable, copy.activity_regularizer = True, None
    return copy


def _checked_batches(model, data, needs_labels=False):
    """Yields batches that the model takes."""
    for x, y in labelled_batches(data):
        check_input_shapes(x, model, "samples")
        if needs_labels and y is None:
            raise ValueError(
                "Expected data as (x, y) for importance='taylor'. Received: data without labels"
            )
        yield x, y
