"""Deep mutual learning: two or more peers that are trained at once and learn from each other."""

from collections.abc import Sequence
from typing import Any, Literal

import keras

from kdzoo.distillation.copies import check_metrics
from kdzoo.distillation.mutual_learner import MutualLearner
from kdzoo.schemes.scheme_checks import check_batches
from kdzoo.schemes.scheme_settings import Compiling
from kdzoo.schemes.scheme_stages import SchemeStage, train_stages
from kdzoo.training.stages import check_run
from kdzoo.utils import check_positive_integer
from kdzoo.utils.types import PathLike


def mutual_learning(
    peers: Sequence[keras.Model],
    data: Any,
    directory: PathLike,
    *,
    epochs: int,
    loss: Any,
    optimizer: Any = "adam",
    update: Literal["simultaneous", "sequential"] = "simultaneous",
    mutual_weight: float = 1.0,
    temperature: float = 1.0,
    metrics: Sequence[Any] = (),
    validation_data: Any = None,
    settings: Any = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: str | int = "auto",
) -> tuple[list[keras.Model], dict[str, list[Any]]]:
    """Trains peers at once, each on the labels and on what the others predict; survives a kill.

    The loss of peer k of K is

        its loss on the labels
        + mutual_weight · mean over the K − 1 other peers j of T² · KL(p_j ‖ p_k)
        + its regularizers

    where p are the softmaxes of logits over T and the p_j are not differentiated. `sample_weight`
    weights all but the regularizers. Each peer has an optimizer of its own. There is no teacher;
    any of the peers can be delivered. A pretrained peer is given with its weights, and is trained
    further like the others.

    Args:
        peers: Two or more built `keras.Model` that give logits of the same classes, of the same or
            of different architectures; they are changed in place. Give them different initial
            weights.
        data: Function from an epoch, counted from 0, to what `fit` takes from there on, for example
            `lambda epoch: split.batches(128, shuffle=True, initial_epoch=epoch)`. Or a
            `tf.data.Dataset` or `keras.utils.PyDataset`, the same each time.
        directory: Where the checkpoints go, and the weights that the peers
            begin with: called again there, they get these, whatever is passed.
        epochs: How many.
        loss: The loss of each peer on the labels: a Keras loss, a function, or a name.
        optimizer: The name of an optimizer of Keras, or an optimizer, whose settings each peer's
            own has; or a list with one for each peer.
        update: `"simultaneous"`: one forward pass of each peer a step, from which all are updated.
            `"sequential"`: the paper's algorithm 1; the peers are updated in turn, and each learns
            from the updated predictions of those before it. That takes a forward pass more of
            each peer for each update that others look at. What these predict is as in training, and
            only the pass of a peer's own update moves its batch normalization.
        mutual_weight: Weight of the mean divergence, at least 0; the paper has 1.
        temperature: T, above 0; the paper has 1.
        metrics: Metrics of each peer, Keras metrics or names, on labels and logits.
        validation_data: What the peers are validated on after each epoch: `(x, y)` or batches; None
            for no validation.
        settings: JSON-able value that identifies the run, for example the data. The number of
            peers, `epochs`, `update`, `mutual_weight`, `temperature`, and the configurations of
            optimizers and loss are always part of it; checkpoints written with other settings are
            refused.
        callbacks: Further callbacks.
        verbose: 0 for silence, 1 for a progress bar, 2 for a line an epoch; `"auto"` is mostly 1.

    Returns:
        The peers, a list, and the history: a dictionary of lists with one entry for each epoch.
        `"stage"` is 1; `"loss"` is the sum over the peers; for each peer, by its name, which is
        numbered where names repeat, `"NAME_loss"` is its loss on the labels, `"NAME_mutual_loss"`
        the mean divergence from the others, and `"NAME_METRIC"` a metric.

    Raises:
        ValueError: If there are fewer than two peers, they have other classes or inputs than each
            other or weights in common, one gives probabilities, a number is out of range, or the
            directory holds a run with other settings. Nothing is trained then.

    Example:

    ```python
    peers = [kdzoo.create("resnet_20", classes=100, input_shape=(32, 32, 3)) for _ in range(2)]
    peers, history = kdzoo.schemes.mutual_learning(
        peers,
        lambda epoch: data.train.batches(128, shuffle=True, initial_epoch=epoch),
        "runs/mutual",
        epochs=40,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    ```

    Reference: Zhang et al., "Deep Mutual Learning", 2018, arXiv:1706.00384, equations 2 to 9 and
    algorithm 1.
    """
    batches = check_batches(data)
    epochs = check_positive_integer("epochs", epochs)
    check_run(directory, callbacks)
    check_metrics(metrics)
    learner = MutualLearner(peers, mutual_weight, temperature, update)
    learner.compile(optimizer, loss, metrics=metrics)
    optimizers = optimizer if isinstance(optimizer, list | tuple) else [optimizer] * len(peers)
    settings = {
        "run": settings,
        "peers": len(peers),
        "epochs": epochs,
        "update": update,
        "mutual_weight": learner.mutual_weight,
        "temperature": learner.divergence.temperature,
        "each": [Compiling(part, loss, metrics).described() for part in optimizers],
    }
    stages = [SchemeStage("peers", lambda: learner, epochs, validation_data)]
    history = train_stages(stages, batches, directory, settings, callbacks, verbose, peers)
    return list(peers), history
