"""Early exits: classifiers at inner layers of a network, which may stop there."""

from collections.abc import Callable, Sequence

import keras

from kdzoo.dynamic.exit_graph import check_exit, exit_graph
from kdzoo.dynamic.exit_heads import Heads, exit_heads
from kdzoo.evaluation.complexity import count_macs
from kdzoo.graph.calls import graph_of, models_of_several_outputs, output_of
from kdzoo.graph.final_activation import final_activation
from kdzoo.graph.keras_internals import mask_of
from kdzoo.graph.surgery import parts
from kdzoo.utils import check_name, shown
from kdzoo.utils.types import Tensor


def add_exits(
    model: keras.Model,
    at: Sequence[str],
    heads: Heads
    | Callable[[Tensor, int], Tensor]
    | Sequence[Callable[[Tensor], Tensor]] = "pooled",
    name: str | None = None,
) -> keras.Model:
    """Returns a new model with classifiers at inner layers beside its own output.

    The new model has the weights of the given one, which is left as it is, and new weights in the
    heads. Its outputs are a list, from the first exit to the last, which is the model's own output;
    those of the new exits are called `exit1`, `exit2`, ..., or `exit1_2` where the model has a
    layer `exit1`. Nested models in which an exit lies
    become part of the model around them, so that what comes after the exit need not be computed.

    Train it with `kdzoo.dynamic.ExitLearner`, or with `compile(loss=[...])` as any model of several
    outputs; choose between the exits with `kdzoo.dynamic.BudgetedClassifier`.

    Args:
        model: A functional or built sequential `keras.Model` of one output, the logits
            `(batch, ..., classes)`.
        at: Paths of the layers, from the first to the last, whose outputs the exits take: names, or
            names joined by `/` that lead through nested models.
        heads: What is put on these outputs. `"pooled"`: the mean over all positions, and a dense
            layer. `"convolved"`: before these a separable 3x3 convolution of twice the channels
            (3 wide for sequences), of stride 2 where there are 8 positions or more a side, batch
            normalization and ReLU. A function of a Keras tensor and the exit's number (1 is the
            first) to its logits; or a list of layers, models or functions of a tensor, one for each
            exit.
        name: Name of the new model; the model's own and `_exits` when None.

    Returns:
        A `keras.Model`, not compiled.

    Raises:
        ValueError: If there is no such layer, the layers are not in their order, the model ends in
            a softmax, has several outputs or no graph, a head gives logits of another shape, or its
            channels do not come last for heads by name.

    Example:

    ```python
    model = kdzoo.create("resnet_20", classes=10, input_shape=(32, 32, 3))
    exits = kdzoo.dynamic.add_exits(model, at=["stage1", "stage2"])
    learner = kdzoo.dynamic.ExitLearner(exits)
    learner.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    learner.fit(images, labels, epochs=10)
    ```

    Reference: Teerapittayanon et al., "BranchyNet", 2016, arXiv:1709.01686.
    """
    graph = _check_model(model)
    is_listed = isinstance(at, list | tuple) and len(at) > 0
    if not is_listed or not all(isinstance(path, str) for path in at):
        raise ValueError(f"Expected a list of paths of layers. Received: at={shown(at)}")
    if len(set(at)) < len(at):
        raise ValueError(f"Expected each layer once. Received: at={shown(list(at))}")
    features = [_feature(model, path) for path in at]
    output = graph.outputs[0]
    (trunk,) = parts(model, [(graph.input, [*features, output])])
    *taken, last = trunk.outputs
    made = exit_heads(heads, taken, last.shape, model)
    new = keras.Model(trunk.input, [*made, last], name=check_name(name) or f"{model.name}_exits")
    new.dtype_policy = model.dtype_policy
    try:
        exit_graph(new)
    except ValueError as error:
        raise ValueError(
            "Expected the layers in the order in which the model runs, before its output. "
            f"Received: at={shown(list(at))}"
        ) from error
    return new


def exit_model(model: keras.Model, exit: int) -> keras.Model:
    """Returns a new model that ends at one exit: its weights are copied, the other exits are gone.

    Args:
        model: A functional `keras.Model` of several exits.
        exit: The exit: 1 is the first, -1 the last.

    Raises:
        ValueError: If there is no such exit.
    """
    place = check_exit(model, exit)
    graph = graph_of(model)
    outputs = exit_graph(model).outputs if len(graph.outputs) > 1 else graph.outputs
    (made,) = _parts(model, [(graph.input, outputs[place])])
    return made


def exit_parts(model: keras.Model) -> list[keras.Model]:
    """Returns a new model for each exit, which goes on from where the one before it ended.

    The first takes the model's inputs. Each but the last gives a list: the output of its exit, and
    what the next one takes, in its order. The last one gives the output of the last exit. Weights
    are copied; a layer that several parts call is shared by them.

    Nested models of several outputs, from which exits may come, are entered.

    Args:
        model: A functional `keras.Model` of two or more exits, from the first to the last.

    Raises:
        ValueError: If it has no graph, or one output, or a tensor between the parts has a mask.
    """
    found = exit_graph(model)
    graph = graph_of(model)
    for tensor in (tensor for carried in found.carried for tensor in carried):
        if mask_of(tensor) is not None:
            raise ValueError(
                "Expected a network whose exits hand on tensors without masks. Received: "
                f"{model.name!r}, in which {tensor.name!r} has one, as after an Embedding with "
                "mask_zero=True."
            )
    starts = [graph.input, *found.carried]
    ends = [[output, *rest] for output, rest in zip(found.outputs, found.carried, strict=False)]
    return _parts(model, list(zip(starts, [*ends, found.outputs[-1]], strict=True)))


def exit_macs(model: keras.Model) -> list[int]:
    """Returns the multiply-accumulates of one sample up to each exit.

    The heads of earlier exits count too, as they ran to decide that the sample goes on.

    Args:
        model: A functional `keras.Model` of two or more exits, from the first to the last.

    Returns:
        An int for each exit, from the first to the last.

    Raises:
        ValueError: If it has no graph, or one output.
    """
    found, graph = exit_graph(model), graph_of(model)
    count = len(found.outputs)
    ends = [(graph.input, found.outputs[: number + 1]) for number in range(count)]
    return [count_macs(part) for part in _parts(model, ends)]


def _parts(model, ends):
    """Parts of a network of exits, whose nested models of several outputs are part of it."""
    return parts(model, ends, entered=models_of_several_outputs(model))


def _check_model(model):
    """The graph of a model that can have exits, or raises."""
    graph = graph_of(model)
    if len(graph.outputs) != 1:
        raise ValueError(
            "Expected a model of one output, its last exit. Received: "
            f"{model.name!r} with {len(graph.outputs)}"
        )
    if activation := final_activation(model):
        raise ValueError(
            f"Expected a model that gives logits. Received: {model.name!r}, which ends in a "
            f"{activation}; pass `kdzoo.as_logits(model)`."
        )
    return graph


def _feature(model, path):
    feature = output_of(model, path)
    if isinstance(feature, list):
        raise ValueError(
            f"Expected a layer of one output. Received: {path!r} with {len(feature)} of them"
        )
    return feature
