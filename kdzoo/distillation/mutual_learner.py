"""Deep mutual learning: peers that are trained at once, each also by what the others predict."""

from collections.abc import Sequence
from typing import Any, Literal

import keras
from keras import ops

from kdzoo.distillation import output_checks
from kdzoo.distillation.batch_targets import Targets
from kdzoo.distillation.copies import new_optimizer
from kdzoo.distillation.peer_checks import (
    UPDATES,
    check_classes_of_peers,
    check_peers,
    names_of_peers,
)
from kdzoo.distillation.peer_optimizers import PeerOptimizers
from kdzoo.distillation.reduction import reduce_loss
from kdzoo.distillation.sequential_updates import SequentialUpdates
from kdzoo.distillation.several_outputs import SeveralOutputs
from kdzoo.graph.keras_internals import additional_loss, compile_loss
from kdzoo.graph.untuned_passes import untuned_passes
from kdzoo.losses import SoftTargets
from kdzoo.losses.base import check_weight
from kdzoo.utils import check_choice, onednn
from kdzoo.utils.types import Tensor


class MutualLearner(SeveralOutputs, SequentialUpdates):
    """Trains peers that learn from labels and from each other: `compile`, `fit`, take `peers`.

    The loss of peer k is its loss on the labels, plus `mutual_weight` times the mean over the other
    peers j of T² · KL(p_j ‖ p_k), whose p_j are not differentiated, plus its regularizers.
    `sample_weight` weights all but these. In the logs, `NAME_loss` is the loss of a peer on the
    labels, `NAME_mutual_loss` the mean divergence, before its weight, and `loss` the sum over the
    peers. In validation the divergence is measured and does not count in `loss`.

    Args:
        peers: Two or more built `keras.Model` that give logits of the same classes.
        mutual_weight: Weight of the mean divergence, at least 0.
        temperature: Divisor T of the logits in the divergence, above 0.
        update: `"simultaneous"`: one forward pass of each peer in a step, and all are updated from
            it. `"sequential"`: one after the other, each with the predictions that the peers
            before it give after their update in this step.

    Raises:
        ValueError: If the peers are not such models or share weights, or a number is out of range.
    """

    def __init__(
        self,
        peers: Sequence[keras.Model],
        mutual_weight: float = 1.0,
        temperature: float = 1.0,
        update: Literal["simultaneous", "sequential"] = "simultaneous",
    ):
        check_peers(peers)
        precisions = [peer.dtype_policy for peer in peers]
        scaled = [policy for policy in precisions if policy.name == "mixed_float16"]
        precision = (scaled or precisions)[0]
        # The peers cast for themselves; the policy here only decides on loss scaling.
        super().__init__(name="mutual_learner", autocast=False, dtype=precision)
        self.update = check_choice("update", update, UPDATES)
        if scaled and update == "sequential":
            raise ValueError(
                "Expected float32 or bfloat16 for sequential updates. Received: peers in "
                "mixed_float16, whose loss is scaled for all at once; take "
                '`update="simultaneous"`.'
            )
        self.mutual_weight = check_weight("mutual_weight", mutual_weight)
        self.divergence = SoftTargets(temperature, name="mutual")
        self.peers = list(peers)
        self.peer_names = names_of_peers(peers)
        self._name_outputs(self.peer_names, ("loss", "mutual_loss"))
        self.built = True

    def compile(
        self, optimizer: Any = "adam", loss: Any = None, metrics: Sequence[Any] = (), **kwargs: Any
    ) -> None:
        """Configures training as `keras.Model.compile` does.

        Args:
            optimizer: The name of an optimizer of Keras, or an optimizer, whose settings each
                peer's own has; or a list with one for each peer.
            loss: The loss of each peer on the labels: a `keras.losses.Loss`, a function or a name.
            metrics: Metrics of each peer's outputs, Keras metrics or names, a list.
            **kwargs: Further arguments of `keras.Model.compile`, such as `jit_compile`.

        Raises:
            ValueError: If there is no loss or optimizer, or Keras knows none of that name.
        """
        self._read_loss(loss, self.peers, "peers")
        output_checks.warn_unless_on_logits(loss, self.peers[0])
        given = optimizer if isinstance(optimizer, list | tuple) else [optimizer] * len(self.peers)
        if len(given) != len(self.peers):
            raise ValueError(
                f"Expected an optimizer for each of {len(self.peers)} peers, or one for all. "
                f"Received: {len(given)}"
            )
        optimizers = PeerOptimizers(self.peers, [new_optimizer(part) for part in given])
        by_peer = self._metrics_by_name(metrics, kwargs)
        super().compile(optimizer=optimizers, loss=loss, **by_peer, **kwargs)
        self.optimizer.build(self.trainable_variables)

    def fit(self, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Trains the peers, as `keras.Model.fit` does.

        Args:
            *args: Arguments of `keras.Model.fit`.
            **kwargs: Arguments of `keras.Model.fit`.
        """
        onednn.warn_if_off()
        with untuned_passes():
            return super().fit(*args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Returns the losses and metrics of the peers, as `keras.Model.evaluate` does.

        Args:
            *args: Arguments of `keras.Model.evaluate`.
            **kwargs: Arguments of `keras.Model.evaluate`.
        """
        with untuned_passes():
            return super().evaluate(*args, **kwargs)

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Tensor]:
        """Returns the outputs of each peer by its name.

        Args:
            inputs: What each peer takes.
            training: Whether the peers run as in training.
        """
        return {
            name: self.outputs_of(peer, inputs, training)
            for name, peer in zip(self.peer_names, self.peers, strict=True)
        }

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        outputs = [y_pred[name] for name in self.peer_names]
        # Of peers without a graph it is known here.
        check_classes_of_peers([output.shape for output in outputs], self.peers)
        losses = [
            self.loss_of_peer(place, outputs, y, sample_weight, training)
            for place in range(len(self.peers))
        ]
        # Keras's sum, which counts them once over all replicas.
        losses += [additional_loss(self, ops.cast(loss, "float32")) for loss in self.losses]
        return sum(losses[1:], losses[0])

    def loss_of_peer(
        self, place: int, outputs: Sequence[Tensor], y: Any, sample_weight: Any, training: bool
    ) -> Tensor:
        """Returns the loss of one peer without its regularizers, a scalar; it is tracked, too.

        Args:
            place: Which peer.
            outputs: The outputs of all peers, of which only its own are differentiated.
            y: The labels.
            sample_weight: Weights of the samples, or None.
            training: Whether the divergence counts.
        """
        if y is None:
            raise ValueError(
                "Expected labels beside the inputs. Received: data without labels; a peer learns "
                "from them and from the others."
            )
        name, own = self.peer_names[place], outputs[place]
        on_labels = compile_loss(self)(y, own, sample_weight)  # type: ignore[misc]
        targets = Targets(sample_weight=sample_weight)
        others = [ops.stop_gradient(part) for part in (*outputs[:place], *outputs[place + 1 :])]
        types = (self._output_type,)
        parts = [reduce_loss(self.divergence, o, own, targets, types=types) for o in others]
        mutual = sum(parts[1:], parts[0]) / len(parts)
        self._track(f"{name}_loss", on_labels, own)
        self._track(f"{name}_mutual_loss", mutual, own)
        return on_labels + self.mutual_weight * mutual if training else on_labels
