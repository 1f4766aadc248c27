"""A valid call of every public function, of which `test_odd_arguments.py` makes odd ones."""

import dataclasses
import functools

import keras
import numpy as np

import kdzoo
from kdzoo import callbacks, data, dynamic, evaluation, losses, models, schemes, zoo

# What kdzoo makes and hands out, or a value: nobody calls it with arguments.
MADE_BY_KDZOO = {
    "__version__": "a string",
    "AnnotatedModel": "`quantize_annotate_model` makes it",
    "ClusteredModel": "`cluster_weights` makes it",
    "PrunedModel": "`prune_low_magnitude` makes it",
    "QuantizedModel": "`quantize_model` makes it",
    "Architecture": "`zoo.register` makes it",
    "BinaryReport": "`binarize` returns it",
    "BiasReport": "`calibrate_biases` returns it",
    "BudgetReport": "`BudgetedClassifier.fit` returns it",
    "BudgetedPredictions": "`BudgetedClassifier.predict` returns it",
    "CompressedFile": "`save_compressed` returns it",
    "CompressedWeight": "`save_compressed` returns it",
    "DEEP_COMPRESSION_PRESETS": "a dictionary",
    "Dataset": "`from_arrays`, `from_directory` and `load` make it",
    "DynamicPredictions": "`DynamicRunner.predict` returns it",
    "ExportReport": "`to_litert` returns it",
    "FilterPruningReport": "`prune_filters` returns it",
    "OutputAgreement": "`to_litert` returns it",
    "Fidelity": "`fidelity` returns it",
    "Latency": "`latency` returns it",
    "LotteryTickets": "`lottery_ticket` returns it",
    "LowRankReport": "`factorize` and `to_separable` return it",
    "Outcome": "the `run` of a stage returns it",
    "Pair": "`pair` returns it",
    "Pretrained": "`list_pretrained` reads it",
    "RECIPES": "a dictionary",
    "RankTrial": "`factorize` returns it",
    "ReplacedLayer": "`factorize` and `to_separable` return it",
    "RecordedSplit": "`with_recorded_teacher` makes it",
    "Split": "`from_arrays`, `from_directory` and `load` make it",
    "SharedWeightsReport": "`share_weights` returns it",
    "Stage": "stage types extend it",
    "TensorInfo": "`LiteRTModel` makes it",
}


class Things:
    """What valid calls are made of, each made once.

    Args:
        directory: An empty directory.
    """

    def __init__(self, directory):
        self.directory, self._made = directory, 0
        rng = np.random.default_rng(0)
        self.images = rng.random((6, 8, 8, 3), "float32")
        self.labels = np.array([0, 1, 2, 3, 4, 0], "int32")
        self.logits = rng.normal(size=(4, 3)).astype("float32")
        self.maps = rng.normal(size=(4, 6, 6, 2)).astype("float32")
        self.classes = np.array([0, 1, 2, 0], "int32")
        self.loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def new_path(self):
        """A path to nothing, another one at each call."""
        self._made += 1
        return self.directory / f"new-{self._made}"

    def net(self, activation=None):
        """A classifier of five classes."""
        inputs = keras.Input((8, 8, 3))
        x = keras.layers.Conv2D(4, 3, use_bias=False, name="stage1")(inputs)
        x = keras.layers.BatchNormalization(name="norm")(x)
        x = keras.layers.ReLU(name="stage2")(x)
        x = keras.layers.GlobalAveragePooling2D(name="features")(x)
        outputs = keras.layers.Dense(5, activation, name="logits")(x)
        return keras.Model(inputs, outputs)

    @functools.cached_property
    def model(self):
        return self.net()

    @functools.cached_property
    def teacher(self):
        return self.net()

    @functools.cached_property
    def exits(self):
        return dynamic.add_exits(self.model, at=["stage1"])

    @functools.cached_property
    def classifier(self):
        classifier = dynamic.BudgetedClassifier(self.exits)
        classifier.thresholds = [0.5]
        return classifier

    @property
    def thresholds(self):
        path = self.new_path()
        self.classifier.save_thresholds(path)
        return path

    @functools.cached_property
    def dynamic_tflite(self):
        path = self.new_path()
        kdzoo.export.to_litert(self.classifier, path)
        return path

    @functools.cached_property
    def slimmable(self):
        return dynamic.Slimmable(self.model, widths=(0.5, 1.0), round_to=1)

    @functools.cached_property
    def specialist(self):
        return schemes.specialist_of(self.teacher, [0, 1])

    @functools.cached_property
    def _distiller(self):
        distiller = kdzoo.Distiller(self.teacher, self.net(), losses.SoftTargets())
        return distiller, distiller.get_weights()

    @property
    def distiller(self):
        """One with its first weights, and a step that is not traced for any shape yet."""
        distiller, weights = self._distiller
        if not distiller.compiled or distiller.train_function or distiller.test_function:
            distiller.set_weights(weights)
            distiller.compile("sgd", self.loss)
        return distiller

    @functools.cached_property
    def compiling(self):
        return kdzoo.Distiller(self.teacher, self.net(), losses.SoftTargets())

    @functools.cached_property
    def dataset(self):
        return data.from_arrays(self.images, self.labels, validation=0)

    @functools.cached_property
    def record(self):
        return data.record_teacher(self.teacher, self.dataset.train, self.new_path())

    @functools.cached_property
    def recorded(self):
        return data.with_recorded_teacher(self.dataset.train, self.record)

    @functools.cached_property
    def exported(self):
        images = (255 * self.images).astype("uint8")
        return data.from_arrays(images, self.labels, validation=0)

    @functools.cached_property
    def pictures(self):
        folder = self.new_path()
        for name in ("a", "b"):
            (folder / name).mkdir(parents=True)
            for number in range(4):
                keras.utils.save_img(folder / name / f"{number}.png", self.images[number])
        return folder

    @functools.cached_property
    def tflite(self):
        path = self.new_path().with_suffix(".tflite")
        return kdzoo.export.to_litert(self.net(), path).path

    @functools.cached_property
    def runner(self):
        return kdzoo.export.LiteRTModel(self.tflite)

    @functools.cached_property
    def shared(self):
        directory = self.new_path()
        kdzoo.save_pretrained(self.model, directory)
        return directory

    @functools.cached_property
    def packed(self):
        path = self.new_path()
        kdzoo.save_compressed(self.model, path)
        return path

    @functools.cached_property
    def weights(self):
        path = self.new_path()
        zoo.save_weights(self.model, path)
        return path

    @functools.cached_property
    def bottlenecked(self):
        inputs = keras.Input((3,))
        return keras.Model(inputs, keras.layers.Dense(4)(keras.layers.Dense(2)(inputs)))

    @functools.cached_property
    def softened(self):
        return self.net("softmax")

    @functools.cached_property
    def compression(self):
        from kdzoo import compression

        return compression

    @functools.cached_property
    def pruned(self):
        return self.compression.prune_low_magnitude(self.net())

    @functools.cached_property
    def clustered(self):
        return self.compression.cluster_weights(self.net(), 4)

    @functools.cached_property
    def keeps_clusters(self):
        tools = self.compression
        annotated = tools.quantize_annotate_model(tools.strip_clustering(self.clustered))
        return tools.quantize_apply(annotated, tools.Default8BitClusterPreserveQuantizeScheme())


