"""Cards of pretrained models, and a table of them all: every figure from the manifest's rows."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from kdzoo.data.catalog import DATASETS, KnownDataset
from kdzoo.utils.types import PathLike
from kdzoo.zoo.manifest import File, Pretrained, find, read_manifest
from kdzoo.zoo.registry import architecture


def card(name: str, directory: PathLike | None = None) -> str:
    """Returns the card of a pretrained model: its accuracy, size, speed, training and licence.

    Args:
        name: A name in `kdzoo.list_pretrained()`, e.g. `"mlp_2x800/mnist"`.
        directory: The directory of the weights and their manifest; None for the weights that come
            with kdzoo.

    Returns:
        The card in Markdown, a string.

    Raises:
        FileNotFoundError: If the directory has no manifest.
        ValueError: If there is no such model, where the nearest is suggested; or if the manifest
            was altered, or comes from a newer version of kdzoo.

    Example:

    >>> card("mlp_2x800/mnist").splitlines()[0]
    '# mlp_2x800/mnist'
    """
    row = find(name, directory)
    return write_card(row, shipped_forms(row, read_manifest(directory)))


def shipped_forms(row: Pretrained, rows: Mapping[str, Pretrained]) -> list[str]:
    """Returns the names of a model's small forms, which ship as `.tflite` or `.kdz` files.

    Args:
        row: The `Pretrained`.
        rows: Name -> `Pretrained`, of all models.
    """
    return [name for name in rows if name.startswith(f"{row.name}/")]


def has_kdz(row: Pretrained) -> bool:
    """Whether the weights of a model ship as a `.kdz` file."""
    return row.files["weights"].file.endswith(".kdz")


def has_exits(row: Pretrained) -> bool:
    """Whether a model has several exits, and gives a list of logits."""
    return "exits" in row.measured


def has_widths(row: Pretrained) -> bool:
    """Whether a model runs at several widths."""
    return "widths" in row.measured


def write_card(row: Pretrained, forms: Sequence[str] = ()) -> str:
    """Returns the card of a `Pretrained`, in Markdown.

    Args:
        row: The `Pretrained`.
        forms: The names of its small forms, see `shipped_forms`.
    """
    data = DATASETS.get(row.dataset, KnownDataset())
    title = data.title or row.dataset
    training = row.training
    lines = [
        f"# {row.name}",
        "",
        f"{architecture(row.architecture).description}{_built_with(row)} A {row.role} on {title}"
        + (f", {training['form']}." if training.get("form") else "."),
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in figures(row)),
        "",
        *([] if "tflite" in row.files else [_converted(row, forms), ""]),
        *_of_zeros(row),
        "```python",
        "import kdzoo",
        "",
        f'model = kdzoo.load("{row.name}")',
        *([f'path = kdzoo.zoo.tflite("{row.name}")'] if "tflite" in row.files else []),
        *(["classifier = kdzoo.dynamic.BudgetedClassifier(model)"] if has_exits(row) else []),
        *([f"small = kdzoo.dynamic.extract(model, {_smallest(row)})"] if has_widths(row) else []),
        "```",
        "",
        f"Images: float32 (batch, {', '.join(map(str, row.input_shape))}) in [0, 1]. Output: "
        f"{_output(row)}, in the order {', '.join(row.labels)}.",
        "",
        "## Training",
        "",
        f"`{training['command']}` trains it, variant {training['kind']!r}, {training['epochs']} "
        f"epochs, seed{'s' if len(training['seeds']) > 1 else ''} "
        + ", ".join(map(str, training["seeds"]))
        + _begun_with(training)
        + (f", taught by {training['teacher']}" if training.get("teacher") else "")
        + f". {training['examples']:,} training images of {title} ({data.source}), version "
        f"{training['data_version']}; "
        + ("none held out" if not training["held_out"] else f"{training['held_out']:,} held out")
        + f". Finished with {_versions(training['versions'])}.",
        "",
        "## Licence and limits",
        "",
        f"Weights: {row.licence}. Data: {data.licence}. {data.limits}",
        "",
    ]
    return "\n".join(lines)


def _smallest(row):
    """Returns the smallest width of a model, as an argument."""
    return f"width={row.measured['widths'][0]['width']:g}"


def _output(row):
    """Returns what the model gives."""
    logits = f"{row.classes} logits"
    return f"a list of {len(row.measured['exits'])} times {logits}" if has_exits(row) else logits


def _built_with(row):
    """Returns a sentence with the builder's further arguments, if there are any."""
    arguments = ", ".join(f"{name}={value!r}" for name, value in row.arguments.items())
    return f" Built with `{arguments}`." if arguments else ""


