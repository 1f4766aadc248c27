"""Pruning, clustering and quantization of a trained model in one go, with or without a teacher."""

import dataclasses
import pathlib

import keras

from kdzoo.recipes.compression import TWO_OF_FOUR

_UPDATES = 100  # How often a pruning schedule moves on its way.


def compress(
    model, compression, data, directory, *, teacher=None, recorded=None, seed=0, **options
):
    """Compresses a trained model.

    Args:
        model: The functional or sequential `keras.Model`, which gives logits; it is not changed.
        compression: A `Compression`.
        data: A `kdzoo.data.Dataset`, whose training images the model is trained on again.
        directory: Where the checkpoints go. A run that was killed goes on from there.
        teacher: A `keras.Model` that gives logits, if the compression is taught.
        recorded: The answers of that teacher to augmented views of the training images, from
            `kdzoo.data.with_recorded_teacher`; it is asked at every step when None.
        seed: Of order and augmentation.
        **options: `verbose`, as in `keras.Model.fit`; `callbacks`, further ones for every
            training; `report`, called with a line of text when a step starts.

    Returns:
        The model to export, plain unless its quantization was trained, and a dictionary: step ->
        history of its training.

    Raises:
        ValueError: If a setting is out of range, the teacher is missing, the model ends in a
            softmax or is being compressed already, the directory holds the run of another model,
            teacher or setting, or TF-MOT cannot take the model; the error names the layer and the
            remedy.
    """
    from kdzoo.compression.tfmot.library import check_model
    from kdzoo.graph.logits import final_activation

    compression.check()
    check_model("model", model)
    if final_activation(model) is not None:
        raise ValueError(
            f"Expected a model that gives logits. Received: {model.name!r}, which ends in a "
            f"{final_activation(model)}; pass `kdzoo.as_logits(model)`."
        )
    if compression.taught and teacher is None:
        raise ValueError("Expected a teacher, as compression.taught is True. Received: None")
    if len(compression.steps) > 1 and "quantize" in compression.steps:
        # What cannot be quantized is said now, not after the first training.
        from kdzoo.compression import fold_batch_normalization, quantize_model

        quantize_model(fold_batch_normalization(model))
    histories = {}
    for step in compression.steps:
        home = pathlib.Path(directory) / step
        work = _Step(step, compression, data, teacher, recorded, seed)
        model, histories[step] = work.run(model, home, **options)
    return model, histories


