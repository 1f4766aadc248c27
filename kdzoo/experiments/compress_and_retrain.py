"""Pruning, clustering and quantization of a trained model in one go, with or without a teacher."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import keras

from kdzoo import compression as tools
from kdzoo.compression.filter_pruning.measured_latency import check_latency
from kdzoo.compression.filter_pruning.unpruned_layers import unpruned_layers
from kdzoo.compression.tfmot.library import check_model
from kdzoo.data import Dataset, Split
from kdzoo.distillation.distiller import Distiller
from kdzoo.experiments import compress_by_scheme
from kdzoo.experiments.compression_settings import Compression
from kdzoo.experiments.keep_teacher_outputs import predict
from kdzoo.experiments.optimizer_and_schedule import optimizer
from kdzoo.experiments.stage_settings import settings_of
from kdzoo.experiments.zeros_and_values import TWO_OF_FOUR
from kdzoo.graph.final_activation import final_activation
from kdzoo.graph.outputs import is_one_column
from kdzoo.losses import SoftTargets
from kdzoo.teacher_cache.fingerprints import fingerprint_of_model
from kdzoo.teacher_cache.recorded_split import RecordedSplit
from kdzoo.training.stages import train
from kdzoo.utils.compression_arguments import Binarization
from kdzoo.utils.types import PathLike

Wrapped = tuple[keras.Model, Callable[[keras.Model], keras.Model], list[Any]]
"""A model to train, what makes a plain one of it afterwards, and callbacks."""


def compress(
    model: keras.Model,
    compression: Compression,
    data: Dataset,
    directory: PathLike,
    *,
    teacher: keras.Model | None = None,
    recorded: RecordedSplit | None = None,
    seed: int = 0,
    verbose: str | int = "auto",
    callbacks: Sequence[keras.callbacks.Callback] = (),
    report: Callable[[str], Any] = lambda line: None,
    note_left: Callable[[str, Mapping[str, str]], Any] = lambda step, left: None,
) -> tuple[keras.Model, dict[str, Any]]:
    """Compresses a trained model.

    Args:
        model: The functional or sequential model, which gives logits; it is not changed.
        compression: What is done to it.
        data: The data set, whose training images the model is trained on again.
        directory: Where the checkpoints go. A run that was killed goes on from there.
        teacher: A model that gives logits, which teaches meanwhile; None for the labels alone.
        recorded: The outputs of that teacher for augmented views of the training images, from
            `kdzoo.data.with_recorded_teacher`; it predicts at every step when None.
        seed: Of order and augmentation.
        verbose: As in `keras.Model.fit`.
        callbacks: Further ones for every training.
        report: Called with a line of text when a step starts.
        note_left: Called when a step has left layers as they are, one that changes layers, makes
            weights binary or is Deep Compression: with its name, and a dictionary: path of a layer
            -> why it was left. Zeros and clusters by TF-MOT warn of such layers instead.

    Returns:
        The model to export, plain unless its quantization was trained, and a dictionary: step ->
        history of its training, a list for each of its numbers. That of a scheme, and of filters in
        rounds or to a latency, goes on from one training to the next, and has a list `"stage"`,
        which counts them from 1.

    Raises:
        ValueError: If a setting is out of range or names a layer that the model lacks, the model
            ends in a softmax or is being compressed already, the directory holds the run of another
            model, teacher or setting, or TF-MOT cannot take the model; the error names the layer
            and the remedy.
        RuntimeError: If filters go to a latency, and the backend is not TensorFlow.
    """
    compression.check()
    check_model("model", model)
    if final_activation(model) is not None:
        raise ValueError(
            f"Expected a model that gives logits. Received: {model.name!r}, which ends in a "
            f"{final_activation(model)}; pass `kdzoo.as_logits(model)`."
        )
    for target in compression.target_of_filters:
        check_latency(target, model)
    compress_by_scheme.check_layers(model, compression)
    if isinstance(compression.low_rank, dict):  # What cannot be factorized is said now.
        tools.factorize(model, rank=compression.low_rank)
    if len(compression.steps) > 1 and "quantize" in compression.steps:
        # What cannot be quantized is said now, not after the first training.
        tools.quantize_model(tools.fold_batch_normalization(model))
    if teacher is None or compression.training.augmentation is None:
        recorded = None
    histories = {}
    for step in compression.steps:
        report(f"{step} {model.name}")
        work = _Step(step, compression, data, teacher, recorded, seed)
        model, histories[step] = work.run(model, pathlib.Path(directory) / step, verbose, callbacks)
        if work.left:
            note_left(step, work.left)
    return model, histories


@dataclasses.dataclass(frozen=True)
class _Step:
    """One step on the way: wrap, train, strip; or a scheme, which trains several times."""

    step: str
    compression: Compression
    data: Dataset
    teacher: keras.Model | None
    recorded: RecordedSplit | None
    seed: int
    left: dict[str, str] = dataclasses.field(default_factory=dict)
    """Path of a layer that the step left as it was -> why; known when it has run."""

    def run(
        self,
        model: keras.Model,
        directory: pathlib.Path,
        verbose: str | int,
        callbacks: Sequence[keras.callbacks.Callback],
    ) -> tuple[keras.Model, dict[str, Any]]:
        """Returns the model after the step, and the history of its training."""
        keras.utils.set_random_seed(self.seed)  # Of the step, so that it may be gone on with.
        if compress_by_scheme.is_scheme(self.step, self.compression):
            return self._by_scheme(model, directory, verbose=verbose, callbacks=callbacks)
        wrapped, strip, more = getattr(self, f"_{self.step}")(model)
        trained = self._distiller(wrapped) if self.teacher is not None else wrapped
        loss, metric = _loss_and_metric(model)
        trained.compile(optimizer(self.compression.training, self.data), loss, metrics=[metric])
        history = train(
            trained,
            self._batches(),
            self.compression.training.epochs,
            directory,
            validation_data=self._validation(),
            settings=self._identity(model),
            callbacks=[*more, *callbacks],
            verbose=verbose,
        )
        return strip(wrapped), history

    def _by_scheme(
        self, model: keras.Model, directory: pathlib.Path, **options: Any
    ) -> tuple[keras.Model, dict[str, Any]]:
        """What `run` returns, of a step that is a scheme of several trainings."""
        compression, teacher = self.compression, self.teacher
        loss, metric = _loss_and_metric(model)
        made, history, left = compress_by_scheme.run(
            self.step,
            model,
            compression,
            self._batches(),
            directory,
            split=self.data.train,
            seed=self.seed,
            epochs=compression.training.epochs,
            loss=loss,
            metrics=[metric],
            optimizer=optimizer(compression.training, self.data),
            teacher=teacher if teacher is None or self._teacher_predicts() else "recorded",
            distillation_loss=SoftTargets(compression.temperature),
            student_loss_weight=compression.student_loss_weight,
            validation_data=self._validation(),
            settings=self._identity(model),
            **options,
        )
        self.left.update(left)
        return made, history

    def _validation(self) -> Any:
        return self.data.validation and self.data.validation.batches(500)

    def _identity(self, model: keras.Model) -> dict[str, Any]:
        """What a checkpoint is recognized by: the settings, the models and the data."""
        teacher = None if self.teacher is None else fingerprint_of_model(self.teacher)
        views = {}
        if self.recorded is not None:  # What no epoch sees makes no difference.
            trainings = self.compression.trainings[self.step]
            epochs = int(self.compression.training.epochs) * trainings
            views = {"views": min(self.recorded.views, epochs)}
        return {
            "step": self.step,
            **settings_of(self.compression),
            "seed": self.seed,
            "model": fingerprint_of_model(model),
            "teacher": teacher,
            **views,
            "data": [self.data.name, self.data.version, len(self.data.train)],
        }

    def _filters(self, model: keras.Model) -> Wrapped:
        how: dict[str, Any] = {
            **self.compression.target_of_filters,
            **self.compression.choice_of_filters,
        }
        made, _ = tools.prune_filters(model, **how, seed=self.seed)
        self.left.update(unpruned_layers(model, made))
        return made, _as_it_is, []

    def _low_rank(self, model: keras.Model) -> Wrapped:
        given = self.compression.low_rank
        how: dict[str, Any] = {"rank" if isinstance(given, dict) else "ratio": given}
        made, report = tools.factorize(model, **how)
        self.left.update(report.left)
        return made, _as_it_is, []

    def _separable(self, model: keras.Model) -> Wrapped:
        made, report = tools.to_separable(model)
        self.left.update(report.left)
        return made, _as_it_is, []

    def _binary(self, model: keras.Model) -> Wrapped:
        method = cast(Binarization, self.compression.binary)
        binary, report = tools.binarize(model, method=method, seed=self.seed)
        self.left.update(report.left)
        return binary, tools.strip_binarization, []

    def _prune(self, model: keras.Model) -> Wrapped:
        prune, training = cast(Any, self.compression.prune), self.compression.training
        two_of_four = prune == TWO_OF_FOUR
        schedule = tools.schedule_over_epochs(
            0.5 if two_of_four else prune,
            training.epochs,
            len(self.data.train),
            training.batch_size,
            initial_sparsity=0.5 if two_of_four else 0.0,
        )
        m_by_n = (2, 4) if two_of_four else None
        pruned = tools.prune_low_magnitude(model, schedule, sparsity_m_by_n=m_by_n)
        return pruned, tools.strip_pruning, [tools.UpdatePruningStep(), *_monitors()]

    def _cluster(self, model: keras.Model) -> Wrapped:
        number = cast(int, self.compression.cluster)
        keeps_zeros = self.compression.prune is not None
        clustered = tools.cluster_weights(model, number, preserve_sparsity=keeps_zeros)
        return clustered, tools.strip_clustering, _monitors()

    def _quantize(self, model: keras.Model) -> Wrapped:
        if self.compression.weight_bits == 4:
            return tools.quantize_model(model, weight_bits=4), _with_rounded_biases, []
        scheme = None
        if self.compression.cluster is not None:
            keeps_zeros = self.compression.prune is not None
            scheme = tools.Default8BitClusterPreserveQuantizeScheme(keeps_zeros)
        elif self.compression.prune is not None:
            scheme = tools.Default8BitPrunePreserveQuantizeScheme()
        folded = tools.fold_batch_normalization(model)
        if scheme is None:
            return tools.quantize_model(folded), _with_rounded_biases, []
        quantized = tools.quantize_apply(tools.quantize_annotate_model(folded), scheme)
        return quantized, _with_rounded_biases, _monitors()

    def _distiller(self, student: keras.Model) -> Distiller:
        soft_targets = SoftTargets(self.compression.temperature)
        weight = self.compression.student_loss_weight
        teacher = self.teacher if self._teacher_predicts() else None
        return Distiller(teacher, student, soft_targets, student_loss_weight=weight)

    def _teacher_predicts(self) -> bool:
        """Whether a teacher predicts at every step; else the batches carry its outputs."""
        return self.recorded is None and self._augmentation() is not None

    def _augmentation(self) -> Any:
        return self.compression.training.augmentation_for(self.data.name)

    def _batches(self) -> Callable[[int], Any]:
        options: dict[str, Any] = {"shuffle": True, "seed": self.seed}
        split: Split | RecordedSplit = self.data.train
        if self.recorded is not None:
            split, options["layers"] = self.recorded, ()
        else:
            options["augmentation"] = self._augmentation()
            if self.teacher is not None and options["augmentation"] is None:
                options["teacher_outputs"] = predict(self.teacher, self.data.train.arrays()[0])
        size = self.compression.training.batch_size
        return lambda epoch: split.batches(size, initial_epoch=epoch, **options)


def _loss_and_metric(model: keras.Model) -> tuple[keras.losses.Loss, Any]:
    """The loss on logits, and the accuracy; one column is a yes to the second of two classes."""
    if not is_one_column(model.output_shape):
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True), "accuracy"
    right = keras.metrics.BinaryAccuracy("accuracy", threshold=0.0)
    return keras.losses.BinaryCrossentropy(from_logits=True), right


def _monitors() -> list[Any]:
    """Callbacks that measure zeros and clusters."""
    return [tools.CompressionMonitor()]


def _as_it_is(model: keras.Model) -> keras.Model:
    return model


def _with_rounded_biases(model: keras.Model) -> keras.Model:
    model.round_biases()
    return model
