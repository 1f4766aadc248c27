"""TF-MOT's scopes: its own models load in them alone, those of kdzoo outside of them too."""

from contextlib import AbstractContextManager

import keras

from kdzoo.utils import shown


def prune_scope() -> AbstractContextManager:
    """Returns a context in which pruned models load; outside of it they load too."""
    return keras.saving.custom_object_scope({})


def cluster_scope() -> AbstractContextManager:
    """Returns a context in which clustered models load; outside of it they load too."""
    return keras.saving.custom_object_scope({})


def quantize_scope(*custom_objects: dict[str, type]) -> AbstractContextManager:
    """Returns a context in which quantization-aware models load.

    Args:
        *custom_objects: Dictionaries name -> class of `QuantizeConfig`s of one's own, which are
            found by their names within. Those that `keras.saving.register_keras_serializable()`
            registered are found everywhere.
    """
    for given in custom_objects:
        if not isinstance(given, dict):
            raise ValueError(
                f"Expected dictionaries, the name of a class -> class. Received: {shown(given)}"
            )
    return keras.saving.custom_object_scope(
        {name: known for given in custom_objects for name, known in given.items()}
    )