class _Step:
    """One training on the way: wrap, train, strip."""

    def __init__(self, step, compression, data, teacher, recorded, seed):
        self.step, self.compression, self.data = step, compression, data
        self.teacher = teacher if compression.taught else None
        self.recorded = recorded if compression.taught and compression.augment else None
        self.seed = seed
        self.batches_an_epoch = -(-len(data.train) // compression.batch_size)

    def run(self, model, home, verbose="auto", callbacks=(), report=lambda line: None):
        from kdzoo.compression import CompressionMonitor
        from kdzoo.schemes import train

        report(f"{self.step} {model.name}")
        keras.utils.set_random_seed(self.seed)  # Of the step, so that it may be gone on with.
        wrapped, strip, more = getattr(self, f"_{self.step}")(model)
        trained = self._distiller(wrapped) if self.teacher is not None else wrapped
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        trained.compile(self._optimizer(), loss, metrics=["accuracy"])
        history = train(
            trained,
            self._batches(),
            self.compression.epochs,
            home,
            validation_data=self.data.validation and self.data.validation.batches(500),
            settings={"step": self.step, **self._identity(model)},
            callbacks=[*more, CompressionMonitor(), *callbacks],
            verbose=verbose,
        )
        return strip(wrapped), history

    def _identity(self, model):
        """What a checkpoint is recognized by: the settings, the models and the data."""
        from kdzoo.teacher_cache.predict import fingerprint_of_model

        teacher = None if self.teacher is None else fingerprint_of_model(self.teacher)
        views = {}
        if self.recorded is not None:  # What no epoch sees makes no difference.
            views = {"views": min(self.recorded.views, self.compression.epochs)}
        return {
            **dataclasses.asdict(self.compression),
            "seed": self.seed,
            "model": fingerprint_of_model(model),
            "teacher": teacher,
            **views,
            "data": [self.data.name, self.data.version, len(self.data.train)],
        }

    def _prune(self, model):
        from kdzoo.compression import (
            ConstantSparsity,
            PolynomialDecay,
            UpdatePruningStep,
            prune_low_magnitude,
            strip_pruning,
        )

        steps = self.compression.epochs * self.batches_an_epoch
        if self.compression.prune == TWO_OF_FOUR:
            settings = {
                "pruning_schedule": ConstantSparsity(0.5, 0, frequency=_every(steps)),
                "sparsity_m_by_n": (2, 4),
            }
        else:
            end = max(1, 2 * steps // 3)
            share = self.compression.prune
            schedule = PolynomialDecay(0.0, share, 0, end, frequency=_every(end))
            settings = {"pruning_schedule": schedule}
        return prune_low_magnitude(model, **settings), strip_pruning, [UpdatePruningStep()]

    def _cluster(self, model):
        from kdzoo.compression import cluster_weights, strip_clustering

        keeps_zeros = self.compression.prune is not None
        clustered = cluster_weights(model, self.compression.cluster, preserve_sparsity=keeps_zeros)
        return clustered, strip_clustering, []

    def _quantize(self, model):
        from kdzoo import compression as tools

        scheme = None
        if self.compression.cluster is not None:
            keeps_zeros = self.compression.prune is not None
            scheme = tools.Default8BitClusterPreserveQuantizeScheme(keeps_zeros)
        elif self.compression.prune is not None:
            scheme = tools.Default8BitPrunePreserveQuantizeScheme()
        folded = tools.fold_batch_normalization(model)
        quantized = tools.quantize_apply(tools.quantize_annotate_model(folded), scheme)
        return quantized, _with_rounded_biases, []

    def _distiller(self, student):
        import kdzoo

        soft_targets = kdzoo.losses.SoftTargets(self.compression.temperature)
        share = self.compression.student_loss_weight
        is_asked = self.recorded is None and self._augmentation() is not None
        teacher = self.teacher if is_asked else None
        return kdzoo.Distiller(teacher, student, soft_targets, student_loss_weight=share)

    def _augmentation(self):
        from kdzoo.recipes.fitting import usual_augmentation

        return usual_augmentation(self.data.name) if self.compression.augment else None

    def _batches(self):
        from kdzoo.recipes.fitting import record

        if self.recorded is not None:
            return lambda epoch: self.recorded.batches(
                self.compression.batch_size,
                shuffle=True,
                seed=self.seed,
                initial_epoch=epoch,
                layers=(),
            )
        options = {"seed": self.seed, "augmentation": self._augmentation()}
        if self.teacher is not None and options["augmentation"] is None:
            options["teacher_outputs"] = record(self.teacher, self.data.train.arrays()[0])
        return lambda epoch: self.data.train.batches(
            self.compression.batch_size, shuffle=True, initial_epoch=epoch, **options
        )

    def _optimizer(self):
        steps = self.compression.epochs * self.batches_an_epoch
        rate = keras.optimizers.schedules.CosineDecay(self.compression.learning_rate, steps)
        return keras.optimizers.Adam(rate)


def _with_rounded_biases(model):
    model.round_biases()
    return model


def _every(steps):
    return max(1, steps // _UPDATES)


def export(model, path, compression, data, min_agreement=0.9):
    """Writes a compressed model as a verified LiteRT file.

    Args:
        model: What `compress` returned.
        path: Where the file goes.
        compression: The `Compression`.
        data: The `kdzoo.data.Dataset`, whose training images calibrate and verify.
        min_agreement: As in `kdzoo.export.to_litert`.

    Returns:
        A `kdzoo.export.ExportReport`.
    """
    from kdzoo.export import to_litert

    kind = "int8" if compression.quantize == "qat" else compression.quantize
    images, labels = data.train.arrays()[0], list(data.class_names)
    options = {"min_agreement": min_agreement, "sparse": compression.sparse}
    return to_litert(model, path, kind, images, labels, **options)


def measure_file(path, model, data):
    """Returns what a LiteRT file is worth on the test images, and what it weighs.

    Args:
        path: The file.
        model: The Keras model that it was made of.
        data: The `kdzoo.data.Dataset`.

    Returns:
        A dictionary: accuracy of the file and of the model, share of the test images on which both
        have the same argmax, bytes, bytes after gzip.
    """
    from kdzoo import evaluation
    from kdzoo.export import LiteRTModel

    images, labels = data.test.arrays()
    file = LiteRTModel(path)
    return {
        "test_accuracy": evaluation.accuracy(file, images, labels),
        "keras_accuracy": evaluation.accuracy(model, images, labels),
        "agreement": evaluation.agreement(model, file, images),
        "bytes": evaluation.file_bytes(path),
        "gzipped_bytes": evaluation.gzipped_bytes(path),
    }
