"""A model as a directory that others can load: configuration, weights, hashes, no code."""

import keras

from kdzoo.utils import check_directory, check_path, check_text, naming
from kdzoo.utils.types import PathLike
from kdzoo.zoo import safetensors_weights
from kdzoo.zoo.allowed_layers import check_parts
from kdzoo.zoo.building import build_with_weights
from kdzoo.zoo.hashed_files import read_checked
from kdzoo.zoo.model_configs import (
    built_again,
    check_has_graph,
    check_keeps_weights_only,
    deserialized,
    serialized,
    without_compilation,
)
from kdzoo.zoo.shared_directory import CONFIG, check_config, read_config, write_directory


def save_pretrained(
    model: keras.Model,
    directory: PathLike,
    card: str = "",
    dtype: safetensors_weights.Dtype = "float32",
) -> None:
    """Saves a model as a directory that others can load without running any code of it.

    The directory holds `config.json` (the layers, and the hashes of the configuration and the
    weights), the weights as a `.safetensors` file, and the card as `README.md`, which model hubs
    show. It can be pushed to a hub as it is, for example with
    `hf upload <user>/<name> <directory>`. A loaded model is not compiled. Before saving a model
    that is being pruned, clustered or quantized, call `strip_pruning`, `strip_clustering` or
    `plain_model()`.

    Args:
        model: A functional or sequential `keras.Model` of Keras's own layers, or of layers that
            are registered with `keras.saving.register_keras_serializable` here and where the model
            is loaded.
        directory: Where it goes; made if missing. An earlier save there is replaced, first the
            model, then the card; if saving fails, the earlier model stays whole.
        card: Text for the card, in Markdown. If empty, a table of the model's shapes and sizes; an
            earlier card that was edited by hand then stays.
        dtype: `"float32"`, `"float16"` to store the weights in half the bytes where float16 holds
            their values, or `"binary"` for a bit a number of those that are ±s, as
            `kdzoo.compression.strip_binarization` makes them; they are float32 again when loaded.

    Raises:
        ValueError: If the model cannot be shared: it is subclassed or not built; a weight is not
            finite; or a layer runs code, opens files, cannot be serialized, changes the names of
            its inner layers with every construction, keeps more than weights with methods of its
            own, or makes weights only when it is called (stateful recurrent layers). Also if the
            directory is a file, or has a README.md or config.json that kdzoo did not write.
            Nothing is written then.

    Example:

    ```python
    kdzoo.save_pretrained(student, "my-student", card="# My student\\n\\nTrained on ...")
    again = kdzoo.load_pretrained("my-student")
    ```
    """
    check_has_graph(model)
    path = check_directory(directory)
    check_text("card", card, may_be_empty=True)
    config = serialized(model)
    check_parts(config)
    check_keeps_weights_only(model)
    content = safetensors_weights.to_bytes(model, dtype)
    build_with_weights(lambda: built_again(model, config), content, repr(model.name))
    text = card or _default_card(model, len(content), dtype)
    write_directory(path, config, content, dtype, text, keep_edited_card=not card)


def load_pretrained(directory: PathLike) -> keras.Model:
    """Returns the model of a directory that `save_pretrained` wrote.

    No code of the directory runs: its configuration may name only Keras's own layers and those
    that this process has registered, and its weights are numbers. Both are checked by hash.

    Args:
        directory: The directory, of plain files. The cache of the Hugging Face Hub consists of
            links: download with `hf download <user>/<name> --local-dir <directory>` instead.

    Returns:
        A `keras.Model`, not compiled.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file was truncated or altered, comes from a newer kdzoo, or names a layer
            that runs code, opens files or is not known here; nothing is loaded then.

    Example:

    ```python
    model = kdzoo.load_pretrained("my-student")
    logits = model.predict(images)
    ```
    """
    path = check_path("directory", directory)
    content = read_config(path)
    file = content["weights"]
    weights_path = path / file["file"]
    tensors = read_checked(weights_path, file["sha256"], file["bytes"])
    try:
        config = without_compilation(content["model"])
        try:
            check_parts(config)
        except ValueError as error:
            raise naming(path / CONFIG, error) from error
        check_config(path, content)
    except RecursionError as error:
        raise ValueError(
            f"Expected a model in {path / CONFIG}. Received: lists within lists without end."
        ) from error
    return build_with_weights(
        lambda: deserialized(config, path / CONFIG), tensors, str(weights_path)
    )


def _default_card(model, size, dtype):
    inputs, outputs = (
        ", ".join(str(tuple(tensor.shape)) for tensor in tensors)
        for tensors in (model.inputs, model.outputs)
    )
    return (
        "---\nlibrary_name: kdzoo\ntags:\n- keras\n---\n\n"
        f"# {model.name}\n\n"
        "| | |\n|---|---|\n"
        f"| input | {inputs} |\n| output | {outputs} |\n"
        f"| parameters | {model.count_params():,} |\n| weights | {size:,} bytes, {dtype} |\n\n"
        "From a hub: `hf download <user>/<name> --local-dir my-student`; then, where kdzoo is "
        "installed:\n\n"
        '```python\nimport kdzoo\n\nmodel = kdzoo.load_pretrained("my-student")\n```\n'
    )
