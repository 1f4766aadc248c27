"""What of keras.applications can be compressed: cloned, pruned, clustered, quantized.

    python benchmarks/applications.py [NAME ...]

Every architecture is built without weights, for images of 96 x 96, in a process of its own, and
`kdzoo.compression` is tried on it. Results go to `results/benchmarks/applications.json`, and from
there `make docs-tables` takes them to docs/applications.md. Architectures that are in the results
already are tried again only when they are named.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # This checkout's kdzoo.

RESULTS = ROOT / "results" / "benchmarks" / "applications.json"
SIZE = 96


def architectures():
    """Returns the names of all architectures in keras.applications."""
    import inspect

    import keras

    return sorted(name for name, _ in inspect.getmembers(keras.applications, inspect.isfunction))


def try_all(name):
    """Returns name of a trial -> "yes", the difference of the clone, or why not."""
    import keras

    keras.utils.set_random_seed(0)
    build = getattr(keras.applications, name)
    model = build(weights=None, input_shape=(SIZE, SIZE, 3), classes=10, classifier_activation=None)
    found = {"parameters": model.count_params()}
    if _explodes(model):
        found["adapted"] = True
        _adapt(model)
    for trial, function in TRIALS.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found[trial] = function(model)
        except (ValueError, RuntimeError) as error:
            found[trial] = _reason(str(error))
    if isinstance(found["twin"], float) and found["twin"] > 1e-5:
        found["rounding"] = _rounding(model)
    return found


def _explodes(model):
    """Whether the clone cannot be compared, because the model makes every rounding large."""
    from kdzoo.compression.tfmot.tf_keras_clone import build_clone

    try:
        build_clone(model)
    except (ValueError, RuntimeError) as error:
        return "nothing can be compared" in str(error)
    return False


def _adapt(model):
    """Gives the normalizations the statistics of a batch, which training would give them."""
    import keras
    import numpy as np

    from kdzoo.graph.keras_internals import flatten_layers

    for layer in flatten_layers(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(np.random.default_rng(1).random((8, SIZE, SIZE, 3), "float32"), training=True)


def _clone_difference(model):
    import keras
    import numpy as np

    from kdzoo.compression.tfmot.tf_keras_clone import build_clone

    clone = build_clone(model)
    images = np.random.default_rng(0).random((2, SIZE, SIZE, 3), "float32")
    ours = keras.ops.convert_to_numpy(model(images, training=False))
    difference = np.abs(ours - np.asarray(clone.model(images, training=False))).max()
    return float(difference / np.abs(ours).max())


def _rounding(model):
    """What a rounding of inputs or weights makes of the logits, over the largest one."""
    import numpy as np

    from kdzoo.compression.tfmot.clone_agreement import roundings
    from kdzoo.compression.tfmot.tf_keras_clone import build_clone

    images = np.random.default_rng(0).random((2, SIZE, SIZE, 3), "float32")
    pairs = [
        tuple(map(np.asarray, pair))
        for pair in roundings(model, build_clone(model).model, [images])
    ]
    largest = np.abs(pairs[0][0]).max()
    return float(max(np.abs(after - before).max() for before, after in pairs) / largest)


def _prune(model):
    from kdzoo.compression import prune_low_magnitude

    prune_low_magnitude(model)
    return "yes"


def _cluster(model):
    from kdzoo.compression import cluster_weights

    cluster_weights(model, 4, "LINEAR")
    return "yes"


def _qat(model):
    from kdzoo.compression import fold_batch_normalization, quantize_model

    try:
        quantize_model(model)
    except ValueError as error:
        if "fold_batch_normalization" in str(error):
            quantize_model(fold_batch_normalization(model))
            return "after fold_batch_normalization"
        if "allow_float" not in str(error):
            raise
        left = quantize_model(model, allow_float=True).layers_in_float
        return f"with allow_float, {len(left)} layers in float32"
    return "yes"


# The names are keys of the results.
TRIALS = {"twin": _clone_difference, "prune": _prune, "cluster": _cluster, "qat": _qat}


def _reason(message):
    received = re.search(r"Received: '([^']+)', (?:a|an) (.*)", message, re.S)
    if not received:
        return f"no: {message.splitlines()[0]}"
    what = re.split(r"[;:.] ", received[2])[0]
    return f"no: `{received[1]}`, {what}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", help="architectures; those that are missing by default")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(try_all(options.one)))
        return
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in options.names or [name for name in architectures() if name not in results]:
        command = [sys.executable, __file__, "--one", name]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(f"{name} failed:\n{done.stderr[-2000:]}", flush=True)
            continue
        results[name] = json.loads(done.stdout.splitlines()[-1])
        print(name, results[name], flush=True)
        RESULTS.write_text(json.dumps(dict(sorted(results.items())), indent=1) + "\n")


if __name__ == "__main__":
    main()
