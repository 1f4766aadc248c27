"""The replicas of `tf.distribute`, among which a batch is divided and each of which has a step."""

import keras

from kdzoo.utils import heavy_libraries
from kdzoo.utils.types import Tensor


def count_replicas() -> int:
    """Returns the number of replicas among which Keras has divided the loss."""
    if keras.backend.backend() != "tensorflow":
        return 1
    return heavy_libraries.tensorflow().distribute.get_strategy().num_replicas_in_sync


def gather_over_replicas(tensor: Tensor) -> Tensor:
    """Returns the rows of all replicas' tensors, in the order of the replicas.

    Args:
        tensor: Tensor `(rows, ...)`; replicas may have different numbers of rows.

    Returns:
        The tensor itself where there is one replica, or none of them is in a step.
    """
    if count_replicas() == 1:
        return tensor
    distribute = heavy_libraries.tensorflow().distribute
    if distribute.in_cross_replica_context():
        return tensor
    return distribute.get_replica_context().all_gather(tensor, axis=0)
