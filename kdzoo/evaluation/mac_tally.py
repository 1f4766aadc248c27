"""The multiply-accumulates of a pass, counted while it runs, call by call."""

import contextlib
import functools
from collections.abc import Iterator

import keras

from kdzoo.evaluation.mac_rules import LAYERS, OPERATIONS, additive_scores
from kdzoo.graph.keras_internals import flatten_layers, operations_wrapped
from kdzoo.graph.patched_calls import calls_restored, wrap_calls

# Layers whose weights scale, shift or are looked up: no MACs by convention.
_FREE = {
    "BatchNormalization",
    "Embedding",
    "GroupNormalization",
    "LayerNormalization",
    "Normalization",
    "PReLU",
    "RMSNormalization",
    "SpectralNormalization",
    "UnitNormalization",
}


def _class_in(names, layer):
    """Returns the first class name of `layer`, its own or inherited, that is in `names`."""
    return next((base.__name__ for base in type(layer).__mro__ if base.__name__ in names), None)


class Tally:
    """The MACs of a pass, of the calls that are running one in another.

    Attributes:
        frames: For each of them MACs, and how many operations of its own had some.
        unknown: Layers with weights and nothing that was counted.
    """

    def __init__(self):
        self.frames = [[0, 0]]
        self.unknown = []
        self._steps = []  # Of the layers running that repeat a step: its MACs, None before it ran.
        self._is_quiet = False

    @contextlib.contextmanager
    def quiet(self):
        """Context in which nothing counts; gives whether something would have counted before."""
        before, self._is_quiet = self._is_quiet, True
        try:
            yield not before
        finally:
            self._is_quiet = before

    def wrap_operation(self, name, function):
        """Returns a function of `keras.ops`, which counts by the rule of its name."""

        @functools.wraps(function)
        def noted(*args, **kwargs):
            with self.quiet() as counts:
                result = function(*args, **kwargs)
            sizes = tuple(result.shape)
            is_known = counts and None not in sizes
            macs = OPERATIONS[name](sizes, *args, **kwargs) if is_known else 0
            self.frames[-1][0] += macs
            self.frames[-1][1] += bool(macs)
            return result

        return noted

    def by_rule(self, rule, layer, call):
        """Returns a layer's `call`, which counts by a rule."""

        @functools.wraps(call)
        def noted(*args, **kwargs):
            with self.quiet() as counts:
                outputs = call(*args, **kwargs)
            inputs = args[0] if args else next(iter(kwargs.values()))
            shapes = (tuple(keras.tree.flatten(part)[0].shape) for part in (inputs, outputs))
            self.frames[-1][0] += int(rule(layer, *shapes)) if counts else 0
            return outputs

        return noted

    def by_parts(self, layer, call):
        """Returns a layer's `call`, whose own operations are to count for its own weights."""

        @functools.wraps(call)
        def noted(*args, **kwargs):
            self.frames.append([0, 0])
            outputs = call(*args, **kwargs)
            macs, own = self.frames.pop()
            if _class_in({"AdditiveAttention"}, layer) and not self._is_quiet:
                macs += additive_scores(layer, args[0] if args else kwargs["inputs"])
            self.frames[-1][0] += macs
            if not own and not self._is_quiet:
                self.unknown.append(layer)
            return outputs

        return noted

    def by_steps(self, call):
        """Returns the `call` of a layer that repeats another for each time step of its inputs.

        Backends run the step as often as there are steps, or once for all, or some other times.
        """

        @functools.wraps(call)
        def noted(inputs, *args, **kwargs):
            self._steps.append(None)
            self.frames.append([0, 0])  # Keras also runs cells once to learn of their dropout.
            outputs = call(inputs, *args, **kwargs)
            self.frames.pop()
            steps = tuple(keras.tree.flatten(inputs)[0].shape)[1]
            self.frames[-1][0] += steps * (self._steps.pop() or 0)
            return outputs

        return noted

    def as_step(self, call):
        """Returns the `call` of a layer that another repeats."""

        @functools.wraps(call)
        def noted(*args, **kwargs):
            depth = len(self._steps)
            self.frames.append([0, 0])
            outputs = call(*args, **kwargs)
            macs, _ = self.frames.pop()
            if depth:
                self._steps[-1] = macs
            else:  # The layer is also used by itself.
                self.frames[-1][0] += macs
            return outputs

        return noted


@contextlib.contextmanager
def recording(model: keras.Model) -> Iterator[Tally]:
    """Counts in the `Tally` that it gives what a model's layers and operations do in the block.

    Args:
        model: A built `keras.Model`.
    """
    tally = Tally()
    wraps = list(_wraps(model, tally, set()))
    with calls_restored(list({id(layer): layer for layer, _ in wraps}.values())):
        for layer, wrap in wraps:
            wrap_calls(layer, wrap)
        with operations_wrapped(OPERATIONS, tally.wrap_operation):
            yield tally


def _wraps(layer, tally, seen):
    """Yields layers and what is to be made of their `call`, the innermost first."""
    if id(layer) in seen:
        return
    seen.add(id(layer))
    rule = LAYERS.get(_class_in(LAYERS, layer))
    if rule is not None:
        yield layer, functools.partial(tally.by_rule, rule, layer)
        return
    parts = flatten_layers(layer, include_self=False, recursive=False)
    for part in parts:
        yield from _wraps(part, tally, seen)
    own = {id(weight) for weight in layer.weights} - {id(w) for part in parts for w in part.weights}
    if own and not _class_in(_FREE, layer):
        yield layer, functools.partial(tally.by_parts, layer)
    step = {"RNN": "cell", "TimeDistributed": "layer"}.get(
        _class_in({"RNN", "TimeDistributed"}, layer)
    )
    if step is not None:
        yield getattr(layer, step), tally.as_step
        yield layer, tally.by_steps
