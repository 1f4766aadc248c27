"""Where a network's exits leave it: which calls belong to an exit, and what lies between them."""

import dataclasses

import keras

from kdzoo.graph.calls import Call, Plan, graph_of, models_of_several_outputs
from kdzoo.utils import is_integer, shown


@dataclasses.dataclass(frozen=True)
class ExitGraph:
    """The calls of a network of several exits, sorted by the exit that needs them first.

    Of nested models of several outputs, from which exits may come, the calls within them count.

    Attributes:
        outputs: The outputs of the exits, Keras tensors, from the first to the last.
        calls: For each exit the calls that it needs and that no exit before it needs, in order.
        heads: For each exit the calls, as `id`s, that no later exit needs; of the last one none.
        carried: For each exit but the last the tensors that are there when it is computed and that
            later exits need, in the order in which they were made.
    """

    outputs: list[keras.KerasTensor]
    calls: list[list[Call]]
    heads: list[set[int]]
    carried: list[list[keras.KerasTensor]]


def exit_graph(model: keras.Model) -> ExitGraph:
    """Returns where the exits of a model leave it.

    Args:
        model: A functional `keras.Model` of two or more outputs, from the first exit to the last.

    Raises:
        ValueError: If it has no graph, or one output, or an exit that leaves the network
            where one before it does, or earlier.
    """
    graph = graph_of(model)
    if len(graph.outputs) < 2:
        raise ValueError(
            "Expected a model of two or more exits, which are its outputs. Received: "
            f"{model.name!r} with {len(graph.outputs)}; make one by `kdzoo.dynamic.add_exits`."
        )
    outputs, needed = _plan(graph)
    calls, heads = [], []
    seen: set[int] = set()
    for number, output in enumerate(outputs, 1):
        own = needed([output])
        new = [call for call in own if id(call) not in seen]
        later = set(map(id, needed(outputs[number:])))
        head = {id(call) for call in own if id(call) not in later} if outputs[number:] else set()
        if number > 1 and not {id(call) for call in new} - head:
            raise ValueError(
                f"Expected exits from the first to the last. Received: {model.name!r}, whose exit "
                f"{number} leaves the network where an exit before it does, or earlier."
            )
        calls.append(new)
        heads.append(head)
        seen |= set(map(id, own))
    return ExitGraph(outputs, calls, heads, _carried(graph, calls, outputs))


def _plan(graph):
    """The exits, and a function of tensors to the calls that they need."""
    entered = models_of_several_outputs(graph)
    plan = Plan(graph, flattens=lambda operation: id(operation) in entered)
    given = {id(tensor) for tensor in graph.inputs}
    resolved = {
        id(call): dataclasses.replace(call, inputs=[plan.source(tensor) for tensor in call.inputs])
        for call, *_ in plan.calls
    }

    def needed(targets):
        return [resolved[id(call)] for call, *_ in plan.needed(targets, given)]

    return [plan.source(output) for output in graph.outputs], needed


def _carried(graph, calls, outputs):
    """The tensors behind each exit but the last that later exits need."""
    carried, made = [], list(graph.inputs)
    for number, own in enumerate(calls[:-1]):
        made += [tensor for call in own for tensor in call.outputs]
        later = {
            id(tensor) for rest in calls[number + 1 :] for call in rest for tensor in call.inputs
        }
        later |= {id(tensor) for tensor in outputs[number + 1 :]}
        carried.append([tensor for tensor in made if id(tensor) in later])
    return carried


def check_exit(model: keras.Model, number: int) -> int:
    """Returns the position of an exit, counted from 0, of its number, counted from 1 or from -1.

    Args:
        model: A model of several exits.
        number: The exit: 1 is the first, -1 the last.

    Raises:
        ValueError: If there is no such exit.
    """
    count = len(graph_of(model).outputs)
    if not is_integer(number) or not 1 <= abs(number) <= count:
        raise ValueError(
            f"Expected an exit from 1 to {count}, or -1 for the last. Received: "
            f"exit={shown(number)}"
        )
    return int(number) - 1 if number > 0 else count + int(number)
