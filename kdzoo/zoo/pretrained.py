"""Pretrained models by name: weights that were checked by hash, in a model built from code."""

import keras
from safetensors.numpy import save

from kdzoo.utils import first_line, shown
from kdzoo.utils.types import PathLike
from kdzoo.zoo.building import build_and_fill, create
from kdzoo.zoo.compressed_files import weights_of_compressed
from kdzoo.zoo.file_formats import COMPRESSED
from kdzoo.zoo.manifest import find
from kdzoo.zoo.pretrained_files import content
from kdzoo.zoo.safetensors_weights import load_weights


def load(
    name: str,
    classes: int | None = None,
    directory: PathLike | None = None,
) -> keras.Model:
    """Returns a pretrained model, ready for `predict`, fine-tuning and export.

    All its layers are trainable. To train a fresh head on frozen features, set
    `layer.trainable = False` for every layer but `"logits"`, and compile. A network of several
    exits has a head for each: `model.output_names`.

    Args:
        name: A name in `kdzoo.list_pretrained()`, e.g. `"mlp_2x800/mnist"`.
        classes: Number of classes of a fresh head on the pretrained features; None for the
            pretrained head.
        directory: The directory of the weights and their manifest; None for the weights that come
            with kdzoo.

    Returns:
        A functional `keras.Model` from float32 images (batch, height, width, channels) in [0, 1]
        to float32 logits (batch, classes), not compiled; its card (`kdzoo.card(name)`) lists the
        classes in the order of the logits. A network of several exits gives a list of such logits,
        from the first exit to the last; `kdzoo.dynamic.BudgetedClassifier` stops at one of them,
        `kdzoo.dynamic.exit_model` makes a model of one. A network of several widths is a
        `kdzoo.dynamic.Slimmable`. It computes in Keras's global dtype policy; the figures on the
        card were measured in float32. If the name ends in `"/int8"`, this is the float32 network
        before quantization; the quantized file is at `kdzoo.zoo.tflite(name)`. If it ends in
        `"/kdz"`, the weights ship in a `.kdz` file and are bit for bit those that it holds, so that
        `kdzoo.save_compressed` makes it as small again.

    Raises:
        FileNotFoundError: If the manifest or the file of the weights is missing.
        ValueError: If there is no such model; if the manifest or the weights were truncated or
            altered, or come from a newer kdzoo; or if `classes` is below 2, or given for a network
            of several widths.

    Example:

    ```python
    model = kdzoo.load("mlp_2x800/mnist")
    labels = model.predict(images).argmax(axis=1)
    mine = kdzoo.load("mlp_2x800/mnist", classes=7)
    ```
    """
    row = find(name, directory)
    if classes is not None and "widths" in row.measured:
        raise ValueError(
            f"Expected classes=None for {name!r}, whose widths share one head; take one width by "
            f"`kdzoo.dynamic.extract`. Received: classes={shown(classes)}"
        )
    head = row.classes if classes is None else classes
    checked = content(row, "weights", directory)
    if checked.startswith(COMPRESSED):
        checked = save(weights_of_compressed(checked, f"{name!r}"))

    def fill(model: keras.Model) -> None:
        load_weights(model, checked, f"{name!r}", () if classes is None else model.output_names)

    return build_and_fill(lambda: _create(row, head), fill)


def _create(row, classes):
    """Returns the architecture of a row with fresh weights."""
    try:
        return create(row.architecture, classes, row.input_shape, **row.arguments)
    except TypeError as error:
        raise ValueError(
            f"Expected arguments that {row.architecture!r} takes. Received: those of {row.name!r} "
            f"in the manifest: {first_line(error)}"
        ) from error
