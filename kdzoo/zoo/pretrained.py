"""Pretrained models by name: checked by hash, then given to an architecture built from code."""

from kdzoo.utils import first_line
from kdzoo.zoo import weights
from kdzoo.zoo.manifest import directory_of, find
from kdzoo.zoo.registry import create


def load(name, classes=None, directory=None):
    """Returns a pretrained model, ready for `predict`, fine-tuning and export.

    Args:
        name: A name in `list_pretrained()`, e.g. `"mlp_2x800/mnist"`.
        classes: Number of classes of a fresh head on the pretrained features; None for the
            pretrained head.
        directory: Where weights and manifest are; those that come with kdzoo when None.

    Returns:
        A functional `keras.Model` from float32 images (batch, height, width, channels) in [0, 1]
        to float32 logits (batch, classes), which computes in Keras's global dtype policy; the
        card's figures are those in float32. Where the name ends in `"/int8"`, the network of the
        weights that it was trained to, not quantized; the file that is, is at
        `kdzoo.zoo.tflite(name)`. All layers are trainable; for a fresh head on frozen features set
        `layer.trainable = False` for all but the layer `"logits"`.

    Raises:
        FileNotFoundError: If the manifest or the file of the weights is missing.
        ValueError: If there is no such model, one of the two was truncated or altered or is of a
            newer kdzoo, or `classes` is below 2; nothing is loaded.

    Example:

    ```python
    model = kdzoo.load("mlp_2x800/mnist")
    labels = model.predict(images).argmax(axis=1)
    mine = kdzoo.load("mlp_2x800/mnist", classes=7)
    ```
    """
    row = find(name, directory)
    head = row.classes if classes is None else classes
    fresh = () if classes is None else ("logits",)
    checked = content(row, "weights", directory)
    return weights.built_from(lambda: _create(row, head), checked, f"{name!r}", fresh)


def _create(row, classes):
    """The architecture of a row, fresh."""
    try:
        return create(row.architecture, classes, row.input_shape, **row.arguments)
    except TypeError as error:
        raise ValueError(
            f"Expected arguments that {row.architecture!r} takes. Received: those of {row.name!r} "
            f"in the manifest: {first_line(error)}"
        ) from error


def tflite(name, directory=None):
    """Returns the path of a pretrained model's `.tflite` file, its hash checked.

    It takes one image (1, height, width, channels) and gives its logits (1, classes): float32, or
    int8 where the name ends in `"/int8"`. Of integers the card says which values they stand for,
    and `kdzoo.export.LiteRTModel(path).predict(images)` takes and gives the values themselves.

    Args:
        name: A name in `list_pretrained()` that ships one, those that end in `"/int8"` or the like.
        directory: As in `load`.

    Returns:
        A `pathlib.Path`.

    Raises:
        FileNotFoundError: If the manifest or the file is missing.
        ValueError: If there is no such model, none is shipped, or manifest or file was altered.
    """
    row = find(name, directory)
    content(row, "tflite", directory)
    return directory_of(directory) / row.files["tflite"].file


def content(row, kind, directory=None):
    """Returns the checked bytes of a file of a pretrained model.

    Args:
        row: The `Pretrained`.
        kind: `"weights"` or `"tflite"`.
        directory: As in `load`.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If the model has no such file, or it was truncated or altered.
    """
    if kind not in row.files:
        raise ValueError(
            f"Expected a model with a .{kind} file. Received: {row.name!r}, which has "
            f"{', '.join(row.files)}; make one with kdzoo.export.to_litert."
        )
    file = row.files[kind]
    home = directory_of(directory)
    return weights.read_checked(home / file.file, file.sha256, file.bytes)