@dataclasses.dataclass(frozen=True)
class Call:
    """A valid call.

    Attributes:
        function: From the `Things` to the function.
        arguments: From the `Things` to the valid arguments by name.
        passed_on: Arguments that go to Keras as they are, or are old names of others.
        tensorflow: Whether it needs that backend.
    """

    function: object
    arguments: object
    passed_on: tuple = ()
    tensorflow: bool = False


def _of(part, name):
    return lambda things: getattr(part, name)


CALLS = {}


def _add(part, function, arguments, passed_on=(), tensorflow=False):
    prefix = part.__name__.removeprefix("kdzoo").removeprefix(".")
    name = f"{prefix}.{function}" if prefix else function
    CALLS[name] = Call(_of(part, function), arguments, passed_on, tensorflow)


def _add_method(name, function, arguments, passed_on=(), tensorflow=False):
    CALLS[name] = Call(function, arguments, passed_on, tensorflow)


def _add_losses():
    def logits(t):
        return {"teacher_logits": t.logits, "student_logits": t.logits}

    def maps(t):
        return {"teacher_features": t.maps, "student_features": t.maps}

    said = {"output_type": "classes"}
    _add(
        losses,
        "soft_targets",
        lambda t: {**logits(t), "temperature": 2.0, **said, "standardize": True},
    )
    _add(
        losses,
        "logit_regression",
        lambda t: {**logits(t), "target": "logits", "mean": 0.0, "std": 1.0, **said},
    )
    _add(
        losses,
        "output_regression",
        lambda t: {
            "teacher_outputs": t.logits,
            "student_outputs": t.logits,
            "loss": "huber",
            "delta": 1.0,
        },
    )
    _add(
        losses,
        "decoupled_soft_targets",
        lambda t: {
            **logits(t),
            "labels": t.classes,
            "target_weight": 1.0,
            "non_target_weight": 8.0,
            "temperature": 4.0,
        },
    )
    _add(
        losses,
        "confidence_weighted_labels",
        lambda t: {**logits(t), "labels": t.classes, "temperature": 2.0},
    )
    _add(
        losses,
        "permuted_soft_targets",
        lambda t: {**logits(t), "order": t.logits, "temperature": 2.0},
    )
    weights = {"inter_class_weight": 1.0, "intra_class_weight": 1.0, "temperature": 4.0}
    _add(losses, "prediction_correlation", lambda t: {**logits(t), **weights})
    _add(losses, "logit_statistics", lambda t: {"logits": t.logits})
    _add(losses, "hint", lambda t: {**maps(t), "reduction": "sum"})
    _add(losses, "attention_transfer", lambda t: {**maps(t), "power": 2.0})
    for name in (
        "relational_distance",
        "relational_angle",
        "similarity_preserving",
        "probabilistic_transfer",
    ):
        _add(losses, name, maps)
    _add(
        losses,
        "variational_information",
        lambda t: {"teacher_features": t.maps, "predicted_features": t.maps, "variance": 1.0},
    )
    _add(losses, "noise_contrastive", lambda t: {"log_scores": t.logits, "examples": 10})
    taps = {"teacher_layer": "features", "student_layer": "features", "name": "loss"}
    for name in (
        "DistillationLoss",
        "ProbabilisticTransfer",
        "RelationalAngle",
        "RelationalDistance",
        "SimilarityPreserving",
    ):
        _add(losses, name, lambda t: taps)
    _add(losses, "AttentionTransfer", lambda t: {**taps, "power": 2.0})
    _add(losses, "Hint", lambda t: {**taps, "activation": "relu", "reduction": "sum"})
    _add(losses, "ConfidenceWeightedLabels", lambda t: {**taps, "temperature": 2.0, **said})
    _add(losses, "PermutedSoftTargets", lambda t: {**taps, "temperature": 2.0, "seed": 0, **said})
    _add(
        losses,
        "SoftTargets",
        lambda t: {**taps, "temperature": 2.0, **said, "standardize": True},
    )
    _add(losses, "PredictionCorrelation", lambda t: {**taps, **weights, **said})
    _add(
        losses,
        "VariationalInformation",
        lambda t: {**taps, "hidden_channels": 4, "initial_variance": 5.0},
    )
    _add(losses, "OutputRegression", lambda t: {**taps, "loss": "huber", "delta": 1.0})
    _add(
        losses,
        "LogitRegression",
        lambda t: {**taps, "target": "logits", "mean": [0.0, 1.0], "std": [1.0, 1.0], **said},
    )
    _add(
        losses,
        "DecoupledSoftTargets",
        lambda t: {
            **taps,
            "target_weight": 1.0,
            "non_target_weight": 8.0,
            "temperature": 4.0,
            **said,
        },
    )
    _add(
        losses,
        "ContrastiveRepresentation",
        lambda t: {
            **taps,
            "examples": t.classes,
            "dimensions": 4,
            "negatives": 2,
            "temperature": 0.1,
            "momentum": 0.5,
            "seed": 0,
        },
    )
    _add(
        losses,
        "KerasDistillation",
        lambda t: {"loss": keras.distillation.FeatureDistillation(), "name": "loss", **said},
    )


