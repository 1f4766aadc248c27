"""Deep Compression: prune, train again, share weights, and train the values that are shared."""

import functools
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import keras
import ml_dtypes
import numpy as np
from keras import ops

from kdzoo.compression.masks import apply_masks, masks_of, strip_masks
from kdzoo.compression.shared_weights import (
    PLAIN,
    check_bits,
    check_by_layer,
    share_weights,
    strip_shared_weights,
)
from kdzoo.graph.layer_chains import layers_with_kernels, why_left
from kdzoo.graph.surgery import rebuild
from kdzoo.losses import DistillationLoss
from kdzoo.schemes.scheme_checks import check_batches
from kdzoo.schemes.scheme_settings import Compiling, Teaching
from kdzoo.schemes.scheme_stages import SchemeStage, train_stages
from kdzoo.teacher_cache.fingerprints import fingerprint_of_model
from kdzoo.training.stages import check_run
from kdzoo.utils import check_flag, check_fraction, check_positive_integer
from kdzoo.utils.types import PathLike

_MOST_ROUNDS = 100


def deep_compression(
    model: keras.Model,
    data: Any,
    directory: PathLike,
    *,
    sparsity: float | Mapping[str, float],
    bits: int | Mapping[str, int],
    epochs: int,
    loss: Any,
    rounds: int = 3,
    codebook_epochs: int | None = None,
    round_biases: bool = True,
    teacher: keras.Model | Literal["recorded"] | None = None,
    distillation_loss: DistillationLoss | None = None,
    student_loss_weight: float = 0.5,
    optimizer: str | keras.optimizers.Optimizer = "adam",
    codebook_optimizer: str | keras.optimizers.Optimizer | None = None,
    metrics: Sequence[Any] = (),
    validation_data: Any = None,
    settings: Any = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    verbose: str | int = "auto",
) -> tuple[keras.Model, dict[str, list[Any]]]:
    """Prunes a trained model, lets its weights share values, and trains both; survives a kill.

    In `rounds` rounds the smallest numbers of each kernel become zero, in each round the same
    fraction of those that are left, and the model is trained again; zeros stay zeros. Then the
    numbers that are left are clustered (`kdzoo.compression.share_weights`), and the values that
    they share are trained. `kdzoo.save_compressed` makes a small file of the result: zeros,
    codebooks and Huffman codes, the last step of the paper.

    Args:
        model: A trained functional or built sequential `keras.Model`. It is left as it is.
        data: Function from an epoch, counted from 0, to what `fit` takes from there on, for example
            `lambda epoch: split.batches(128, shuffle=True, initial_epoch=epoch)`. Later stages go
            on counting. Or a `tf.data.Dataset` or `keras.utils.PyDataset`, the same each time.
        directory: Where the checkpoints of the stages go.
        sparsity: The fraction of zeros in each kernel at the end, at least 0 and below 1: one for
            every `Dense`, `Conv1D`, `Conv2D` and `Conv3D` that can be, or path of a layer (names
            joined by "/" through nested models) -> its fraction; others are then not pruned.
        bits: The bits of an index, from 1 to 8: 2 to the power of it values are shared in a kernel.
            One for all of these layers, or path of a layer -> its bits; others then share nothing.
            `kdzoo.schemes.DEEP_COMPRESSION_PRESETS` has both arguments for two networks.
        epochs: Epochs of each round.
        loss: The loss on the labels: a Keras loss, a function, or a name.
        rounds: How many times there is pruning and training, from 1 to 100.
        codebook_epochs: Epochs of the shared values; None for `epochs`.
        round_biases: Whether at the end biases and codebooks are rounded to the eight significant
            bits of bfloat16, which halves what they take in a file.
        teacher: A trained model that gives logits, such as `model` itself, which teaches in every
            stage; `"recorded"` if the data carry a teacher's outputs; None for the labels alone, as
            in the paper.
        distillation_loss: What is learnt of the teacher, one distillation loss; `SoftTargets(4.0)`
            when None.
        student_loss_weight: Weight of the loss on the labels beside a teacher, between 0 and 1.
        optimizer: An optimizer of Keras, whose settings that of each stage has, or a name.
        codebook_optimizer: That of the shared values; None for the settings of `optimizer`.
        metrics: Metrics of each stage, Keras metrics or names, on labels and outputs.
        validation_data: What each stage is validated on after each epoch: `(x, y)` or batches; None
            for no validation.
        settings: JSON-able value that identifies the run, for example the data. The weights of
            model and teacher, the numbers of this call, and the configurations of optimizers and
            losses are always part of it; checkpoints written with other settings are refused.
        callbacks: Further callbacks, for all stages.
        verbose: 0 for silence, 1 for a progress bar, 2 for a line an epoch; `"auto"` is mostly 1.

    Warns:
        UserWarning: If some layers with kernels can be neither pruned nor share weights: it names
            them and says why.

    Returns:
        A new model of plain layers, not compiled; and the history of all stages: a dictionary of
        lists with one entry for each epoch. `"stage"` counts from 1, and what a stage does not
        measure is `None`.

    Raises:
        ValueError: If the model has no graph, a layer does not exist or cannot be compressed,
            teacher and model do not fit each other, a number is out of range, or the directory
            holds a run with other settings. Nothing is trained then.

    Example:

    ```python
    model = kdzoo.load("lenet_300_100/mnist")
    small, history = kdzoo.schemes.deep_compression(
        model,
        lambda epoch: data.train.batches(128, shuffle=True, initial_epoch=epoch),
        "runs/deep-compression",
        **kdzoo.schemes.DEEP_COMPRESSION_PRESETS["lenet_300_100"],
        epochs=10,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        teacher=model,
    )
    print(kdzoo.save_compressed(small, "lenet.kdz"))
    ```

    Reference: Han, Mao & Dally, "Deep Compression", 2016, arXiv:1510.00149; Han et al., "Learning
    both Weights and Connections", 2015, arXiv:1506.02626, whose pruning in rounds this is. The
    paper prunes by a threshold for each layer; here the fraction that it leaves is given.
    """
    batches = check_batches(data)
    known = layers_with_kernels(model)
    epochs = check_positive_integer("epochs", epochs)
    rounds = check_positive_integer("rounds", rounds, _MOST_ROUNDS)
    last = epochs if codebook_epochs is None else codebook_epochs
    last = check_positive_integer("codebook_epochs", last)
    check_run(directory, callbacks)
    check_flag("round_biases", round_biases)
    procedure = _Procedure(
        rebuild(model),
        check_by_layer("sparsity", sparsity, known, check_fraction),
        check_by_layer("bits", bits, known, check_bits),
        Teaching(teacher, distillation_loss, student_loss_weight),
    )
    procedure.teaching.check(model)  # What does not fit is refused before anything is trained.
    _warn_of_layers_left(known)
    compiling = Compiling(optimizer, loss, metrics)
    of_codebooks = optimizer if codebook_optimizer is None else codebook_optimizer
    compiling_codebooks = compiling._replace(optimizer=of_codebooks)
    for one in (compiling, compiling_codebooks):
        one.check(procedure.teaching.student_loss_weight)

    def prune(number: int) -> keras.Model:
        return compiling.compiled(procedure.pruned_to(number / rounds))

    stages = [
        SchemeStage(f"prune-{n}", functools.partial(prune, n), epochs, validation_data)
        for n in range(1, rounds + 1)
    ]

    def share() -> keras.Model:
        return compiling_codebooks.compiled(procedure.shared())

    stages.append(SchemeStage("share", share, last, validation_data))
    settings = {
        "run": settings,
        "model": fingerprint_of_model(model),
        "epochs": [epochs, last],
        "rounds": rounds,
        **procedure.described(),
        **compiling.described(),
        "codebook_optimizer": compiling_codebooks.described()["optimizer"],
    }
    history = train_stages(stages, batches, directory, settings, callbacks, verbose)
    return procedure.plain(round_biases), history


