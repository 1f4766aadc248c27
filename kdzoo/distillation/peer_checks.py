"""Checks of models that learn from each other, and the names that logs have for them."""

from collections.abc import Sequence
from typing import Any

import keras

from kdzoo.distillation import argument_checks
from kdzoo.graph.exportable import shape_model
from kdzoo.graph.final_activation import final_activation
from kdzoo.utils import shown

UPDATES = ("simultaneous", "sequential")


def check_peers(peers: Any) -> None:
    """Raises unless models can learn from each other.

    Args:
        peers: Two or more built `keras.Model` that give logits of the same classes for the same
            inputs, and have no weights in common.

    Raises:
        ValueError: If they are something else.
    """
    if not isinstance(peers, list | tuple) or len(peers) < 2:
        raise ValueError(
            f"Expected a list of two or more `keras.Model` as peers. Received: peers={shown(peers)}"
        )
    for number, peer in enumerate(peers, 1):
        argument_checks.check_model(f"peers[{number - 1}]", peer)
        if not peer.built:
            raise ValueError(
                f"Expected built peers. Received: {peer.name!r} with built=False; call it on a "
                "batch."
            )
        if not peer.trainable_variables:
            raise ValueError(
                f"Expected peers with weights to train. Received: {peer.name!r}, of which nothing "
                "is trainable; set `trainable = True` on it, or on some of its layers."
            )
        if activation := final_activation(peer):
            raise ValueError(
                f"Expected peers that give logits. Received: {peer.name!r}, which ends in a "
                f"{activation}; pass `kdzoo.as_logits(peer)`."
            )
    _check_shapes(peers)
    _check_nothing_shared(peers)


def check_classes_of_peers(shapes: Sequence[Sequence[int | None]], peers: Sequence[Any]) -> None:
    """Raises unless the outputs of peers have the same classes.

    Args:
        shapes: The shapes of their outputs.
        peers: The models.

    Raises:
        ValueError: If they have others.
    """
    classes = [shape[-1] for shape in shapes]
    if len(set(classes)) > 1:
        said = ", ".join(
            f"{peer.name!r} of {count}" for peer, count in zip(peers, classes, strict=True)
        )
        raise ValueError(
            f"Expected peers of the same classes. Received: {said}; build them with as many."
        )


def names_of_peers(peers: Sequence[keras.Model]) -> list[str]:
    """Returns a name for each peer by which logs tell them apart: its own, numbered if it repeats.

    Args:
        peers: The models.
    """
    names: list[str] = []
    for peer in peers:
        name, number = peer.name, 2
        while name in names:
            name, number = f"{peer.name}_{number}", number + 1
        names.append(name)
    return names


def _check_shapes(peers):
    """Raises if peers that are graphs take other inputs, or give other outputs, than each other."""
    graphs = [graph for graph in map(shape_model, peers) if graph is not None]
    for graph in graphs:
        if len(graph.outputs) > 1:
            raise ValueError(
                f"Expected peers of one output. Received: {graph.name!r} with "
                f"{len(graph.outputs)}; make models of the output that they are to agree on."
            )
    check_classes_of_peers([graph.outputs[0].shape for graph in graphs], graphs)
    for graph in graphs[1:]:
        if not argument_checks.take_the_same(graphs[0], graph):
            shapes = [
                [tuple(tensor.shape) for tensor in part.inputs] for part in (graphs[0], graph)
            ]
            raise ValueError(
                "Expected peers that take the same inputs. Received: "
                f"{graphs[0].name!r} with {shapes[0]}, {graph.name!r} with {shapes[1]}"
            )


def _check_nothing_shared(peers):
    seen: dict[int, str] = {}
    for peer in peers:
        for variable in peer.variables:
            if id(variable) in seen:
                raise ValueError(
                    "Expected peers without weights in common. Received: "
                    f"{seen[id(variable)]!r} and {peer.name!r}, which share {variable.path}; copy "
                    "them (`keras.models.clone_model` and `set_weights`)."
                )
        seen.update((id(variable), peer.name) for variable in peer.variables)