def _add_evaluation():
    def measured(t):
        return {
            "x": t.images,
            "y": t.labels,
            "batch_size": 4,
            "check_images": True,
            "output_type": "classes",
            "from_logits": True,
        }

    def compared(t):
        return {
            "data": t.images,
            "batch_size": 4,
            "check_images": True,
            "output_type": "classes",
            "from_logits": True,
            "teacher": t.teacher,
            "student": t.model,
        }

    _add(evaluation, "accuracy", lambda t: {"model": t.model, **measured(t)})
    _add(evaluation, "calibration_error", lambda t: {"model": t.model, **measured(t), "bins": 15})
    _add(evaluation, "agreement", compared)
    _add(evaluation, "fidelity", lambda t: {**compared(t), "temperature": 2.0})
    _add(evaluation, "count_macs", lambda t: {"model": t.model, "input_shape": (8, 8, 3)})
    _add(evaluation, "count_parameters", lambda t: {"model": t.model})
    _add(evaluation, "file_bytes", lambda t: {"path": t.weights})
    _add(evaluation, "gzipped_bytes", lambda t: {"path": t.weights})
    _add(
        evaluation,
        "latency",
        lambda t: {
            "model": t.tflite,
            "threads": 1,
            "runs": 1,
            "warmup": 0,
            "signature": "serving_default",
        },
        tensorflow=True,
    )


def _add_data():
    def splits(t):
        return {
            "x": t.images,
            "y": t.labels,
            "classes": 5,
            "validation": 0.5,
            "test": (t.images, t.labels),
        }

    _add(
        data,
        "from_arrays",
        lambda t: {**splits(t), "class_names": list("abcde"), "name": "arrays", "scale": 255},
    )
    _add(
        data,
        "from_directory",
        lambda t: {
            "directory": t.pictures,
            "image_size": 8,
            "validation": 0.5,
            "test": 0.5,
            "crop_to_aspect_ratio": True,
            "color_mode": "rgb",
            "name": "pictures",
        },
    )

    def transfer_set(source, without, only, fraction, per_class, weights, size, labelled, seed):
        more = {"weights": weights, "size": size, "labelled": labelled, "seed": seed}
        data.transfer_set(
            source, without=without, only=only, fraction=fraction, per_class=per_class, **more
        )

    _add_method(
        "data.transfer_set",
        lambda t: transfer_set,
        lambda t: {
            "source": t.dataset,
            "without": [4],
            "only": [0, 1, 2],
            "fraction": 1.0,
            "per_class": None,
            "weights": [1.0],
            "size": 3,
            "labelled": 0.5,
            "seed": 0,
        },
    )
    _add(data, "check_images", lambda t: {"images": t.images, "name": "images"})
    _add(
        data,
        "check_labels",
        lambda t: {"labels": t.labels, "classes": 5, "count": 6, "name": "labels"},
    )
    _add(data, "Augmentation", lambda t: {"shift": 1, "flip": True, "cutout": 2})
    _add_method(
        "data.Augmentation.__call__",
        lambda t: data.Augmentation(1, True, 2).__call__,
        lambda t: {"images": t.images, "indices": np.arange(6), "seed": 0, "epoch": 0},
    )
    _add(
        data, "export", lambda t: {"data": t.exported, "directory": t.new_path(), "data_dir": None}
    )
    _add(data, "load", lambda t: {"name": "digits", "data_dir": t.new_path(), "validation": 0.5})
    _add(
        data,
        "record_teacher",
        lambda t: {
            "teacher": t.teacher,
            "data": t.dataset.train,
            "directory": t.new_path(),
            "views": 1,
            "top_k": 2,
            "layers": ["features"],
            "augmentation": data.Augmentation(1),
            "seed": 0,
            "dtype": "float32",
            "batch_size": 4,
            "teacher_transform": lambda images: images,
            "output_type": "classes",
        },
    )
    _add(
        data,
        "with_recorded_teacher",
        lambda t: {
            "data": t.dataset.train,
            "directory": t.record,
            "teacher": t.teacher,
            "teacher_transform": lambda images: images,
            "average": "logits",
        },
    )
    batches = {
        "batch_size": 4,
        "shuffle": True,
        "seed": 0,
        "initial_epoch": 0,
        "drop_remainder": False,
        "indices": False,
    }

    def outputs(t):
        return {"augmentation": None, "teacher_outputs": np.ones((6, 5), "float32")}

    _add_method(
        "data.Split.batches",
        lambda t: t.dataset.train.batches,
        lambda t: {**batches, **outputs(t)},
        passed_on=("answers",),
    )
    _add_method(
        "data.RecordedSplit.batches",
        lambda t: t.recorded.batches,
        lambda t: {**batches, "layers": None},
    )
    _add_method(
        "data.Split.subset", lambda t: t.dataset.train.subset, lambda t: {"indices": np.arange(3)}
    )
    _add_method(
        "data.Split.examples",
        lambda t: t.dataset.train.examples,
        lambda t: {"indices": np.arange(3)},
    )
    _add_method("data.Dataset.enlarged", lambda t: t.dataset.enlarged, lambda t: {"factor": 2})
    _add_method("data.Dataset.resplit", lambda t: t.dataset.resplit, lambda t: {"seed": 1})