def _converted(row, forms):
    """Returns where the files come from whose sizes stand above, and which files there are."""
    said = (
        f"These `.tflite` files do not ship: `kdzoo export {row.name} FILE.tflite` makes them, the "
        "int8 one after training."
    )
    if has_exits(row):
        return (
            "These `.tflite` files do not ship. They have a signature for each exit, as "
            "`kdzoo.export.to_litert` of the classifier below makes them, once it has thresholds, "
            f"or `kdzoo export {row.name} FILE.tflite --data {row.dataset} --budget 50%`. The "
            "times and their quartiles are sums of those of the signatures."
        )
    if has_widths(row):
        said += " They have a signature for each width."
    if has_kdz(row):
        return (
            f"The weights ship as a `.kdz` file; `kdzoo.save_compressed` makes it of the model. "
            f"{said} They are as large as those of the network before: LiteRT has neither "
            "codebooks nor Huffman codes."
        )
    coded = [name for name in forms if name.endswith("/kdz")]
    files = [name for name in forms if name not in coded]
    if files:
        said += f" {_listed(files)}, trained for it, ship as such files."
    return f"{said} {_listed(coded)} ships as a `.kdz` file." if coded else said


def _of_zeros(row):
    """Returns what zeros are good for, on the card of a file that has them."""
    if "tflite" not in row.files or not round(row.measured.get("sparsity", 0), 2):
        return []
    return [
        "The zeros make the file smaller where it is packed, or exported with `sparse=True`. In "
        "LiteRT on x86 they made none of three such networks faster.",
        "",
    ]


def _listed(names):
    return " and ".join(f"`{name}`" for name in names)


def figures(row: Pretrained) -> Iterator[tuple[str, str]]:
    """Yields (what, value), both strings, of every figure on the card of a `Pretrained`."""
    measured, is_file = row.measured, "tflite" in row.files
    accuracy = measured["accuracy"]
    weights = f"{_percent(accuracy['shipped'])} of the test images"
    if is_file:
        file = f"{_percent(measured['tflite_accuracy'])} of the test images"
        yield "accuracy of the shipped `.tflite` file", file
        yield "of such files over seeds", _spread(accuracy)
        yield "accuracy of the same weights in float32, what `kdzoo.load` returns", weights
        yield (
            "accuracy of the float32 student that this training began with",
            _percent(measured["float"]),
        )
    else:
        of = ", by the last exit" if has_exits(row) else ""
        of = ", at the largest width" if has_widths(row) else of
        yield f"accuracy of the shipped weights{of}", weights
        yield "over seeds", _spread(accuracy)
    for number, reached in enumerate(measured.get("exits", []), 1):
        value = f"{_percent(reached['accuracy'])}, {reached['macs']:,} MACs up to there"
        yield f"exit {number}", value
    for reached in measured.get("widths", []):
        costs = f"{reached['macs']:,} MACs, {reached['parameters']:,} parameters"
        yield f"width {reached['width']:g}", f"{_percent(reached['accuracy'])}, {costs}"
    if measured.get("alone"):
        epochs = row.training["alone_epochs"]
        budget = "same budget" if epochs == row.training["epochs"] else f"{epochs} epochs"
        is_small = is_file or has_kdz(row)
        budget = f"neither quantized nor pruned, {epochs} epochs" if is_small else budget
        yield f"the same network alone, {budget}", _spread(measured["alone"])
    yield "parameters", f"{measured['parameters']:,}"
    if round(measured.get("sparsity", 0), 2):
        zeros = f"{_percent(measured['sparsity'])}, with those of the layers left dense"
        yield "zeros among the weights of all kernels", zeros
    yield "MACs", f"{measured['macs']:,}"
    for form, size in measured["bytes"].items():
        # Another machine converts to other last bits, so the gzipped size differs a little.
        differs = form.endswith("gzipped") and not is_file
        yield f"bytes, {form}", f"about {_rounded(size):,}" if differs else f"{size:,}"
    for form, time in measured["latency_ms"].items():
        yield (
            f"LiteRT latency, {form}",
            f"{time['median']:.3g} ms (quartiles {time['q1']:.3g} to {time['q3']:.3g}), one "
            f"thread, {time['machine']}",
        )
    for side, tensor in measured.get("signature", {}).items():
        yield f"{side} of the file", _tensor(tensor)
    of = ", of the file" if is_file else ""
    if measured.get("agreement") is not None:
        yield f"agreement with the teacher{of}", _percent(measured["agreement"])
    yield f"expected calibration error, 15 bins{of}", _percent(measured["calibration_error"])
    yield "SHA-256 of the test images and labels", f"{measured['test_sha256'][:16]}…"


