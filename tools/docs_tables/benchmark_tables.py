"""The tables of what `benchmarks/` measured, from `results/benchmarks/`."""

import functools
import itertools
import statistics
from collections.abc import Callable

from tools.docs_tables.content import Table, results


def optimizers() -> Table:
    """Held-out accuracy of the zoo's small networks by optimizer."""
    content = results("benchmarks/optimizers")
    accuracies: dict[str, dict[str, str]] = {}
    for row in sorted(content["rows"], key=lambda row: row["network"].split("/")[1]):
        accuracy = row["validation_accuracy"]
        text = "diverged" if accuracy is None else f"{100 * accuracy:.2f}"
        accuracies.setdefault(row["network"], {})[row["optimizer"]] = text
    names = {name: _optimizer(**settings) for name, settings in content["settings"].items()}
    table = [["", *names.values()]]
    for network, found in accuracies.items():
        table.append([f"`{network}`", *(found.get(name, "") for name in names)])
    return table


def _optimizer(optimizer: str, learning_rate: float, weight_decay: float) -> str:
    name = {"adamw": "AdamW", "sgd": "SGD"}[optimizer]
    return f"{name} {learning_rate:g}, decay {weight_decay:g}"


def separable_alternatives() -> Table:
    """Blocks for a network of 60,000 parameters."""
    table = [["block", "parameters", "MACs, M", "accuracy, %", "s an epoch"]]
    table[0] += ["ms, float32", "ms, int8"]
    for row in results("benchmarks/separable_alternatives")["rows"]:
        cells = [row["network"], f"{row['parameters']:,}", f"{row['macs'] / 1e6:.1f}"]
        cells.append(f"{100 * row['validation_accuracy']:.1f}")
        cells.append(f"{row['processor_seconds_per_epoch']:.0f}")
        latency = row["latency_ms"]
        table.append([*cells, *(f"{latency[form]:.2f}" for form in ("float32", "int8"))])
    return table


def distiller_step() -> Table:
    """One step of kdzoo beside its peers."""
    table = [["pair, precision, losses", "images/s", "time / floor", "× keras.distillation"]]
    table[0] += ["× PyTorch", "memory / keras.distillation", "evaluate / student's own"]
    rows = results("benchmarks/distiller_step")["rows"]
    without = "kdzoo, oneDNN off"
    if any(without in row["contenders"] for row in rows):
        table[0].append("× oneDNN off")
    for row in rows:
        ours, theirs, torch = (
            row["contenders"][name] for name in ("kdzoo", "keras.distillation", "pytorch")
        )
        memory = ours["peak_memory_bytes"] / theirs["peak_memory_bytes"]
        speedups = (f"{other['to_kdzoo']['median']:.2f}" for other in (theirs, torch))
        cells = [row["label"], f"{ours['images_per_second']:.0f}"]
        cells += [f"{ours['to_floor']['median']:.2f}", *speedups, f"{memory:.3f}"]
        cells.append(f"{row['evaluate']['ratio']['median']:.2f}")
        if len(table[0]) > len(cells):
            off = row["contenders"].get(without)
            cells.append(f"{off['to_kdzoo']['median']:.2f}" if off else "")
        table.append(cells)
    return table


def epoch_overhead() -> Table:
    """Whole calls over the steps in them, and the same by Keras alone."""
    forms = ("arrays", "tf.data", "PyDataset", "Keras, arrays")
    table = [["", "s of steps", *forms]]
    for call, found in results("benchmarks/epoch_overhead")["calls"].items():
        steps = statistics.median(found["seconds"]["steps"])
        ratios = (f"{found['ratios'][form]:.3f}" for form in forms)
        table.append([f"`{call}`", f"{steps:.1f}", *ratios])
    return table


def losses_cost() -> Table:
    """What a loss adds to a step."""
    dtypes = ("float32", "mixed_bfloat16")
    rows = [results(f"benchmarks/losses_cost_{dtype}")["rows"] for dtype in dtypes]
    table = [["soft targets and", *dtypes]]
    for pair in list(zip(*rows, strict=True))[1:]:
        table.append([pair[0]["loss"], *(f"{row['ratio']:.2f}" for row in pair)])
    return table


def compression_cost() -> Table:
    """A step of Keras 3's `fit` on what TF-MOT wrapped, over that of tf_keras."""
    rows = results("benchmarks/compression_cost")["rows"]
    table = [["", "ms", "ratio"]]
    for row in rows:
        table.append([row["what"], f"{1e3 * row['seconds']:.0f}", f"{row['ratio']:.2f}"])
    return table


def half_precision(machine: str = "half_precision") -> Table:
    """A training step in bfloat16, over that in float32.

    Args:
        machine: Name of the file of its figures.
    """
    table = [["network", "ms, float32", "ms, mixed_bfloat16", "ratio", "quartiles"]]
    for name, found in results(f"benchmarks/{machine}")["models"].items():
        times = (f"{found['milliseconds'][dtype]:.0f}" for dtype in ("float32", "mixed_bfloat16"))
        low, _, high = found["quartiles"]
        table.append([f"`{name}`" if "," not in name else name, *times, f"{found['ratio']:.2f}"])
        table[-1].append(f"{low:.2f}–{high:.2f}")
    return table


def depthwise_forms() -> Table:
    """Ways to compute the depthwise layers of `separable_025`."""
    times = results("benchmarks/depthwise_forms")["milliseconds"]
    return [["form", "ms"], *([name, f"{time:,.0f}"] for name, time in times.items())]