def _add_models():
    usual = {"classes": 3, "input_shape": (8, 8, 1), "name": "net"}
    _add(models, "airbench", lambda t: {**usual, "widths": (8, 8, 8), "dropout": 0.1})
    _add(
        models,
        "fitnet",
        lambda t: {
            **usual,
            "stages": ((2,), (2,)),
            "dense_units": 2,
            "pieces": 2,
            "dense_pieces": 2,
            "dropout": 0.1,
        },
    )
    _add(models, "fitnet_mnist", lambda t: {**usual, "pieces": 2, "dropout": 0.1})
    _add(
        models,
        "plain_cnn",
        lambda t: {**usual, "stages": ((2,), (2,)), "hidden": (4,), "dropout": 0.1},
    )
    _add(
        models,
        "shallow",
        lambda t: {
            **usual,
            "units": 8,
            "bottleneck": 4,
            "filters": 2,
            "kernel_size": 3,
            "dropout": 0.1,
        },
    )
    _add(models, "vgg", lambda t: {**usual, "stages": ((2,), (2,)), "dropout": 0.1})
    _add(models, "absorb_bottleneck", lambda t: {"model": t.bottlenecked})
    _add(models, "lenet", lambda t: {**usual, "filters": (), "hidden": (4,), "dropout": 0.1})
    _add(
        models,
        "maxout",
        lambda t: {
            **usual,
            "units": (2, 2, 2),
            "padding": (3, 3, 3),
            "dense_units": 2,
            "pieces": 2,
            "dense_pieces": 2,
            "dropout": 0.1,
            "input_dropout": 0.1,
            "max_norm": False,
        },
    )
    _add(
        models,
        "mlp",
        lambda t: {
            **{**usual, "hidden": (4,), "dropout": 0.1, "input_dropout": 0.1, "max_norm": 2.0},
            "batch_norm": False,
        },
    )
    _add(models, "branchy_lenet", lambda t: usual)
    _add(
        models,
        "msdnet",
        lambda t: {
            **usual,
            "exits": 2,
            "first_layers": 1,
            "more_layers": 1,
            "channels": 2,
            "growth": 2,
            "scales": 2,
            "reduction": 0.5,
            "head_channels": 2,
        },
    )
    _add(models, "resnet", lambda t: {**usual, "depth": 8})
    _add(models, "separable", lambda t: {**usual, "width": 0.125, "dropout": 0.1, "halvings": 1})
    _add(models, "wide_resnet", lambda t: {**usual, "depth": 10, "width": 1, "dropout": 0.1})
    for name in ("accelerate", "fuse_batch_normalization", "unfuse_batch_normalization"):
        _add(kdzoo, name, lambda t: {"model": t.model})
    _add(kdzoo, "as_logits", lambda t: {"model": t.softened})
    _add(
        kdzoo,
        "Ensemble",
        lambda t: {
            "members": [t.model, t.teacher],
            "average": "logits",
            "name": "ensemble",
            "output_type": "classes",
        },
    )


def _add_zoo():
    shipped = {"directory": None}
    _add(zoo, "card", lambda t: {"name": "mlp_2x800/mnist", **shipped})
    _add(zoo, "load", lambda t: {"name": "mlp_2x800/mnist", "classes": 3, **shipped})
    _add(zoo, "tflite", lambda t: {"name": _compressed(), **shipped})
    _add(zoo, "list_pretrained", lambda t: {"dataset": "mnist", "family": "mlp", **shipped})
    _add(zoo, "list_pairs", lambda t: {"dataset": "mnist"})
    _add(zoo, "list_models", lambda t: {"family": "mlp"})
    _add(zoo, "pair", lambda t: {"name": "mnist_lenet_5"})
    _add(zoo, "architecture", lambda t: {"name": "mlp_2x64"})
    _add(zoo, "create", lambda t: {"name": "mlp_2x64", "classes": 3, "input_shape": (4, 4, 1)})
    _add_method(
        "zoo.register",
        lambda t: _registered_once,
        lambda t: {
            "name": "odd",
            "builder": models.mlp,
            "arguments": {},
            "description": "",
            "paper": "",
        },
    )
    _add(
        zoo, "save_weights", lambda t: {"model": t.model, "path": t.new_path(), "dtype": "float32"}
    )
    _add(
        zoo,
        "load_weights",
        lambda t: {
            "model": t.model,
            "content": t.weights,
            "name": "weights",
            "left_out": ["logits"],
        },
    )
    _add(
        zoo,
        "save_pretrained",
        lambda t: {"model": t.model, "directory": t.new_path(), "card": "", "dtype": "float32"},
    )
    _add(zoo, "load_pretrained", lambda t: {"directory": t.shared})
    _add(zoo, "load_model", lambda t: {"path": t.shared})
    _add(
        zoo,
        "save_compressed",
        lambda t: {"model": t.model, "path": t.new_path(), "keep_negative_zeros": True},
    )
    _add(zoo, "load_compressed", lambda t: {"path": t.packed})
    _add_method(
        "zoo.Pair.distiller",
        lambda t: kdzoo.pair("mnist_lenet_5").distiller,
        lambda t: {"teacher": t.teacher, "student": t.model},
    )


def _compressed():
    return next(name for name in kdzoo.list_pretrained() if name.endswith("/int8"))


def _registered_once(name, builder, arguments, description, paper):
    from kdzoo.zoo import registry

    before = dict(registry._ARCHITECTURES)
    try:
        return zoo.register(name, builder, arguments, description, paper)
    finally:
        registry._ARCHITECTURES.clear()
        registry._ARCHITECTURES.update(before)


