"""Gradients scaled at the exits of a network, so that early exits do not disturb deep layers."""

from collections import defaultdict
from typing import Any

import keras
from keras import ops

from kdzoo.dynamic.exit_graph import ExitGraph, exit_graph
from kdzoo.graph.calls import graph_of, models_of_several_outputs
from kdzoo.graph.surgery import parts


class GradientScale(keras.layers.Layer):
    """Gives its input as it is, bit for bit, and `scale` times the gradient of its output.

    Args:
        scale: The factor.
        **kwargs: Arguments of `keras.layers.Layer`.
    """

    def __init__(self, scale: float, **kwargs: Any):
        super().__init__(**kwargs)
        self.scale = scale

    def call(self, inputs: Any) -> Any:
        fixed = ops.stop_gradient(inputs)
        return fixed + self.scale * (inputs - fixed)

    def compute_output_spec(self, inputs: Any) -> Any:
        return keras.KerasTensor(inputs.shape, inputs.dtype)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "scale": self.scale}


def with_equal_gradients(model: keras.Model) -> keras.Model:
    """Returns a model of the same layers, in which each exit weighs alike on what comes before it.

    Of K exits, the gradient that exit i sends into the network is scaled by 1 / (K - i + 1), and
    what comes from behind it by (K - i) / (K - i + 1), at the tensors that the exit's head takes.
    Where later layers go round these, as by the finer scales of an MSDNet, what comes that way is
    not scaled, as in the authors' code. Outputs and weights are the model's own.

    Args:
        model: A functional `keras.Model` of two or more exits, from the first to the last.

    Reference: Li et al., "Improved techniques for training adaptive deep networks", 2019,
    arXiv:1908.06294, section 3.1 ("gradient equilibrium").
    """
    found = exit_graph(model)
    scales = _scales(found)
    originals: dict[int, int] = {}  # A tensor of the new model -> that of the model, as `id`s.
    scaled: dict[tuple[int, float], Any] = {}
    kept = []  # Tensors, so that no `id` is given twice.

    def perform(call, operation, args, kwargs):
        def take(value):
            original = originals.get(id(value))
            scale = scales.get((original, id_of(call))) if original is not None else None
            if scale is None or "float" not in value.dtype:
                return value
            if (id(value), scale) not in scaled:
                scaled[id(value), scale] = GradientScale(scale, dtype=value.dtype)(value)
            return scaled[id(value), scale]

        args, kwargs = keras.tree.map_structure(take, (args, kwargs))
        outputs = operation(*args, **kwargs)
        for old, new in zip(call.outputs, keras.tree.flatten(outputs), strict=True):
            originals[id(new)] = id(old)
            kept.append(new)
        return outputs

    ends = [(graph_of(model).input, found.outputs)]
    (made,) = parts(
        model,
        ends,
        replace=lambda operation, path: operation,
        perform=perform,
        entered=models_of_several_outputs(model),
    )
    # An exit without layers of its own, whose output is where the network goes on.
    bare = {place for place, head in enumerate(found.heads[:-1]) if not head}
    outputs = [
        GradientScale(1 / (len(found.outputs) - place))(output) if place in bare else output
        for place, output in enumerate(made.outputs)
    ]
    return keras.Model(made.input, outputs) if bare else made


def id_of(call: Any) -> tuple[int, ...]:
    """Returns what tells a call from the others of a graph: the `id`s of its outputs."""
    return tuple(map(id, call.outputs))


def _scales(graph: ExitGraph) -> dict[tuple[int, tuple[int, ...]], float]:
    """Tensor and call that takes it, as `id`s -> the scale of the gradient from there."""
    count = len(graph.outputs)
    scales: dict[tuple[int, tuple[int, ...]], float] = defaultdict(lambda: 1.0)
    for number in range(1, count):
        left = count - number + 1
        # What an exit before this one needs lies before it, or in another head.
        head = [call for call in graph.calls[number - 1] if id(call) in graph.heads[number - 1]]
        behind = [call for calls in graph.calls[number:] for call in calls]
        inner = {id(tensor) for call in head for tensor in call.outputs}
        features = {id(tensor) for call in head for tensor in call.inputs} - inner
        if not head:  # The exit is where the network goes on.
            features = {id(graph.outputs[number - 1])}
        for calls, factor in ((head, 1 / left), (behind, (left - 1) / left)):
            for call in calls:
                for tensor in {id(tensor) for tensor in call.inputs} & features:
                    scales[tensor, id_of(call)] *= factor
    return dict(scales)