def load_time() -> Table:
    """The time of `kdzoo.load` over that of `kdzoo.create`."""
    runs = {"TensorFlow": "load_time", "JAX": "load_time_jax", "JAX again": "load_time_jax_again"}
    table = [["", "least", "median", "most", "the slowest", "ms to load it", "ms to create it"]]
    for title, name in runs.items():
        models = results(f"benchmarks/{name}")["models"]
        ratios = {model: found["ratio"] for model, found in models.items()}
        slowest = max(ratios, key=lambda model: ratios[model])
        cells = [min(ratios.values()), statistics.median(ratios.values()), ratios[slowest]]
        seconds = models[slowest]["seconds"]
        times = (f"{1e3 * statistics.median(seconds[what]):.1f}" for what in ("load", "create"))
        table.append([title, *(f"{ratio:.2f}" for ratio in cells), f"`{slowest}`", *times])
    return table


def recorded_teacher() -> Table:
    """An epoch from a recorded teacher, over one of the student alone."""
    found = results("benchmarks/recorded_teacher")
    medians = [statistics.median(found["seconds"][name]) for name in ("alone", "recorded")]
    low, median, high = found["quartiles"]
    cells = [*(f"{seconds:.2f}" for seconds in medians), f"{median:.2f}", f"{low:.2f}–{high:.2f}"]
    return [["s alone", "s from the record", "ratio", "quartiles"], cells]


def applications() -> Table:
    """What of keras.applications can be compressed."""
    table = [["architecture", "parameters", "clone", "prune", "cluster"]]
    table[0].append("quantization-aware training")
    for name, found in sorted(results("benchmarks/applications").items()):
        cells = [name, f"{found['parameters']:,}"]
        if isinstance(found["twin"], float):
            mark = " \\*" if found.get("adapted") else ""
            clone = f"{found['twin']:.1e}" if found["twin"] else "0"
            cells += [f"{clone}{mark}", found["prune"], found["cluster"], found["qat"]]
        else:
            # Quantization may replace the layer that has no clone.
            quantized = "–" if found["qat"].startswith("no") else found["qat"]
            cells += [found["twin"], "–", "–", quantized]
        table.append(cells)
    return table


def sparse_latency() -> Table:
    """Students of 80 % zeros as files that store the zeros, and that leave them out."""
    table = [["", "ms, dense", "ms, sparse", "sparse / dense", "bytes, dense", "bytes, sparse"]]
    for name, found in results("benchmarks/sparse_latency")["networks"].items():
        cells = [f"`{name}`", *(f"{found[f'{form}_ms']:.3f}" for form in ("dense", "sparse"))]
        cells.append(f"{found['ratio']:.3f}")
        table.append([*cells, f"{found['dense_bytes']:,}", f"{found['sparse_bytes']:,}"])
    return table


def kdz_speed() -> Table:
    """How fast the weights of a `.kdz` file are decoded, and the model is there."""
    table = [["zeros, %", "bytes of the numbers", "of the file", "decoded, MB/s", "loaded, MB/s"]]
    for row in results("benchmarks/kdz_speed")["rows"]:
        rates = row["megabytes_per_second"]
        cells = [f"{100 * row['zeros']:.0f}", f"{row['plain_bytes']:,}", f"{row['bytes']:,}"]
        table.append([*cells, f"{rates['decode']:.0f}", f"{rates['load']:.0f}"])
    return table


def exits_in_one_file() -> Table:
    """A file of several exits beside single files: bytes, and milliseconds of its parts."""
    table = [["network", "type", "bytes", "/ last exit alone", "/ one signature"]]
    table[0] += ["ms up to each exit", "ms, last alone"]
    for name, forms in results("benchmarks/files_of_signatures")["models"].items():
        for form, found in forms.items():
            if "one_signature" in found:
                size, (alone,) = found["file"]["bytes"], found["alone"]
                times = itertools.accumulate(found["file"]["ms"])
                ratios = (size / alone["bytes"], size / found["one_signature"])
                cells = [name, form, f"{size:,}", *(f"{ratio:.3f}" for ratio in ratios)]
                cells += [", ".join(f"{time:.3f}" for time in times), f"{alone['ms'][0]:.3f}"]
                table.append(cells)
    return table


def widths_in_one_file() -> Table:
    """A file of several widths beside single files: bytes and milliseconds."""
    table = [["network", "type", "bytes", "/ largest alone", "/ all single files"]]
    table[0] += ["ms of each width", "ms in single files"]
    for name, forms in results("benchmarks/files_of_signatures")["models"].items():
        for form, found in forms.items():
            if "one_signature" not in found:
                size, sizes = found["file"]["bytes"], [one["bytes"] for one in found["alone"]]
                cells = [name, form, f"{size:,}"]
                cells += [f"{size / sizes[-1]:.3f}", f"{size / sum(sizes):.3f}"]
                singles = [one["ms"][0] for one in found["alone"]]
                times = (found["file"]["ms"], singles)
                table.append([*cells, *(", ".join(f"{t:.3f}" for t in row) for row in times)])
    return table


TABLES: dict[str, Callable[[], Table]] = {
    function.__name__: function
    for function in (
        optimizers,
        separable_alternatives,
        distiller_step,
        epoch_overhead,
        losses_cost,
        compression_cost,
        half_precision,
        depthwise_forms,
        load_time,
        sparse_latency,
        kdz_speed,
        recorded_teacher,
        applications,
        exits_in_one_file,
        widths_in_one_file,
    )
}
_WITHOUT_AMX = "half_precision_without_amx"
TABLES[_WITHOUT_AMX] = functools.partial(half_precision, _WITHOUT_AMX)
