"""Magnitude pruning: TF-MOT's `prune_low_magnitude` for Keras 3 models."""

import re
import warnings
from typing import Any, Literal

import keras
import numpy as np

from kdzoo.compression.tfmot.clone_agreement import check_agreement
from kdzoo.compression.tfmot.config_checks import Checks, nothing_runs
from kdzoo.compression.tfmot.library import (
    carrying_masks,
    check_made_by,
    check_no_distiller,
    load_tf_keras,
    load_tfmot,
    pruning_registry,
    unknown_to_tfmot,
)
from kdzoo.compression.tfmot.pruned_layer import PREFIX, PrunedLayer
from kdzoo.compression.tfmot.pruning_settings import CHECKS, as_config, fits, pruning_settings
from kdzoo.compression.tfmot.pruning_start import check_started
from kdzoo.compression.tfmot.unwrapping import (
    check_layer_or_model,
    check_not_compressed,
    mask_weights,
    passes,
    with_reasons,
    without_wrappers,
    wrapped_parts,
)
from kdzoo.compression.tfmot.wrapped_model import WrappedModel
from kdzoo.utils import shown
from kdzoo.utils.field_checks import is_list_of_names


def prune_low_magnitude(
    to_prune: Any,
    pruning_schedule: Any = None,
    block_size: tuple[int, int] = (1, 1),
    block_pooling_type: Literal["AVG", "MAX"] = "AVG",
    pruning_policy: Any = None,
    sparsity_m_by_n: tuple[int, int] | None = None,
) -> Any:
    """Returns a copy of a model, or layer, in which training sets the smallest weights to zero.

    Names and arguments are TF-MOT's. Pruned are the kernels of dense, convolutional, recurrent and
    attention layers and embeddings; depthwise convolutions, biases and normalizations never are.
    Train the result with the callback `UpdatePruningStep`, then take `strip_pruning(model)`.

    Args:
        to_prune: The functional or sequential `keras.Model`, trained as a rule; or a
            `keras.layers.Layer`, or a list of them, to prune some layers of a model, see below.
            None of them is changed.
        pruning_schedule: `ConstantSparsity` or `PolynomialDecay` of this package, which say when,
            in training steps, and which fraction of the weights are set to zero.
            `ConstantSparsity(0.5, 0)`, half of the weights, when None. `schedule_over_epochs` makes
            one that fits a training; by default they prune every 100 steps, and a training that is
            shorter prunes nothing, and warns.
        block_size: (height, width) of blocks that are pruned together, for layers whose kernels are
            matrices.
        block_pooling_type: `"AVG"` or `"MAX"`: what of a block is compared.
        pruning_policy: An object whose `allow_pruning(layer)` says whether a layer, of tf_keras,
            is pruned, such as TF-MOT's `PruneForLatencyOnXNNPack()`. It is not saved: a loaded
            model prunes the layers that it pruned.
        sparsity_m_by_n: (2, 4) for two zeros in every four weights along the input channels, from
            the first step on, whatever the schedule says.

    Returns:
        A `PrunedModel`, not compiled; for a layer a `PrunedLayer`, for a list a list. What is
        pruned already, activations and normalizations, as they are.

    Raises:
        ValueError: If tf_keras lacks a layer (see `kdzoo.compression`), nothing in the
            model or layer can be pruned, or an argument is out of range.

    Warns:
        UserWarning: Names the layers that have kernels and will not be pruned.

    Example:

    ```python
    from kdzoo.compression import UpdatePruningStep, prune_low_magnitude, schedule_over_epochs

    schedule = schedule_over_epochs(0.8, epochs=5, samples=len(x_train))
    pruned = prune_low_magnitude(model, schedule)
    pruned.compile("adam", cross_entropy, metrics=["accuracy"])
    pruned.fit(x_train, y_train, epochs=5, callbacks=[UpdatePruningStep()])
    model = strip_pruning(pruned)
    ```

    Dense layers only. A layer that the function returns as it is belongs to both models then, and
    is trained in both:

    ```python
    def prune_dense(layer):
        return prune_low_magnitude(layer) if isinstance(layer, keras.layers.Dense) else layer


    pruned = keras.models.clone_model(model, clone_function=prune_dense)
    ```

    Reference: Zhu & Gupta, "To prune, or not to prune", 2017, arXiv:1710.01878, and the
    documentation of tensorflow-model-optimization 0.8.
    """
    if isinstance(to_prune, list):
        arguments = (pruning_schedule, block_size, block_pooling_type, pruning_policy)
        return [prune_low_magnitude(layer, *arguments, sparsity_m_by_n) for layer in to_prune]
    check_layer_or_model("to_prune", to_prune)
    settings = {
        "pruning_schedule": pruning_schedule,
        "block_size": block_size,
        "block_pooling_type": block_pooling_type,
        "sparsity_m_by_n": sparsity_m_by_n,
    }
    if not (pruning_policy is None or hasattr(pruning_policy, "allow_pruning")):
        raise ValueError(
            "Expected pruning_policy to be an object such as `PruneForLatencyOnXNNPack()`. "
            f"Received: pruning_policy={shown(pruning_policy)}"
        )
    if isinstance(to_prune, PrunedModel | PrunedLayer):
        return to_prune
    check_not_compressed(to_prune)
    if not isinstance(to_prune, keras.Model):
        if passes(to_prune):
            return to_prune
        if pruning_policy is not None:
            raise ValueError(
                "Expected no `pruning_policy` for a single layer, as policies look at the layers "
                f"around it. Received: pruning_policy={shown(pruning_policy)}"
            )
        return PrunedLayer(to_prune, **settings)
    model = PrunedModel(to_prune, **settings, pruning_policy=pruning_policy)
    model.warn_of_what_stays_dense()
    return model


