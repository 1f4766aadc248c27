"""The optimizer of a training, and the schedule of its learning rate."""

import keras

from kdzoo.data import Dataset
from kdzoo.experiments.training_settings import Training


def optimizer(
    training: Training, data: Dataset, epochs: int | None = None
) -> keras.optimizers.Optimizer:
    """Returns a fresh optimizer, whose learning rate falls over the epochs."""
    epochs = training.epochs if epochs is None else epochs
    return optimizer_of(training, -(-len(data.train) // training.batch_size) * epochs)


def optimizer_of(training: Training, steps: int) -> keras.optimizers.Optimizer:
    """Returns a fresh optimizer, whose learning rate falls over so many steps."""
    cosine, highest = keras.optimizers.schedules.CosineDecay, training.learning_rate
    if training.optimizer == "sgd":
        rise = max(1, steps // 10)
        rate = cosine(0.0, max(1, steps - rise), warmup_target=highest, warmup_steps=rise)
        decay = training.weight_decay
        return keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=decay)
    rate = cosine(highest, steps)
    if not training.weight_decay:  # The same numbers in fewer operations.
        return keras.optimizers.Adam(rate)
    return keras.optimizers.AdamW(rate, weight_decay=training.weight_decay)
