"""Weights in `.keras` files of Keras 2.12 and 2.13, which numbered the layers of a class otherwise.

They went through the layers of a model under two names, one of which only layers with weights have,
and counted a layer once for each: the second `Dense` is `dense_2`. Later versions count it once.
"""

import collections
import io

import h5py
import keras

from kdzoo.graph.keras_internals import to_snake_case

_OLD, _NEW = "_layer_checkpoint_dependencies", "layers"


def renumbered(model: keras.Model, content: io.BytesIO) -> io.BytesIO:
    """Returns the weights in a `.keras` file of Keras 2.12 or 2.13 as Keras 3 numbers them.

    Args:
        model: The model, of the file's configuration.
        content: The HDF5 file within the `.keras` file.

    Raises:
        ValueError: If a layer does not have the number that these versions gave it, or is a model
            within a wrapper.
    """
    with h5py.File(content, "r+") as file:
        _renumber(model, file, set())
        left = file.visit(lambda path: path if path.endswith(_OLD) else None)
        if left is not None:
            raise _unknown(left.removesuffix(f"/{_OLD}").rpartition("/")[2])
    content.seek(0)
    return content


def _renumber(model, group, saved):
    """Moves the weights of a model's layers to their new numbers, those of models in it too."""
    if _OLD not in group:
        raise _unknown(model.name)
    old, new = group[_OLD], group.create_group(_NEW)
    old_counts: collections.Counter = collections.Counter()
    new_counts: collections.Counter = collections.Counter()
    for layer in model.layers:
        class_name = to_snake_case(type(layer).__name__)
        old_name = _numbered(class_name, old_counts[class_name])
        new_name = _numbered(class_name, new_counts[class_name])
        old_counts[class_name] += 2 if layer.weights else 1
        new_counts[class_name] += 1
        if id(layer) in saved:
            continue
        saved.add(id(layer))
        if old_name not in old:
            raise _unknown(layer.name)
        group.move(f"{_OLD}/{old_name}", f"{_NEW}/{new_name}")
        if isinstance(layer, keras.Model):
            _renumber(layer, new[new_name], saved)
    if len(old):
        raise _unknown(next(iter(old)))
    del group[_OLD]


def _numbered(name, count):
    return f"{name}_{count}" if count else name


def _unknown(name):
    return ValueError(
        "Expected weights that are numbered as Keras 2.12 and 2.13 did. Received: others, at the "
        f"layer {name!r}; save the model with the Keras that wrote it as `.h5`"
    )