def _add_training():
    _add(
        kdzoo,
        "Distiller",
        lambda t: {
            "teacher": t.teacher,
            "student": t.model,
            "distillation_losses": [losses.SoftTargets()],
            "distillation_loss_weights": [1.0],
            "student_loss_weight": 0.5,
            "name": "distiller",
            "teacher_transform": lambda images: images,
            "fuse_batch_norm": True,
            "check_values": True,
        },
    )
    _add_method(
        "Distiller.fit",
        lambda t: functools.partial(t._distiller[0].fit, verbose=0),
        lambda t: t.distiller and {"x": t.images, "y": t.labels, "batch_size": 6, "epochs": 1},
        passed_on=("callbacks", "verbose"),
    )
    _add_method(
        "Distiller.compile",
        lambda t: t.compiling.compile,
        lambda t: {"optimizer": "sgd", "loss": t.loss},
        passed_on=("metrics",),
    )
    _add_method(
        "Distiller.fit validation",
        lambda t: (
            lambda validation_data: t.distiller.fit(
                t.images, t.labels, verbose=0, validation_data=validation_data
            )
        ),
        lambda t: {"validation_data": (t.images, t.labels)},
    )
    _add_method(
        "Distiller.evaluate",
        lambda t: lambda x, y, batch_size: t._distiller[0].evaluate(x, y, batch_size, verbose=0),
        lambda t: t.distiller and {"x": t.images, "y": t.labels, "batch_size": 6},
    )
    _add(
        callbacks,
        "Anneal",
        lambda t: {"number": "temperature", "schedule": lambda epoch: 1.0, "loss": "soft_targets"},
    )
    _add(callbacks, "EpochCheckpoint", lambda t: {"directory": t.new_path(), "settings": {}})
    _add(callbacks, "StopAtNonFiniteLoss", lambda t: {})
    _add(callbacks, "linear", lambda t: {"start": 1.0, "end": 0.0, "epochs": 3})
    _add(
        kdzoo,
        "calibrate_biases",
        lambda t: {
            "model": t.model,
            "images": t.images,
            "prior": [0.2] * 5,
            "classes": None,
            "offsets": None,
            "batch_size": 4,
            "check_images": False,
        },
    )
    _add(
        evaluation,
        "confusable_classes",
        lambda t: {"logits": t.logits, "clusters": 2, "seed": 0},
    )
    _add(
        schemes,
        "specialist_of",
        lambda t: {"generalist": t.model, "classes": [0, 1], "name": "specialist"},
    )
    _add(
        schemes,
        "specialist_distribution",
        lambda t: {
            "generalist_probs": np.array([[0.7, 0.2, 0.1]], "float32"),
            "specialist_probs": [np.array([[0.2, 0.3, 0.5]], "float32")],
            "classes": [[0, 1]],
            "most_probable": 1,
        },
    )
    _add(
        schemes,
        "SpecialistEnsemble",
        lambda t: {
            "generalist": t.model,
            "specialists": [t.specialist],
            "classes": [[0, 1]],
            "most_probable": 1,
            "name": "all",
        },
    )
    _add_method(
        "schemes.specialists",
        lambda t: _without_training(schemes.specialists),
        lambda t: {
            "generalist": t.model,
            "data": t.dataset,
            "directory": t.new_path(),
            "clusters": None,
            "classes": [[0, 1]],
            "epochs": 1,
            "optimizer": "adam",
            "batch_size": 4,
            "augmentation": None,
            "most_probable": 1,
            "metrics": (),
            "validation_data": (t.images, t.labels),
            "seed": 0,
            "settings": None,
            "callbacks": (),
        },
        passed_on=("verbose",),
    )
    _add_method(
        "schemes.train",
        lambda t: functools.partial(schemes.train, verbose=0),
        lambda t: {
            "model": t.distiller,
            "data": lambda epoch: t.dataset.train.batches(6),
            "epochs": 1,
            "directory": t.new_path(),
            "settings": None,
            "callbacks": (),
        },
        passed_on=("validation_data", "verbose"),
    )
    _add_method(
        "schemes.hint_training",
        lambda t: _without_training(schemes.hint_training),
        lambda t: {
            "teacher": t.teacher,
            "student": t.model,
            "hint_layer": "stage1",
            "guided_layer": "stage1",
            "data": lambda epoch: t.dataset.train.batches(6),
            "directory": t.new_path(),
            "hint_epochs": 1,
            "epochs": 1,
            "loss": t.loss,
            "activation": None,
            "reduction": "mean",
            "soft_targets": None,
            "student_loss_weight": 0.5,
            "teacher_weight": (1.0, 0.5),
            "teacher_transform": None,
            "hint_optimizer": "adam",
            "optimizer": "adam",
            "metrics": (),
            "callbacks": (),
            "settings": None,
        },
        passed_on=("validation_data", "verbose"),
    )
    _add_schemes_of_several_models()


