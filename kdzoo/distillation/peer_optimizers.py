"""One optimizer for `fit` that is made of several: each trains one of the peers."""

from collections.abc import Sequence
from typing import Any

import keras


class _Owners:
    """Variable -> its optimizer, as `keras.optimizers.MultiOptimizer` takes such a map."""

    def __init__(self, peers, optimizers):
        self._optimizers = list(optimizers)
        self._by_variable = {
            id(variable): optimizer
            for peer, optimizer in zip(peers, optimizers, strict=True)
            for variable in peer.trainable_variables
        }

    def __call__(self, variable):
        return self._by_variable[id(variable)]

    def values(self):
        """The optimizers, in the order of the peers."""
        return self._optimizers


class PeerOptimizers(keras.optimizers.MultiOptimizer):
    """An optimizer for each peer, with its own state; gradients are clipped for each by itself.

    Args:
        peers: The models, each with weights to train, none of them shared.
        optimizers: A `keras.optimizers.Optimizer` for each.
    """

    def __init__(
        self, peers: Sequence[keras.Model], optimizers: Sequence[keras.optimizers.Optimizer]
    ):
        super().__init__(_Owners(peers, optimizers), name="peer_optimizers")

    @property
    def iterations(self) -> Any:
        """The number of steps that were made."""
        return self.optimizers[0].iterations

    @property
    def learning_rate(self) -> Any:
        """That of the first peer's optimizer. Set it to give all of them another."""
        return self.optimizers[0].learning_rate

    @learning_rate.setter
    def learning_rate(self, learning_rate: Any) -> None:
        for optimizer in self.optimizers:
            optimizer.learning_rate = learning_rate

    # Keras saves the inner optimizers by themselves; once is enough.
    def save_own_variables(self, store: Any) -> None:
        pass

    def load_own_variables(self, store: Any) -> None:
        pass