def _warn_of_layers_left(known: Mapping[str, keras.layers.Layer]) -> None:
    """Warns of layers that can be neither pruned nor share weights.

    Args:
        known: Path -> layer of all layers that have kernels.
    """
    left = [f"{path!r}, {why}" for path, layer in known.items() if (why := why_left(layer, PLAIN))]
    if left:
        more = f"; and {len(left) - 3} more" if len(left) > 3 else ""
        warnings.warn(
            f"Expected layers that can be compressed. Received: {'; '.join(left[:3])}{more}, which "
            "stay as they are.",
            stacklevel=3,
        )


class _Procedure:
    """The model on its way, which each stage takes as the one before has left it.

    Args:
        model: The model, which is changed.
        sparsities: Path of a layer -> the fraction of zeros in its kernel.
        bits: Path of a layer -> the bits of an index.
        teaching: Who teaches.
    """

    def __init__(
        self,
        model: keras.Model,
        sparsities: Mapping[str, float],
        bits: Mapping[str, int],
        teaching: Teaching,
    ) -> None:
        self._model, self._sparsities, self._bits = model, sparsities, bits
        self.teaching = teaching
        self._masks: dict[str, np.ndarray] = {}

    def pruned_to(self, part: float) -> keras.Model:
        """Returns what is trained when a part of the way to the last sparsity is made."""
        left = {path: (1 - fraction) ** part for path, fraction in self._sparsities.items()}
        model = self._without_masks()
        self._masks = _masks(model, {path: 1 - kept for path, kept in left.items()})
        return self._masked(model)

    def shared(self) -> keras.Model:
        """Returns what is trained when weights share values."""
        values = {path: 1 << width for path, width in self._bits.items()}
        model, _ = share_weights(self._without_masks(), values)
        for path in self._bits:  # Where values are shared, zeros stay zeros.
            self._masks.pop(_kernel_of(path), None)
        return self._masked(model)

    def plain(self, round_biases: bool) -> keras.Model:
        """Returns the model of plain layers, when all is trained."""
        model = strip_shared_weights(self._without_masks())
        for path, layer in layers_with_kernels(model).items() if round_biases else ():
            if type(layer) in PLAIN:
                shared = [layer.kernel] * (path in self._bits)
                for variable in (*shared, *([layer.bias] * layer.use_bias)):
                    value = ops.convert_to_numpy(variable)
                    variable.assign(value.astype(ml_dtypes.bfloat16).astype(value.dtype))
        return model

    def _masked(self, model: keras.Model) -> keras.Model:
        """Keeps a model whose zeros stay zeros, and returns what is trained."""
        self._model = apply_masks(model, self._masks) if self._masks else model
        return self.teaching.trainee(self._model)

    def _without_masks(self) -> keras.Model:
        """The model as it is now, its layers without masks, but with their zeros."""
        return strip_masks(self._model) if masks_of(self._model) else self._model

    def described(self) -> dict[str, Any]:
        """Returns what identifies it, JSON-able."""
        teaching = self.teaching.described()
        return {"sparsity": self._sparsities, "bits": self._bits, "teacher": teaching}


def _masks(model: keras.Model, fractions: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Masks that leave out the smallest numbers of kernels, zeros of before among them.

    Args:
        model: The model.
        fractions: Path of a layer -> the fraction of zeros in its kernel.
    """
    made, layers = {}, layers_with_kernels(model)
    for path, fraction in fractions.items():
        kernel = ops.convert_to_numpy(layers[path].kernel)
        sizes = np.abs(kernel.astype("float64")).reshape(-1)
        kept = np.ones(sizes.size, bool)
        kept[np.argsort(sizes, kind="stable")[: round(fraction * sizes.size)]] = False
        made[_kernel_of(path)] = kept.reshape(kernel.shape)
    return made


def _kernel_of(path: str) -> str:
    """The name that masks have for the kernel of a layer."""
    return f"{path}/kernel"