def _add_schemes_of_several_models():
    def usual(t):
        return {
            "data": lambda epoch: t.dataset.train.batches(6),
            "directory": t.new_path(),
            "epochs": 1,
            "loss": t.loss,
            "optimizer": "adam",
            "metrics": (),
            "callbacks": (),
            "settings": None,
        }

    passed_on = ("validation_data", "verbose")
    _add_method(
        "schemes.mutual_learning",
        lambda t: _without_training(schemes.mutual_learning),
        lambda t: {
            **usual(t),
            "peers": [t.model, t.teacher],
            "update": "sequential",
            "mutual_weight": 1.0,
            "temperature": 2.0,
        },
        passed_on,
    )
    _add_method(
        "schemes.born_again",
        lambda t: _without_training(schemes.born_again),
        lambda t: {
            **usual(t),
            "student": t.model,
            "generations": 1,
            "teacher": t.teacher,
            "variant": "cwtm",
            "temperature": 2.0,
            "student_loss_weight": 0.5,
            "seed": 0,
        },
        passed_on,
    )
    _add_method(
        "schemes.filter_pruning",
        lambda t: _without_training(schemes.filter_pruning),
        lambda t: {
            **usual(t),
            "model": t.model,
            "steps": 1,
            "ratio": None,
            "target_macs": 0.5,
            "target_parameters": None,
            "target_latency": None,
            "target_latency_ms": None,
            "importance": "l1",
            "scope": "local",
            "round_to": 1,
            "ignored_layers": [],
            "importance_data": None,  # `prune_filters` has odd ones.
            "sparsity_epochs": 1,
            "sparsity": 0.1,
            "teacher": t.teacher,
            "distillation_loss": None,
            "student_loss_weight": 0.5,
            "seed": 0,
        },
        passed_on,
    )
    _add(
        schemes,
        "ensemble",
        lambda t: {
            "members": [t.teacher],
            "data": t.dataset.train,
            "directory": t.new_path(),
            "average": "logits",
            "views": 1,
            "augmentation": data.Augmentation(1),
        },
    )
    _add_method(
        "schemes.teacher_assistant",
        lambda t: _without_training(schemes.teacher_assistant),
        lambda t: {
            **usual(t),
            "teacher": t.teacher,
            "models": [t.model],
            "distillation_loss": None,
            "student_loss_weight": 0.5,
            "teacher_transform": None,
        },
        passed_on,
    )
    _add_method(
        "schemes.lottery_ticket",
        lambda t: _without_training(schemes.lottery_ticket),
        lambda t: {
            **usual(t),
            "model": t.model,
            "rounds": 1,
            "fraction": 0.25,
            "output_fraction": 0.125,
            "scope": "global",
            "rewind_epoch": 0,
            "controls": ["random_ticket"],
            "teacher": t.teacher,
            "distillation_loss": None,
            "student_loss_weight": 0.5,
            "seed": 0,
        },
        passed_on,
    )
    _add_method(
        "schemes.deep_compression",
        lambda t: _without_training(schemes.deep_compression),
        lambda t: {
            **usual(t),
            "model": t.model,
            "sparsity": 0.5,
            "bits": 2,
            "rounds": 1,
            "codebook_epochs": 1,
            "round_biases": True,
            "teacher": t.teacher,
            "distillation_loss": None,
            "student_loss_weight": 0.5,
            "codebook_optimizer": "adam",
        },
        passed_on,
    )
    _add(
        schemes,
        "assistant_sizes",
        lambda t: {"teacher_parameters": 100, "student_parameters": 10, "count": 1},
    )


def _without_training(scheme):
    """What comes before, and after: the trainings are `schemes.train`."""
    import sys

    module = sys.modules["kdzoo.schemes.scheme_stages"]

    @functools.wraps(scheme)
    def without_training(**arguments):
        usual, module.train = module.train, lambda *args, **kwargs: {}
        try:
            return scheme(**arguments)
        finally:
            module.train = usual

    return without_training


def _add_experiments():
    from kdzoo import experiments as e
    from kdzoo.experiments.engine import load_data

    def fields(made):
        return {field.name: getattr(made, field.name) for field in dataclasses.fields(made)}

    training, start = e.Training(1), e.Dependency("teacher", 0)
    teacher = e.Train("teacher", "mlp_2x64", training, seeds=(0,))
    student = ("a", "mlp_2x64", training)
    hinted = e.HintTraining(*student, hints=("stage1", "stage1", 1), seeds=(0,))
    experiment = e.Experiment("own", "digits", (teacher, e.Train(*student)), seeds=(0,))

    def made_with(stage):
        stages = (stage,) if type(stage) is e.Train else (teacher, stage)
        load_data(dataclasses.replace(experiment, stages=stages))

    def of_exits(stage):
        exits = e.TrainExits("exits", *student[1:], at=("stage1",), seeds=(0,))
        load_data(dataclasses.replace(experiment, stages=(teacher, exits, stage)))

    def check_alone(stage):
        dataclasses.replace(experiment, stages=(stage,)).check()

    def check(function, how):
        @functools.wraps(function)
        def checked(**arguments):
            how(function(**arguments))

        return checked

    for made, how in (
        (training, lambda made: made.check()),
        (e.Compression(prune=0.5), lambda made: made.check()),
        (start, lambda made: made_with(e.Distill(*student, teacher=made))),
        (teacher, made_with),
        (e.Distill(*student, seeds=(0,)), made_with),
        (hinted, made_with),
        (e.MutualLearning(*student, peers=(("mlp_2x64", {}), start), seeds=(0,)), made_with),
        (e.BornAgain(*student, generations=1, teacher=start, seeds=(0,)), made_with),
        (e.LotteryTicket(*student, rounds=1, teacher=start, seeds=(0,)), made_with),
        (e.EnsembleOf("b", e.Dependency("teacher", "all"), seeds=(0,)), made_with),
        (e.Specialists("b", start, e.Training(1), clusters=2, seeds=(0,)), made_with),
        (e.TeacherAssistant(*student, assistants=(("mlp_2x64", {}),), seeds=(0,)), made_with),
        (e.PruneFilters("b", start, e.Training(1), seeds=(0,)), made_with),
        (e.TrainPruned("b", start, e.Training(1), seeds=(0,)), made_with),
        (e.Pretrained("teacher", "fitnet_mnist/mnist", seeds=(0,)), check_alone),
        (e.Compress("b", start, seeds=(0,)), made_with),
        (e.TrainBinary(*student, seeds=(0,)), made_with),
        (e.TrainExits(*student, at=("stage1",), seeds=(0,)), made_with),
        (e.TrainWidths(*student, seeds=(0,)), made_with),
        (e.FitThresholds("b", e.Dependency("exits", 0), (0.9,), seeds=(0,)), of_exits),
        (e.DistillBinary(*student, seeds=(0,)), made_with),
        (e.Factorize("b", start, ratio=0.5, seeds=(0,)), made_with),
        (
            e.DeepCompress(
                *("b", start, training), sparsity={"stage1": 0.5}, bits={"stage1": 2}, seeds=(0,)
            ),
            made_with,
        ),
        (e.Transfer(fraction=0.5), lambda made: made_with(e.Train(*student, transfer=made))),
        (e.CalibrateBiases("b", e.Dependency("teacher", 0), seeds=(0,)), made_with),
        (experiment, load_data),
    ):
        cls = type(made)
        CALLS[f"experiments.{cls.__name__}"] = Call(
            lambda t, cls=cls, how=how: check(cls, how), lambda t, made=made: fields(made)
        )
    _add(e, "register", lambda t: {"stage_type": e.Train})
    _add_method(
        "experiments.retraining",
        lambda t: check(e.retraining, lambda made: made.check()),
        lambda t: {"epochs": 3, "learning_rate": 1e-3},
    )
    _add_method(
        "experiments.soft_targets",
        lambda t: check(e.soft_targets, lambda losses: e.Distill(*student, losses=losses).check()),
        lambda t: {"temperature": 4.0},
    )