def strip_pruning(model: keras.Model) -> keras.Model:
    """Returns the plain Keras 3 model with the pruned weights, zeros included.

    Args:
        model: What `prune_low_magnitude` returned, or a functional or sequential model with layers
            that it returned.

    Raises:
        ValueError: If it is another model.
    """
    check_no_distiller(model)
    if isinstance(model, keras.Model) and wrapped_parts(model, (PrunedLayer, PrunedModel)):
        mask_weights(model)
        return without_wrappers(model)
    check_made_by("prune_low_magnitude", PrunedModel, model)
    mask_weights(model)
    return model.plain_model()


@keras.saving.register_keras_serializable("kdzoo")
class PrunedModel(WrappedModel):
    """A model that is pruned while it is trained; `prune_low_magnitude` makes it.

    Args:
        model: The functional or sequential `keras.Model`; it is copied.
        pruning_schedule: A schedule of TF-MOT, or its configuration; half of the weights when None.
        block_size: (height, width) of blocks that are pruned together.
        block_pooling_type: `"AVG"` or `"MAX"`: what of a block is compared.
        sparsity_m_by_n: (2, 4) for two zeros in every four weights, or None.
        pruning_policy: An object whose `allow_pruning(layer)` says whether a layer is pruned.
        layers_to_prune: Names of the clone's layers that are pruned; None for all that can be.
        name: Name of the model.
    """

    def __init__(
        self,
        model: keras.Model,
        pruning_schedule: Any = None,
        block_size: tuple[int, int] = (1, 1),
        block_pooling_type: Literal["AVG", "MAX"] = "AVG",
        sparsity_m_by_n: tuple[int, int] | None = None,
        pruning_policy: Any = None,
        layers_to_prune: list[str] | None = None,
        name: str | None = None,
    ):
        self._settings = pruning_settings(
            pruning_schedule, block_size, block_pooling_type, sparsity_m_by_n
        )
        self._policy = pruning_policy
        self._chosen: Any = layers_to_prune
        super().__init__(model, name)
        check_agreement(model, self.wrapped)  # As long as nothing is masked.

    def _wrap(self, clone):
        tf_keras = load_tf_keras()
        prune, supports = load_tfmot().sparsity.keras.prune_low_magnitude, pruning_registry()
        if self._chosen is None and self._policy is not None:
            self._policy.ensure_model_supports_pruning(clone.model)

        def wrapped(layer):
            if not self._prunes(layer, supports):
                return layer
            return carrying_masks(prune(layer, **self._settings))

        try:
            with nothing_runs():
                model = tf_keras.models.clone_model(clone.model, clone_function=wrapped)
        except TypeError as error:
            found = re.search(rf'layer "{PREFIX}_(\S+)"', str(error))
            if not found or "float16" not in str(error):
                raise
            raise ValueError(
                "Expected layers that TF-MOT can prune. Received: "
                f"{clone.path_of(found[1])!r}, in half precision; make it with dtype='float32'."
            ) from error
        self._chosen = [layer.layer.name for layer in _pruned_layers(model)]
        if not self._chosen:
            raise ValueError(
                "Expected a model with a layer that can be pruned. Received: "
                f"{clone.model.name!r}, which has no dense or convolutional kernel, or none that "
                "the policy allows."
            )
        return model

    def _prunes(self, layer, registry):
        if self._chosen is not None:
            return layer.name in self._chosen
        if self._policy is not None and not self._policy.allow_pruning(layer):
            return False
        return bool(registry(layer)) and fits(self._settings, layer)

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        if training and self.trainable:
            check_started(self.pruned_layers)
        return super().call(inputs, training)

    @property
    def pruned_layers(self) -> list[Any]:
        """The wrapped layers that are pruned: TF-MOT's `PruneLowMagnitude`, a list."""
        return _pruned_layers(self.wrapped)

    @property
    def pruning_schedule(self) -> Any:
        """The schedule, an object of TF-MOT."""
        return self._settings["pruning_schedule"]

    def warn_of_what_stays_dense(self) -> None:
        """Warns, by name, of layers that have a kernel and will not be pruned, and says why."""
        dense = {
            path: self._why_dense(layer) for path, layer in self.left_out(self._chosen).items()
        }
        if dense:
            message = f"Not pruned in {self.name!r}: {with_reasons(dense)}."
            warnings.warn(message, stacklevel=3)

    def _why_dense(self, layer):
        names = pruning_registry()(layer)
        if names is None:
            return unknown_to_tfmot(layer)
        if not names:
            return "TF-MOT prunes no depthwise kernels"
        if not fits(self._settings, layer):
            return "blocks suit matrices only, and 2:4 needs several input channels"
        return "the pruning policy does not allow it"

    def sparsity(self) -> dict[str, float]:
        """Returns path of a pruned layer -> fraction of its prunable weights that are zero."""
        found = {}
        for layer in self.pruned_layers:
            values = [weight.numpy() for weight, _, _ in layer.pruning_vars]
            zeros = sum(np.count_nonzero(value == 0) for value in values)
            found[self.paths[layer.layer.name]] = float(zeros / sum(map(np.size, values)))
        return found

    @classmethod
    def checks_of_fields(cls) -> Checks:
        return {**super().checks_of_fields(), **CHECKS, "layers_to_prune": is_list_of_names}

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            **as_config(self._settings),
            "layers_to_prune": list(self._chosen),
        }


def _pruned_layers(wrapped):
    return [layer for layer in wrapped.layers if getattr(layer, "pruning_vars", None)]
