"""Pruning schedules of TF-MOT made for a training of so many epochs on so many samples."""

from typing import TYPE_CHECKING

from kdzoo.compression.tfmot.library import load_tfmot
from kdzoo.utils import check_fraction, check_positive_integer

if TYPE_CHECKING:
    from tensorflow_model_optimization.python.core.api.sparsity.keras import PruningSchedule

_UPDATES = 100  # How often a schedule prunes on its way: rarer, each time costs more accuracy.


def schedule_over_epochs(
    final_sparsity: float,
    epochs: int,
    samples: int,
    batch_size: int = 32,
    *,
    initial_sparsity: float = 0.0,
) -> "PruningSchedule":
    """Returns a pruning schedule that reaches its sparsity after two thirds of a training.

    It prunes up to a hundred times on its way, a little more each time, from the first step on; the
    last third of the training is left to recover. TF-MOT's schedules count steps and prune every
    100 of them by default: in a short training late, much at once, or never.

    Args:
        final_sparsity: The fraction of the weights of each pruned kernel that becomes zero, in
            (0, 1).
        epochs: How many `fit` trains the pruned model for.
        samples: The number of training samples. Without those that `validation_split` holds out;
            for batches of a data set of yours, their number, with `batch_size=1`.
        batch_size: Samples in a step; as in `fit`, 32 unless you say otherwise.
        initial_sparsity: The fraction in the first step; `final_sparsity` for all at once.

    Returns:
        `kdzoo.compression.PolynomialDecay`, or `ConstantSparsity` where both fractions are the
        same.

    Raises:
        ValueError: If an argument is out of range, or `initial_sparsity` above `final_sparsity`.

    Example:

    ```python
    schedule = schedule_over_epochs(0.8, epochs=10, samples=len(images), batch_size=64)
    pruned = prune_low_magnitude(model, schedule)
    pruned.compile("adam", cross_entropy, metrics=["accuracy"])
    pruned.fit(images, labels, batch_size=64, epochs=10, callbacks=[UpdatePruningStep()])
    ```

    Reference: Zhu & Gupta, "To prune, or not to prune", 2017, arXiv:1710.01878: their cubic
    schedule, in which the network recovers after the last pruning; where it ends is ours.
    """
    final_sparsity = check_fraction("final_sparsity", final_sparsity)
    initial_sparsity = check_fraction("initial_sparsity", initial_sparsity)
    if final_sparsity == 0 or initial_sparsity > final_sparsity:
        raise ValueError(
            "Expected final_sparsity above 0, and initial_sparsity no higher. Received: "
            f"final_sparsity={final_sparsity}, initial_sparsity={initial_sparsity}"
        )
    epochs = check_positive_integer("epochs", epochs)
    samples = check_positive_integer("samples", samples)
    steps = epochs * -(-samples // check_positive_integer("batch_size", batch_size))
    schedules = load_tfmot().sparsity.keras
    if initial_sparsity == final_sparsity:
        return schedules.ConstantSparsity(final_sparsity, 0, frequency=_every(steps))
    end = max(1, 2 * steps // 3)
    return schedules.PolynomialDecay(
        initial_sparsity, final_sparsity, 0, end, frequency=_every(end)
    )


def _every(steps: int) -> int:
    return max(1, steps // _UPDATES)
