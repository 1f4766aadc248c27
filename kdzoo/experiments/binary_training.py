"""What the stages of binary weights share: how a network is trained, stripped and measured."""

import pathlib
from typing import TYPE_CHECKING, Any

import keras
import safetensors.numpy

from kdzoo import zoo
from kdzoo.compression import binarize, strip_binarization
from kdzoo.experiments import build_and_fit
from kdzoo.experiments.measure_model import measure
from kdzoo.experiments.stage_outcome import Outcome

if TYPE_CHECKING:
    from kdzoo.experiments.stage_context import StageContext

FILE = "binary.safetensors"
_SIGNS = ".signs"  # What the names of packed kernels end in.


def run(stage: Any, context: "StageContext") -> Outcome:
    """Trains a fresh network with binary weights, and returns it with plain layers.

    Args:
        stage: A stage that has `training`, `method` and `sign_activations`, and fits a model.
        context: What it works with.
    """
    precision = context.settled("precision", stage.training.precision)
    trained = _binary(build_and_fit.create_seeded(context, precision), stage, context)
    history = stage.fit(trained, context)
    model = _binary(build_and_fit.create(context.built, context.data), stage, context)
    model.set_weights(trained.get_weights())
    signs = strip_binarization(model)
    measured = measure(signs, context.data)
    of_signs = {f"binary_{name}": measured[name] for name in ("test_accuracy", "test_errors")}
    of_file = measure_file(signs, context.directory)
    if stage.method == "stochastic":  # It computes with the real weights, as in the paper.
        signs = strip_binarization(model, real_valued=True)
        measured = measure(signs, context.data)
    products = {"model": signs, FILE: context.directory / FILE}
    return Outcome(products, {**measured, **of_signs, **of_file}, history)


def _binary(model, stage, context):
    options = {"seed": context.seed, "sign_activations": stage.sign_activations}
    made, _ = binarize(model, method=stage.method, **options)
    return made


def measure_file(model: keras.Model, directory: pathlib.Path) -> dict[str, int | float]:
    """Writes binary weights a bit each, and returns how much smaller kernels and file are.

    Args:
        model: A model that `strip_binarization` returned.
        directory: Where the file goes; one of float32 is written there, too, and deleted.

    Returns:
        The bytes of both files, how many times the packed one goes into the other, and the same of
        the binary kernels in them.
    """
    packed, plain = directory / FILE, directory / "float32.safetensors"
    _, size = zoo.save_weights(model, packed, dtype="binary")
    _, whole = zoo.save_weights(model, plain)
    ours, theirs = safetensors.numpy.load_file(packed), safetensors.numpy.load_file(plain)
    plain.unlink()
    kernels = [name.removesuffix(_SIGNS) for name in ours if name.endswith(_SIGNS)]
    before = sum(theirs[name].nbytes for name in kernels)
    after = sum(ours[name + _SIGNS].nbytes for name in kernels)
    return {
        "packed_bytes": size,
        "float32_bytes": whole,
        "file_factor": whole / size,
        "kernel_factor": before / after,
    }