def table(rows: Iterable[Pretrained]) -> str:
    """Returns a table of pretrained models, in Markdown."""
    lines = [
        "| model | accuracy, % | over seeds, % | alone, % | parameters | MACs | bytes shipped |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        measured, shipped = row.measured, shipped_file(row)
        alone = _spread(measured["alone"], unit="") if measured.get("alone") else ""
        lines.append(
            f"| {row.name} | {100 * shipped_accuracy(row):.2f} | "
            f"{_spread(measured['accuracy'], unit='')} | {alone} | "
            f"{measured['parameters']:,} | {measured['macs']:,} | {shipped.bytes:,} |"
        )
    return "\n".join(lines)


def shipped_file(row: Pretrained) -> File:
    """Returns the `File` to deploy: the `.tflite` of a compressed model, else the weights."""
    return row.files.get("tflite", row.files["weights"])


def shipped_accuracy(row: Pretrained) -> float:
    """Returns the accuracy of the file to deploy on the test images, in [0, 1]."""
    return row.measured.get("tflite_accuracy", row.measured["accuracy"]["shipped"])


def _begun_with(training):
    """Returns the student that compression started from, if several seeds started from one."""
    if len(training["seeds"]) == 1 or training.get("start_seed") is None:
        return ""
    return f", all from the student of seed {training['start_seed']}"


def _tensor(tensor):
    """Returns the type and shape of an input or output and, for integers, the values they mean."""
    text = f"{tensor['dtype']} {tuple(tensor['shape'])}"
    if tensor["scale"] is None:
        return text
    zero = tensor["zero_point"]
    shifted = f"integer {'-' if zero > 0 else '+'} {abs(zero)}"
    return f"{text}, value = {tensor['scale']:.6g} · ({shifted})"


def _rounded(count):
    """Returns an integer of three digits and zeros."""
    return round(count, 3 - len(str(count)))


def _percent(fraction):
    return f"{100 * fraction:.2f} %"


def _spread(values, unit=" %"):
    """Returns the mean ± standard deviation of accuracies in [0, 1], and the number of seeds."""
    by_seed = values["by_seed"]
    if len(by_seed) == 1:
        return f"{100 * values['mean']:.2f}{unit} (one seed)"
    return f"{100 * values['mean']:.2f} ± {100 * values['std']:.2f}{unit} ({len(by_seed)} seeds)"


def _versions(versions):
    text = ", ".join(f"{name} {version}" for name, version in versions.items())
    return text if "commit" in versions else f"{text}, commit not recorded"
