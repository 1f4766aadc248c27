"""Lottery tickets: iterative pruning that goes back to early weights, and its controls."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

import keras
import numpy as np

from kdzoo.compression.masks import magnitude_masks, masks_of
from kdzoo.compression.smallest_weights import masks_after_rounds
from kdzoo.distillation import argument_checks
from kdzoo.losses import DistillationLoss
from kdzoo.schemes.early_weights import EarlyWeights
from kdzoo.schemes.lottery_rounds import (
    CONTROLS,
    Lottery,
    check_controls,
    check_epochs,
)
from kdzoo.schemes.scheme_checks import check_batches
from kdzoo.schemes.scheme_settings import Compiling, Teaching, optimizer_for
from kdzoo.schemes.scheme_stages import train_stages
from kdzoo.training.stages import check_run
from kdzoo.utils import check_fraction, check_integer, check_positive_integer
from kdzoo.utils.types import PathLike

_MOST_ROUNDS = 1000


@dataclasses.dataclass(frozen=True)
class LotteryTickets:
    """What `lottery_ticket` trained.

    Attributes:
        models: The network of each round, of plain layers: the dense one, and then the tickets, of
            which each has fewer weights than the one before.
        weights_left: What fraction of the kernels' weights each of them has; 1.0 for the dense one.
        masks: Name of a kernel of the last ticket -> boolean array of its shape, true where a
            weight is left.
        controls: Name of a control -> its network, which has as many weights as the last ticket.
    """

    models: list[keras.Model]
    weights_left: list[float]
    masks: dict[str, np.ndarray]
    controls: dict[str, keras.Model]

    @property
    def ticket(self) -> keras.Model:
        """The ticket of the last round."""
        return self.models[-1]


def lottery_ticket(
    model: keras.Model,
    data: Any,
    directory: PathLike,
    *,
    rounds: int,
    epochs: int,
    loss: Any,
    fraction: float = 0.2,
    output_fraction: float | None = None,
    scope: Literal["layer", "global"] = "layer",
    rewind_epoch: int = 0,
    controls: Sequence[str] = CONTROLS,
    teacher: keras.Model | Literal["recorded"] | None = None,
    distillation_loss: DistillationLoss | None = None,
    student_loss_weight: float = 0.5,
    optimizer: str
    | keras.optimizers.Optimizer
    | Callable[[int], keras.optimizers.Optimizer] = "adam",
    metrics: Sequence[Any] = (),
    validation_data: Any = None,
    seed: int = 0,
    settings: Any = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: str | int = "auto",
) -> tuple[LotteryTickets, dict[str, list[Any]]]:
    """Finds a sparse network that trains well from early weights; survives a kill.

    The network is trained; its smallest weights are pruned, and those that are left go back to what
    they were at the beginning, or after an early epoch; this ticket is trained, and so on. The
    pruned weights are exactly zero all the time (`kdzoo.compression.apply_masks`). Controls are
    trained beside the last ticket:

    - `"reinitialized"`: its mask, and initial weights drawn anew, for `epochs`;
    - `"random_ticket"`: the early weights, and as many of them in each kernel at random places, for
      as long as the ticket;
    - `"from_scratch"`: its mask, and initial weights drawn anew, for as many epochs as all rounds
      took together.

    Args:
        model: A functional or built sequential `keras.Model` that gives logits, with its initial
            weights. It is left as it is.
        data: Function from an epoch, counted from 0, to what `fit` takes from there on, for example
            `lambda epoch: split.batches(128, shuffle=True, initial_epoch=epoch)`. Later rounds go
            on counting. Or a `tf.data.Dataset` or `keras.utils.PyDataset`, the same each time.
        directory: Where the checkpoints and the early weights go.
        rounds: How often it is pruned, from 1 to 1000.
        epochs: Epochs of the dense network, at least 1.
        loss: The loss on the labels: a Keras loss, a function, or a name.
        fraction: Of the weights that are left, how many go in each round, above 0 and below 1.
            After n rounds (1 - fraction) ** n of each kernel is left, but for one weight; one at
            least stays.
        output_fraction: The fraction in the layers that give the outputs, in [0, 1); None for
            `fraction`. The paper has half of it.
        scope: Whether a fraction goes of each kernel, `"layer"`, or of all of them together,
            `"global"`.
        rewind_epoch: After how many epochs of the dense network the weights were to which those
            that are left go back, below `epochs`; 0 for the initial weights. A ticket trains for
            the epochs that are left, its learning rate goes on from there, and its optimizer begins
            without a state.
        controls: Which controls are trained.
        teacher: A trained `keras.Model` that gives logits, which teaches all of them; `"recorded"`
            if the data carry a teacher's outputs; None for the labels alone.
        distillation_loss: What they learn of a teacher: a distillation loss, which every training
            has a new one of; `SoftTargets(4.0)` when None.
        student_loss_weight: Weight of the loss on the labels beside a teacher, between 0 and 1.
        optimizer: An optimizer of Keras, whose settings that of each training has, or a name. Or a
            function from a number of epochs to an optimizer: schedules of `"from_scratch"` are
            longer.
        metrics: Metrics, Keras metrics or names, on labels and logits.
        validation_data: What is validated on after each epoch: `(x, y)` or batches; None for no
            validation.
        seed: Integer of at least 0 that decides the weights that are drawn anew and random places.
        settings: JSON-able value that identifies the run, for example the data and the seed of the
            initial weights. The teacher's weights and the other arguments, but for the model,
            metrics and callbacks, are always part of it; checkpoints written with other settings
            are refused. The model's weights are no part of it, as a program that is started again
            may have drawn other ones: the run then goes on with those it began with.
        callbacks: Further callbacks, for all trainings.
        verbose: 0 for silence, 1 for a progress bar, 2 for a line an epoch; `"auto"` is mostly 1.

    Returns:
        A `LotteryTickets`, and the history: a dictionary of lists with one entry for each epoch.
        `"stage"` counts from 1: the dense network, the rounds, the controls; what a stage does not
        measure is `None`.

    Raises:
        ValueError: If the model has no graph or no kernels, it and the teacher do not fit each
            other, a number is out of range, a control is unknown, or the directory holds a run with
            other settings. Nothing is trained then.

    Example:

    ```python
    tickets, history = kdzoo.schemes.lottery_ticket(
        kdzoo.create("lenet_300_100"),
        lambda epoch: data.train.batches(128, shuffle=True, initial_epoch=epoch),
        "runs/lottery",
        rounds=8,  # 0.8 ** 8 leaves 17 % of the weights.
        epochs=15,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        output_fraction=0.1,
    )
    tickets.ticket.save("ticket.keras")
    ```

    References: Frankle & Carbin, "The Lottery Ticket Hypothesis", 2019, arXiv:1803.03635; Frankle
    et al., "Stabilizing the Lottery Ticket Hypothesis", 2019, arXiv:1903.01611 (rewinding); Liu et
    al., "Rethinking the Value of Network Pruning", 2019, arXiv:1810.05270 (`"from_scratch"`).
    """
    batches = check_batches(data)
    check_run(directory, callbacks)
    rounds = check_positive_integer("rounds", rounds, _MOST_ROUNDS)
    epochs, rewind_epoch = check_epochs(epochs, rewind_epoch)
    seed = check_integer("seed", seed, least=0)
    check_controls(controls)
    fraction = check_fraction("fraction", fraction)
    if not fraction:
        raise ValueError(f"Expected fraction to be above 0. Received: fraction={fraction}")
    argument_checks.check_model("model", model)
    how: dict[str, Any] = {"fraction": fraction, "output_fraction": output_fraction, "scope": scope}
    magnitude_masks(model, **how)  # What does not fit is refused before anything is trained.
    teaching = Teaching(teacher, distillation_loss, student_loss_weight)
    teaching.check(model)
    compiling = Compiling(optimizer_for(optimizer, epochs), loss, metrics)
    compiling.check(teaching.student_loss_weight)
    run = {
        "run": settings,
        "rounds": rounds,
        "epochs": [epochs, rewind_epoch],
        "pruning": {**how, "rounded": "of all rounds"},
        "controls": list(controls),
        "teaching": teaching.described(),
        "seed": seed,
        **compiling.described(),
    }
    lottery = Lottery(
        model,
        functools.partial(masks_after_rounds, begun=masks_of(model), **how),
        teaching,
        compiling._replace(optimizer=optimizer),
        EarlyWeights(pathlib.Path(directory) / "rewind", run, model),
        *(rounds, epochs, rewind_epoch, seed),
    )
    stages = lottery.stages(controls, validation_data)
    history = train_stages(stages, batches, directory, run, callbacks, verbose)
    return _tickets(lottery, controls), history


def _tickets(lottery: Lottery, controls: Sequence[str]) -> LotteryTickets:
    """What the trainings have made."""
    numbers = range(1, lottery.rounds + 1)
    masks = [masks_of(lottery.students[number]) for number in numbers]
    weights = sum(mask.size for mask in masks[0].values())
    left = [float(sum(mask.sum() for mask in of_round.values()) / weights) for of_round in masks]
    return LotteryTickets(
        [lottery.finished(number) for number in (0, *numbers)],
        [1.0, *left],
        masks[-1],
        {name: lottery.finished(name) for name in controls},
    )
