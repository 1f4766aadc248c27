"""A single layer that is pruned while its model is trained."""

from typing import Any, Literal

import keras

from kdzoo.compression.tfmot.config_checks import Checks, nothing_runs
from kdzoo.compression.tfmot.library import carrying_masks, load_tfmot, pruning_registry
from kdzoo.compression.tfmot.pruning_settings import CHECKS, as_config, fits, pruning_settings
from kdzoo.compression.tfmot.pruning_start import check_started, start_schedules
from kdzoo.compression.tfmot.tf_keras_layers import clone_of_layer
from kdzoo.compression.tfmot.wrapped_layer import WrappedLayer, wrapper_name

PREFIX = "prune_low_magnitude"
"""What TF-MOT puts before the name of a layer, and an underscore."""


@keras.saving.register_keras_serializable("kdzoo")
class PrunedLayer(WrappedLayer):
    """A layer that is pruned while its model is trained; `prune_low_magnitude` makes it.

    Its name is the layer's after "prune_low_magnitude_", as in TF-MOT.

    Args:
        layer: The `keras.layers.Layer`.
        pruning_schedule: A schedule of TF-MOT, or its configuration; half of the weights when None.
        block_size: (height, width) of blocks that are pruned together.
        block_pooling_type: `"AVG"` or `"MAX"`: what of a block is compared.
        sparsity_m_by_n: (2, 4) for two zeros in every four weights, or None.
        name: Name of this layer.
    """

    prunes = True

    def __init__(
        self,
        layer: keras.layers.Layer,
        pruning_schedule: Any = None,
        block_size: tuple[int, int] = (1, 1),
        block_pooling_type: Literal["AVG", "MAX"] = "AVG",
        sparsity_m_by_n: tuple[int, int] | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        self._settings = pruning_settings(
            pruning_schedule, block_size, block_pooling_type, sparsity_m_by_n
        )
        super().__init__(layer, wrapper_name(layer, name, PREFIX), **kwargs)
        self._starts = False
        if not pruning_registry()(clone_of_layer(layer)):
            raise ValueError(
                "Expected a layer that TF-MOT prunes: dense, convolutional but not depthwise, "
                f"recurrent, an embedding. Received: {layer.name!r}, a {type(layer).__name__}"
            )

    def _wrap(self, clone):
        if not fits(self._settings, clone):
            raise ValueError(
                "Expected a kernel that suits the pattern: blocks are for matrices, 2:4 needs "
                f"several input channels. Received: layer {clone.name!r}"
            )
        prune = load_tfmot().sparsity.keras.prune_low_magnitude
        with nothing_runs():
            return carrying_masks(prune(clone, **self._settings))

    def start_pruning(self) -> None:
        """Lets the schedule begin, now or when the layer is built, if it has not yet."""
        self._starts = True
        if self.wrapped is not None:
            start_schedules([self.wrapped])

    def _build(self, shapes):
        super()._build(shapes)
        if self._starts:
            start_schedules([self.wrapped])

    def _before_training(self):
        check_started([self.wrapped])

    @classmethod
    def checks_of_fields(cls) -> Checks:
        return {**super().checks_of_fields(), **CHECKS}

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), **as_config(self._settings)}
