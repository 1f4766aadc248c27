"""Taps: the outputs of inner layers, taken from the one forward pass that is made anyway."""

import contextlib
import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import keras

from kdzoo.graph.calls import call_of, graph_of, output_of
from kdzoo.graph.exportable import exportable
from kdzoo.graph.patched_calls import calls_restored, wrap_calls
from kdzoo.utils import shown, unknown_name


def find_layer(model: keras.Model, path: str) -> Any:
    """Returns the layer that a path names.

    Args:
        model: A `keras.Model`.
        path: Name of a layer, or names joined by `/` that lead through nested models, such as
            `"backbone/stage2"`.

    Returns:
        The `keras.layers.Layer`.

    Raises:
        ValueError: If there is no such layer (the nearest name is suggested), or the model is
            subclassed and has no named layers to tap.
    """
    own = exportable(model).tapped_layer(path)
    if own is not None:
        return own
    if not isinstance(path, str):
        raise ValueError(f"Expected the name of a layer. Received: {shown(path)}")
    layer = model
    walked: list[str] = []
    for name in path.split("/"):
        names = {inner.name: inner for inner in getattr(layer, "layers", ())}
        if name not in names:
            where = "/".join([model.name, *walked])
            raise unknown_name(f"layer of {where!r}", name, names)
        layer = names[name]
        walked.append(name)
    return layer


def tapped_shapes(
    model: keras.Model | None, path: str | Sequence[str | None] | None
) -> list[tuple] | None:
    """Returns the static shapes of what a tap gives, or `None` where the model is not a graph.

    Args:
        model: A `keras.Model`, or None for one of which nothing is known.
        path: Path of a layer, a list of them, or `None` for the model's own outputs.

    Returns:
        A list with one shape for each tensor.
    """
    if model is None:
        return None
    paths: Any = path if isinstance(path, list | tuple) else [path]
    try:
        outputs = [(model if p is None else find_layer(model, p)).output for p in paths]
    except (AttributeError, ValueError):
        return None
    return [tuple(tensor.shape) for tensor in keras.tree.flatten(outputs)]


def build_losses(
    losses: Iterable[Any],
    teacher: keras.Model | None,
    student: keras.Model,
    carried: Any = None,
) -> None:
    """Makes the losses' own weights, where the models are graphs and so the shapes are known.

    Args:
        losses: List of `DistillationLoss`.
        teacher: A `keras.Model` or `None`.
        student: A `keras.Model`.
        carried: Without a teacher, what a batch carries in its place: path of a layer -> array.
    """
    for loss in losses:
        theirs = None if teacher is None else tapped_shapes(teacher, loss.teacher_layer)
        if isinstance(carried, dict) and set(loss.teacher_layers) <= set(carried):
            theirs = [(None, *carried[path].shape[1:]) for path in loss.teacher_layers]
        ours = tapped_shapes(student, loss.student_layer)
        if not loss.built and theirs and ours:
            several = isinstance(loss.teacher_layer, (list, tuple))
            loss.build(*((theirs, ours) if several else (theirs[0], ours[0])))


def cut(model: keras.Model, path: str) -> keras.Model:
    """Returns the part of a model that leads to a layer; layers and weights are the model's own.

    Args:
        model: A functional or built sequential `keras.Model`.
        path: Name of the layer, or names joined by `/` that lead through nested models, which are
            cut too.

    Returns:
        A functional `keras.Model` from the model's inputs to the layer's output.

    Raises:
        ValueError: If there is no such layer, it is shared (called more than once), or the model
            is subclassed and has no graph.
    """
    graph = graph_of(model)
    find_layer(model, path)
    name, _, rest = path.partition("/")
    call = call_of(model, name)
    if rest:
        given = {key: value for key, value in call.kwargs.items() if value is not None}
        outputs = cut(call.operation, rest)(*call.args, **given)
    else:
        outputs = output_of(model, name)
    return keras.Model(graph.input, outputs, name=f"{model.name}_to_{path.replace('/', '_')}")


@contextlib.contextmanager
def tapping(model: keras.Model, paths: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Records what the layers give while the block calls the model.

    Nothing of the model is rebuilt: for the time of the block each tapped layer reports its
    output. The layer must run exactly once in the block.

    Args:
        model: A `keras.Model`.
        paths: Paths of layers.

    Yields:
        A dictionary that holds path -> output when the block ends.

    Raises:
        ValueError: If a path is unknown, or a tapped layer ran more than once or not at all.
    """
    layers = {path: find_layer(model, path) for path in paths}

    taps: dict[str, Any] = {}
    runs = dict.fromkeys(layers, 0)

    def reporting(path, call):
        def reporting_call(*args, **kwargs):
            taps[path] = call(*args, **kwargs)
            runs[path] += 1
            return taps[path]

        return reporting_call

    with calls_restored(layers.values()):
        for path, layer in layers.items():
            wrap_calls(layer, functools.partial(reporting, path))
        yield taps
    for path, count in runs.items():
        if count != 1:
            raise ValueError(
                f"Expected the tapped layer {path!r} of {model.name!r} to run once in a forward "
                f"pass. Received: {count} runs; tap a layer that is not shared."
            )
