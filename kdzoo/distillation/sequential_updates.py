"""A step in which peers are updated one after the other, on TensorFlow and on JAX."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kdzoo.graph import acceleration
from kdzoo.graph.keras_internals import additional_loss
from kdzoo.graph.replicas import count_replicas
from kdzoo.utils import heavy_libraries
from kdzoo.utils.types import Tensor


class SequentialUpdates(keras.Model):
    """A model of several peers, whose step updates all at once or one after the other.

    `MutualLearner` is the class to use; it sets the attributes below.
    """

    peers: list[keras.Model]
    peer_names: list[str]
    update: str

    def loss_of_peer(
        self, place: int, outputs: Sequence[Tensor], y: Any, sample_weight: Any, training: bool
    ) -> Tensor:
        """Returns the loss of one peer without its regularizers, a scalar.

        Args:
            place: Which peer.
            outputs: The outputs of all peers.
            y: The labels.
            sample_weight: Weights of the samples, or None.
            training: Whether what the peers learn from each other counts.
        """
        raise NotImplementedError

    @staticmethod
    def outputs_of(peer: keras.Model, inputs: Any, training: bool | None) -> Tensor:
        """Returns the one output of a peer, whose layers are quicker meanwhile.

        Args:
            peer: The model.
            inputs: What it takes.
            training: Whether it runs as in training.

        Raises:
            ValueError: If it has several.
        """
        with acceleration.accelerated(acceleration.quicker_layers(peer)):
            outputs = keras.tree.flatten(peer(inputs, training=training))
        if len(outputs) != 1:
            raise ValueError(
                f"Expected peers of one output. Received: {peer.name!r} with {len(outputs)}; make "
                "models of the output that they are to agree on."
            )
        return outputs[0]

    def train_step(self, *args: Any) -> Any:
        if self.update == "simultaneous":
            return super().train_step(*args)
        # (data,), and on JAX (state, data).
        *state, data = args
        batch = keras.utils.unpack_x_y_sample_weight(data)
        if not state:
            return self._step(*batch)
        variables, (parts,) = self._variables_of_step(), state
        arrays = [array for part in parts for array in part]
        with keras.StatelessScope(list(zip(variables, arrays, strict=True))) as scope:
            logs = self._step(*batch)
        after = iter([scope.get_current_value(variable) for variable in variables])
        return logs, tuple([next(after) for _ in part] for part in parts)

    def _variables_of_step(self) -> list[keras.Variable]:
        """All that a step reads and changes, in the order of its state on JAX."""
        own = [*self.trainable_variables, *self.non_trainable_variables]
        return [*own, *self.optimizer.variables, *self.metrics_variables]

    def _step(self, x: Any, y: Any, sample_weight: Any) -> dict[str, Any]:
        """Updates each peer by what the others predict now."""
        # The first is updated before another one learns from it.
        known = [None, *(self._predictions(peer, x) for peer in self.peers[1:])]
        outputs, total = [], 0.0
        for place, peer in enumerate(self.peers):
            differentiated = _DIFFERENTIATED[keras.backend.backend()]
            loss, own, gradients = differentiated(self, place, known, (x, y, sample_weight))
            self.optimizer.optimizers[place].apply(gradients, peer.trainable_variables)
            outputs.append(own)
            total = total + loss
            if place + 1 < len(self.peers):
                known[place] = self._predictions(peer, x)
        (of_total,) = (metric for metric in self.metrics if metric.name == "loss")
        samples = ops.shape(keras.tree.flatten(x)[0])[0]
        of_total.update_state(total * count_replicas(), sample_weight=samples)
        by_name = dict(zip(self.peer_names, outputs, strict=True))
        return self.compute_metrics(x, y, by_name, sample_weight)

    def _predictions(self, peer: keras.Model, x: Any) -> Tensor:
        """What a peer gives as in training, while its moving averages and seeds stay."""
        values = [(variable, variable.value) for variable in peer.variables]
        with keras.StatelessScope(values):
            return ops.stop_gradient(self.outputs_of(peer, x, training=True))

    def loss_of_turn(
        self, place: int, known: Sequence[Tensor], batch: tuple[Any, Any, Any]
    ) -> tuple[Tensor, Tensor]:
        """Returns the loss of the peer whose turn it is, and its outputs.

        Args:
            place: Which peer.
            known: The predictions of the peers; its own are not looked at.
            batch: Inputs, labels and sample weights.
        """
        x, y, sample_weight = batch
        peer = self.peers[place]
        own = self.outputs_of(peer, x, training=True)
        outputs = [*known[:place], own, *known[place + 1 :]]
        loss = self.loss_of_peer(place, outputs, y, sample_weight, training=True)
        regularizers = [additional_loss(self, ops.cast(part, "float32")) for part in peer.losses]
        return sum(regularizers, loss), own


def _differentiated_by_tape(model, place, known, batch):
    """The loss of a peer, its outputs and the gradients of its weights, on TensorFlow."""
    with heavy_libraries.tensorflow().GradientTape() as tape:
        loss, own = model.loss_of_turn(place, known, batch)
    return loss, own, tape.gradient(loss, model.peers[place].trainable_variables)


def _differentiated_by_jax(model, place, known, batch):
    """The loss of a peer, its outputs and the gradients of its weights, within a step on JAX."""
    weights = model.peers[place].trainable_variables
    own = {id(variable) for variable in weights}
    rest = [variable for variable in model._variables_of_step() if id(variable) not in own]

    def loss_of(arrays):
        values = [*zip(weights, arrays, strict=True), *((v, v.value) for v in rest)]
        with keras.StatelessScope(values, collect_losses=True) as scope:
            loss, outputs = model.loss_of_turn(place, known, batch)
            return loss, (outputs, [scope.get_current_value(variable) for variable in rest])

    gradient = heavy_libraries.jax().value_and_grad(loss_of, has_aux=True)
    (loss, (outputs, after)), gradients = gradient([variable.value for variable in weights])
    for variable, array in zip(rest, after, strict=True):
        variable.assign(array)
    return loss, outputs, gradients


_DIFFERENTIATED = {"tensorflow": _differentiated_by_tape, "jax": _differentiated_by_jax}
