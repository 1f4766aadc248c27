"""TF-MOT's scopes: its models load in them alone, those of kdzoo in `.keras` files everywhere."""

from contextlib import AbstractContextManager

import keras

from kdzoo.utils import shown


def prune_scope() -> AbstractContextManager:
    """Returns a context in which pruned models load from `.h5` files, unlike `.keras` files."""
    return _finding("PrunedModel", "PrunedLayer")


def cluster_scope() -> AbstractContextManager:
    """Returns a context in which clustered models load from `.h5` files, unlike `.keras` files."""
    return _finding("ClusteredModel", "ClusteredLayer")


def quantize_scope(*custom_objects: dict[str, type]) -> AbstractContextManager:
    """Returns a context in which quantization-aware models load from `.h5` files.

    `.keras` files need none, but for `QuantizeConfig`s that are not registered.

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
    own = ["QuantizedModel", "AnnotatedModel", "QuantizeAnnotate"]
    return _finding(
        *own, **{name: known for given in custom_objects for name, known in given.items()}
    )


def _finding(*names: str, **others: type) -> AbstractContextManager:
    """A context in which classes of kdzoo are found by their bare names, which `.h5` files have."""
    own = {name: keras.saving.get_registered_object(f"kdzoo>{name}") for name in names}
    return keras.saving.custom_object_scope(own | others)
