"""Magnitude pruning: TF-MOT's `prune_low_magnitude` for Keras 3 models."""

import warnings

import keras
import numpy as np

from kdzoo.compression.schedules import as_schedule, warn_of_the_schedule
from kdzoo.compression.tfmot import (
    HostedModel,
    check_made_by,
    check_model,
    load_tfmot,
    pruning_registry,
)

_PREFIX = "prune_low_magnitude"


def prune_low_magnitude(
    to_prune,
    pruning_schedule=None,
    block_size=(1, 1),
    block_pooling_type="AVG",
    pruning_policy=None,
    sparsity_m_by_n=None,
):
    """Returns a copy of a model in which training sets the smallest weights to zero.

    Names and arguments are TF-MOT's. Pruned are the kernels of dense, convolutional, recurrent and
    attention layers and embeddings; depthwise convolutions, biases and normalizations never are.
    Train the result with the callback `UpdatePruningStep`, then take `strip_pruning(model)`.

    Args:
        to_prune: The functional or sequential `keras.Model`, trained as a rule; it is not changed.
        pruning_schedule: `ConstantSparsity` or `PolynomialDecay` of this package, which say when,
            in training steps, and to which share weights are set to zero. `ConstantSparsity(0.5,
            0)`, half of the weights, when None. Beware of `frequency`, 100 steps by default: a
            training that is shorter prunes nothing, and warns.
        block_size: (height, width) of blocks that are pruned together, for layers whose kernels are
            matrices.
        block_pooling_type: `"AVG"` or `"MAX"`: what of a block is compared.
        pruning_policy: An object whose `allow_pruning(layer)` says whether a layer, of tf_keras,
            is pruned, such as TF-MOT's `PruneForLatencyOnXNNPack()`. It is not saved: a loaded
            model prunes the layers that it pruned.
        sparsity_m_by_n: (2, 4) for two zeros in every four weights along the input channels,
            whatever the schedule's sparsity.

    Returns:
        A `PrunedModel`, not compiled.

    Raises:
        ValueError: If a layer has no twin in tf_keras (see `kdzoo.compression`), nothing in the
            model can be pruned, or an argument is out of range.

    Warns:
        UserWarning: Names the layers that have kernels and will not be pruned.

    Example:

    ```python
    from kdzoo.compression import PolynomialDecay, UpdatePruningStep, prune_low_magnitude

    schedule = PolynomialDecay(0.5, 0.8, begin_step=0, end_step=2000)
    pruned = prune_low_magnitude(model, schedule)
    pruned.compile("adam", cross_entropy, metrics=["accuracy"])
    pruned.fit(x_train, y_train, epochs=5, callbacks=[UpdatePruningStep()])
    model = strip_pruning(pruned)
    ```

    Reference: Zhu & Gupta, "To prune, or not to prune", 2017, arXiv:1710.01878, and the
    documentation of tensorflow-model-optimization 0.8.
    """
    check_model("to_prune", to_prune)
    model = PrunedModel(
        to_prune,
        pruning_schedule,
        block_size,
        block_pooling_type,
        sparsity_m_by_n=sparsity_m_by_n,
        pruning_policy=pruning_policy,
    )
    model.warn_of_what_stays_dense()
    return model


def strip_pruning(model):
    """Returns the plain Keras 3 model with the pruned weights, zeros included.

    Args:
        model: What `prune_low_magnitude` returned.

    Raises:
        ValueError: If it is another model.
    """
    check_made_by("prune_low_magnitude", PrunedModel, model)
    model.mask_weights()
    return model.plain_model()