def _add_masks(compression):
    def masks():
        return {"logits/kernel": np.arange(20).reshape(4, 5) % 2 == 0}

    _add(
        compression,
        "magnitude_masks",
        lambda t: {
            "model": t.model,
            "fraction": 0.25,
            "output_fraction": 0.125,
            "scope": "layer",
            "masks": masks(),
        },
    )
    _add(compression, "random_masks", lambda t: {"masks": masks(), "seed": 0})
    _add(compression, "apply_masks", lambda t: {"model": t.model, "masks": masks()})
    _add(compression, "masks_of", lambda t: {"model": t.model})
    _add(compression, "strip_masks", lambda t: {"model": compression.apply_masks(t.model, masks())})


def _add_compression():
    from kdzoo import compression, export

    usual = {"tensorflow": True}

    def pruning(t):
        return {
            "pruning_schedule": t.compression.ConstantSparsity(0.5, 0),
            "block_size": (1, 1),
            "block_pooling_type": "AVG",
            "sparsity_m_by_n": None,
        }

    def clustering(t):
        return {
            "number_of_clusters": 4,
            "cluster_centroids_init": t.compression.CentroidInitialization.LINEAR,
            "preserve_sparsity": False,
            "cluster_per_channel": False,
        }

    def dense(t):
        return keras.layers.Dense(4)

    _add(
        compression,
        "prune_low_magnitude",
        lambda t: {"to_prune": dense(t), **pruning(t), "pruning_policy": None},
        **usual,
    )
    _add(
        compression,
        "schedule_over_epochs",
        lambda t: {
            "final_sparsity": 0.5,
            "epochs": 2,
            "samples": 10,
            "batch_size": 4,
            "initial_sparsity": 0.25,
        },
        **usual,
    )
    _add(
        compression, "cluster_weights", lambda t: {"to_cluster": dense(t), **clustering(t)}, **usual
    )
    _add(compression, "strip_pruning", lambda t: {"model": t.pruned}, **usual)
    _add(compression, "strip_clustering", lambda t: {"model": t.clustered}, **usual)
    _add(compression, "strip_clustering_cqat", lambda t: {"to_strip": t.keeps_clusters}, **usual)
    _add(
        compression,
        "PrunedLayer",
        lambda t: {"layer": dense(t), **pruning(t), "name": "pruned"},
        **usual,
    )
    _add(
        compression,
        "ClusteredLayer",
        lambda t: {"layer": dense(t), **clustering(t), "name": "clustered"},
        **usual,
    )
    _add(compression, "fold_batch_normalization", lambda t: {"model": t.model})
    _add(
        compression,
        "prune_filters",
        lambda t: {
            "model": t.model,
            "ratio": 0.5,
            "target_macs": None,
            "target_parameters": None,
            "target_latency": None,
            "target_latency_ms": None,
            "importance": "taylor",
            "scope": "local",
            "round_to": 1,
            "ignored_layers": [],
            "data": (t.images, t.labels),
            "loss": t.loss,
            "seed": 0,
            "dry_run": True,
        },
    )
    _add(
        compression,
        "regularize_groups",
        lambda t: {"model": t.model, "strength": 0.1, "exponent": 4.0, "ignored_layers": []},
    )
    _add(
        compression,
        "factorize",
        lambda t: {
            "model": t.model,
            "rank": 1,
            "energy": None,
            "ratio": None,
            "accuracy": None,
            "data": None,
            "layers": ["logits"],
            "method": "auto",
            "only_smaller": True,
        },
    )
    _add(
        compression,
        "binarize",
        lambda t: {
            "model": t.model,
            "layers": ["logits"],
            "method": "stochastic",
            "seed": 0,
            "sign_activations": False,
        },
    )
    _add(
        compression,
        "strip_binarization",
        lambda t: {"model": compression.binarize(t.model)[0], "real_valued": False},
    )
    _add(compression, "share_weights", lambda t: {"model": t.model, "values": 2})
    _add(
        compression,
        "strip_shared_weights",
        lambda t: {"model": compression.share_weights(t.model, 2)[0]},
    )
    _add(compression, "merge_factors", lambda t: {"model": t.model})
    _add_masks(compression)
    _add(
        compression,
        "to_separable",
        lambda t: {"model": t.model, "layers": ["stage1"], "depth_multiplier": 1},
    )
    _add(
        compression,
        "quantize_annotate_layer",
        lambda t: {"to_annotate": dense(t), "quantize_config": None},
        **usual,
    )
    _add(
        compression,
        "QuantizeAnnotate",
        lambda t: {"layer": dense(t), "quantize_config": None, "name": "a"},
        **usual,
    )
    _add(compression, "quantize_annotate_model", lambda t: {"to_annotate": t.model}, **usual)
    _add(
        compression,
        "quantize_apply",
        lambda t: {
            "model": t.compression.quantize_annotate_model(t.model),
            "scheme": t.compression.Default8BitQuantizeScheme(),
            "quantized_layer_name_prefix": "quant_",
        },
        **usual,
    )
    _add(
        compression,
        "quantize_model",
        lambda t: {
            "to_quantize": t.model,
            "quantized_layer_name_prefix": "quant_",
            "weight_bits": 8,
            "allow_float": False,
        },
        **usual,
    )
    _add(compression, "CompressionMonitor", lambda t: {})
    _add(compression, "UpdatePruningStep", lambda t: {})
    _add(
        compression, "PruningSummaries", lambda t: {"log_dir": t.new_path(), "update_freq": "epoch"}
    )
    _add(compression, "prune_scope", lambda t: {})
    _add(compression, "cluster_scope", lambda t: {})
    _add_method(
        "compression.quantize_scope",
        lambda t: lambda custom_objects: compression.quantize_scope(custom_objects),
        lambda t: {"custom_objects": {}},
    )
    _add(
        export,
        "LiteRTModel",
        lambda t: {"path": t.tflite, "threads": 1, "signature": "serving_default"},
        **usual,
    )
    _add_method(
        "export.LiteRTModel.with_signature",
        lambda t: t.runner.with_signature,
        lambda t: {"signature": "serving_default"},
        tensorflow=True,
    )
    _add_method(
        "export.LiteRTModel.predict",
        lambda t: t.runner.predict,
        lambda t: {"x": t.images},
        tensorflow=True,
    )
    _add(
        export,
        "to_litert",
        lambda t: {
            "model": t.model,
            "path": t.new_path(),
            "quantize": None,
            "representative_data": t.images,
            "labels": list("abcde"),
            "batch_size": 1,
            "samples": 4,
            "tolerance": 1e-3,
            "min_agreement": 0.5,
            "check_images": True,
            "sparse": False,
            "output_type": "classes",
            "io": "float32",
        },
        **usual,
    )


