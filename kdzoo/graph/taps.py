"""Taps: the outputs of inner layers, taken from the one forward pass that is made anyway."""

import contextlib

import keras

from kdzoo.graph.calls import call_of, graph_of, output_of
from kdzoo.utils import shown, unknown_name


def find_layer(model, path):
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
    if hasattr(model, "tapped_layer"):  # One that computes with layers of another kind.
        return model.tapped_layer(path)
    if not isinstance(path, str):
        raise ValueError(f"Expected the name of a layer. Received: {shown(path)}")
    layer = model
    walked = []
    for name in path.split("/"):
        names = {inner.name: inner for inner in getattr(layer, "layers", ())}
        if name not in names:
            where = "/".join([model.name, *walked])
            raise unknown_name(f"layer of {where!r}", name, names)
        layer = names[name]
        walked.append(name)
    return layer


def tapped_shapes(model, path):
    """Returns the static shapes of what a tap gives, or `None` where the model is not a graph.

    Args:
        model: A `keras.Model`.
        path: Path of a layer, a list of them, or `None` for the model's own outputs.

    Returns:
        A list with one shape for each tensor.
    """
    paths = path if isinstance(path, (list, tuple)) else [path]
    try:
        outputs = [(model if p is None else find_layer(model, p)).output for p in paths]
    except (AttributeError, ValueError):
        return None
    return [tuple(tensor.shape) for tensor in keras.tree.flatten(outputs)]


def build_losses(losses, teacher, student, answer=None):
    """Makes the losses' own weights, where the models are graphs and so the shapes are known.

    Args:
        losses: List of `DistillationLoss`.
        teacher: A `keras.Model` or `None`.
        student: A `keras.Model`.
        answer: Without a teacher, what a batch carries in its place: path of a layer -> array.
    """
    for loss in losses:
        theirs = None if teacher is None else tapped_shapes(teacher, loss.teacher_layer)
        if isinstance(answer, dict) and set(loss.teacher_layers) <= set(answer):
            carried = [answer[path] for path in loss.teacher_layers]
            theirs = [(None, *each.shape[1:]) for each in carried]
        ours = tapped_shapes(student, loss.student_layer)
        if not loss.built and theirs and ours:
            several = isinstance(loss.teacher_layer, (list, tuple))
            loss.build(*((theirs, ours) if several else (theirs[0], ours[0])))


def cut(model, path):
    """Returns the part of a model that leads to a layer; layers and weights are the model's own.

    Args:
        model: A functional or built sequential `keras.Model`.
        path: Path of the layer, as in `find_layer`; nested models are cut too.

    Returns:
        A functional `keras.Model` from the model's inputs to the layer's output.

    Raises:
        ValueError: If there is no such layer, it is shared (called more than once), or the model
            is subclassed and has no graph.
    """
    graph = graph_of(model)
    name, _, rest = path.partition("/")
    call = call_of(model, name)
    if rest:
        given = {key: value for key, value in call.kwargs.items() if value is not None}
        outputs = cut(call.operation, rest)(*call.args, **given)
    else:
        outputs = output_of(model, name)
    return keras.Model(graph.input, outputs, name=f"{model.name}_to_{path.replace('/', '_')}")


@contextlib.contextmanager
def tapping(model, paths):
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
    taps, runs = {}, dict.fromkeys(paths, 0)
    methods = [
        (path, layer, method, vars(layer).get(method))
        for path, layer in ((path, find_layer(model, path)) for path in paths)
        # A layer that `keras.Model.quantize` changed runs the second instead.
        for method in ("call", "quantized_call")
        if hasattr(layer, method)
    ]

    def reporting(path, call):
        def reporting_call(*args, **kwargs):
            taps[path] = call(*args, **kwargs)
            runs[path] += 1
            return taps[path]

        return reporting_call

    try:
        for path, layer, method, _ in methods:
            vars(layer)[method] = reporting(path, getattr(layer, method))
        yield taps
    finally:
        for _, layer, method, own in reversed(methods):
            vars(layer).pop(method, None)
            if own is not None:
                vars(layer)[method] = own
    for path, count in runs.items():
        if count != 1:
            raise ValueError(
                f"Expected the tapped layer {path!r} of {model.name!r} to run once in a forward "
                f"pass. Received: {count} runs; tap a layer that is not shared."
            )