@keras.saving.register_keras_serializable("kdzoo")
class PrunedModel(HostedModel):
    """A model that is pruned while it is trained; `prune_low_magnitude` makes it.

    Args:
        model: As `to_prune` of `prune_low_magnitude`.
        pruning_schedule: As there, or its configuration.
        block_size: As there.
        block_pooling_type: As there.
        sparsity_m_by_n: As there.
        pruning_policy: As there.
        layers_to_prune: Names of the twin's layers that are pruned; None for all that can be.
        name: Name of the model.
    """

    def __init__(
        self,
        model,
        pruning_schedule=None,
        block_size=(1, 1),
        block_pooling_type="AVG",
        sparsity_m_by_n=None,
        pruning_policy=None,
        layers_to_prune=None,
        name=None,
    ):
        self._schedule = as_schedule(pruning_schedule)
        self._block = tuple(block_size), block_pooling_type
        self._m_by_n = None if sparsity_m_by_n is None else tuple(sparsity_m_by_n)
        self._policy, self._chosen = pruning_policy, layers_to_prune
        super().__init__(model, name)

    def _wrap(self, twin):
        import tf_keras

        prune, supports = load_tfmot().sparsity.keras.prune_low_magnitude, pruning_registry()

        def wrapped(layer):
            if not self._prunes(layer, supports):
                return layer
            return prune(
                layer,
                pruning_schedule=self._schedule,
                block_size=self._block[0],
                block_pooling_type=self._block[1],
                sparsity_m_by_n=self._m_by_n,
            )

        model = tf_keras.models.clone_model(twin.model, clone_function=wrapped)
        self._chosen = [layer.layer.name for layer in _pruned_layers(model)]
        if not self._chosen:
            raise ValueError(
                f"Expected a model with a layer that can be pruned. Received: {twin.model.name!r}, "
                "which has no dense or convolutional kernel, or none that the policy allows."
            )
        return model

    def _prunes(self, layer, registry):
        if self._chosen is not None:
            return layer.name in self._chosen
        if self._policy is not None and not self._policy.allow_pruning(layer):
            return False
        return bool(registry(layer)) and self._fits(layer)

    def _fits(self, layer):
        """Whether blocks or 2:4 suit a layer's kernel."""
        kernels = [weight for weight in layer.weights if len(weight.shape) > 1]
        if self._block[0] != (1, 1):
            return all(len(kernel.shape) == 2 for kernel in kernels)
        return self._m_by_n is None or all(
            len(kernel.shape) in (2, 4) and kernel.shape[-2] > 1 for kernel in kernels
        )

    @property
    def pruned_layers(self):
        """The wrapped layers that are pruned: TF-MOT's `PruneLowMagnitude`, a list."""
        return _pruned_layers(self.wrapped)

    @property
    def pruning_schedule(self):
        """The schedule, an object of TF-MOT."""
        return self._schedule

    def warn_of_what_stays_dense(self):
        """Warns, by name, of layers that have a kernel and will not be pruned."""
        dense = self.left_out(self._chosen)
        if dense:
            warnings.warn(
                f"Not pruned in {self.name!r}: {', '.join(dense)}. TF-MOT prunes no depthwise "
                "kernels, blocks suit matrices only, and 2:4 needs several input channels.",
                stacklevel=3,
            )

    def sparsity(self):
        """Returns path of a pruned layer -> share of its prunable weights that are zero."""
        found = {}
        for layer in self.pruned_layers:
            values = [weight.numpy() for weight, _, _ in layer.pruning_vars]
            zeros = sum(np.count_nonzero(value == 0) for value in values)
            found[self.paths[layer.layer.name]] = zeros / sum(value.size for value in values)
        return found

    def mask_weights(self):
        """Sets the weights that are masked to zero, as the next training step would."""
        for layer in self.pruned_layers:
            layer.pruning_obj.weight_mask_op()

    def get_config(self):
        return {
            **super().get_config(),
            "pruning_schedule": self._schedule.get_config(),
            "block_size": list(self._block[0]),
            "block_pooling_type": self._block[1],
            "sparsity_m_by_n": self._m_by_n and list(self._m_by_n),
            "layers_to_prune": list(self._chosen),
        }


class UpdatePruningStep(keras.callbacks.Callback):
    """Starts the pruning, and masks the weights when an epoch ends; TF-MOT's, for Keras 3.

    Give it to the `fit` of a pruned model, or of a `Distiller` with a pruned student. A training
    that goes on from saved weights goes on at the saved step of the schedule.

    Raises:
        ValueError: If the model that is trained is not pruned.

    Warns:
        UserWarning: If the schedule will never fire in this training, or not reach its final
            sparsity.
    """

    def on_train_begin(self, logs=None):
        self._pruned = find_pruned(self.model)
        for layer in self._pruned.pruned_layers:
            if int(layer.pruning_step) == -1:
                layer.pruning_step.assign(0)
        self._looked = False

    def on_epoch_begin(self, epoch, logs=None):
        steps = self.params.get("steps")
        if not self._looked and steps:
            first = int(self._pruned.pruned_layers[0].pruning_step) + 1
            last = first - 1 + steps * (self.params["epochs"] - epoch)
            warn_of_the_schedule(self._pruned.pruning_schedule, first, last)
        self._looked = True

    def on_epoch_end(self, epoch, logs=None):
        self._pruned.mask_weights()


class PruningSummaries(keras.callbacks.TensorBoard):
    """Writes sparsity and threshold of every pruned layer for TensorBoard, once an epoch.

    Args:
        log_dir: Directory of the logs.
        update_freq: As in `keras.callbacks.TensorBoard`.
        **kwargs: As there.

    Raises:
        ValueError: If the model that is trained is not pruned.
    """

    def __init__(self, log_dir, update_freq="epoch", **kwargs):
        super().__init__(log_dir, update_freq=update_freq, **kwargs)

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self._pruned = find_pruned(self.model)

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        step = int(self.model.optimizer.iterations)
        with self._train_writer.as_default():
            for layer in self._pruned.pruned_layers:
                for weight, mask, threshold in layer.pruning_vars:
                    name = weight.name.removesuffix(":0")
                    self.summary.scalar(f"{name}/sparsity", 1 - np.mean(mask.numpy()), step=step)
                    self.summary.scalar(f"{name}/threshold", threshold.numpy(), step=step)


def find_pruned(model):
    """Returns the pruned model that a model is, or that is the student of a Distiller.

    Raises:
        ValueError: If there is none.
    """
    for candidate in (model, getattr(model, "student", None)):
        if isinstance(candidate, PrunedModel):
            return candidate
    raise ValueError(
        "Expected a model that `prune_low_magnitude` returned, or a Distiller with such a student. "
        f"Received: {model.name!r} of type {type(model).__name__}"
    )


def _pruned_layers(wrapped):
    return [layer for layer in wrapped.layers if getattr(layer, "pruning_vars", None)]