def _add_dynamic():
    labelled = {"batch_size": 4}
    _add(
        dynamic,
        "add_exits",
        lambda t: {"model": t.model, "at": ["stage1"], "heads": "pooled", "name": "exits"},
    )
    for name in ("exit_macs", "exit_parts"):
        _add(dynamic, name, lambda t: {"model": t.exits})
    _add(dynamic, "exit_model", lambda t: {"model": t.exits, "exit": 1})
    learner = {"student_loss_weight": 0.5, "distillation_loss": losses.SoftTargets()}
    _add(
        dynamic,
        "ExitLearner",
        lambda t: {
            "student": t.exits,
            "teacher": t.teacher,
            **learner,
            "exit_weights": [1.0, 1.0],
            "equal_gradients": True,
        },
    )
    _add(
        dynamic,
        "BudgetedClassifier",
        lambda t: {"model": t.exits, "confidence": "margin", "costs": [1.0, 2.0]},
    )
    _add_method(
        "dynamic.BudgetedClassifier.fit",
        lambda t: t.classifier.fit,
        lambda t: {
            "x": t.images,
            "y": t.labels,
            "budget": 1e9,
            "accuracy": None,
            "rule": "shared",
            **labelled,
        },
    )
    _add_method(
        "dynamic.BudgetedClassifier.evaluate",
        lambda t: t.classifier.evaluate,
        lambda t: {"x": t.images, "y": t.labels, **labelled},
    )
    _add_method(
        "dynamic.BudgetedClassifier.predict",
        lambda t: t.classifier.predict,
        lambda t: {"x": t.images, **labelled},
    )
    for name in ("save_thresholds", "load_thresholds"):
        _add_method(
            f"dynamic.BudgetedClassifier.{name}",
            lambda t, name=name: getattr(t.classifier, name),
            lambda t: {"path": t.thresholds},
        )
    _add_method(
        "dynamic.BudgetedClassifier.exit_within",
        lambda t: t.classifier.exit_within,
        lambda t: {"budget": 1e9},
    )
    _add(
        dynamic,
        "Controller",
        lambda t: {
            "milliseconds": [1.0, 2.0],
            "policy": dynamic.battery_policy(1.0, 2.0),
            "hysteresis": 0.1,
            "patience": 2,
            "smoothing": 0.5,
        },
    )
    _add_method(
        "dynamic.Controller.observe",
        lambda t: dynamic.Controller([1.0, 2.0]).observe,
        lambda t: {"level": 0, "milliseconds": 1.5},
    )
    _add(
        dynamic,
        "battery_policy",
        lambda t: {
            "least": 1.0,
            "most": 2.0,
            "full": 0.8,
            "empty": 0.2,
            "hot": 45.0,
            "cool": 40.0,
        },
    )
    _add(
        dynamic,
        "Slimmable",
        lambda t: {
            "model": t.model,
            "widths": (0.5, 1.0),
            "universal": True,
            "round_to": 1,
            "name": "slim",
        },
    )
    _add_method(
        "dynamic.Slimmable.calibrate",
        lambda t: t.slimmable.calibrate,
        lambda t: {"x": t.images, "batch_size": 6, "batches": 1},
    )
    _add(
        dynamic,
        "WidthLearner",
        lambda t: {
            "student": t.slimmable,
            "teacher": t.teacher,
            **learner,
            "middle_widths": 0,
            "seed": 0,
        },
    )
    _add(dynamic, "extract", lambda t: {"model": t.slimmable, "width": 0.5})
    _add(
        kdzoo.export,
        "DynamicRunner",
        lambda t: {
            "path": t.dynamic_tflite,
            "thresholds": [0.5],
            "confidence": "entropy",
            "threads": 1,
        },
        tensorflow=True,
    )
    _add_method(
        "export.DynamicRunner.predict",
        lambda t: kdzoo.export.DynamicRunner(t.dynamic_tflite).predict,
        lambda t: {"x": t.images},
        tensorflow=True,
    )


_add_losses()
_add_evaluation()
_add_data()
_add_models()
_add_zoo()
_add_training()
_add_experiments()
_add_compression()
_add_dynamic()
