"""How a recipe trains one model: its batches, its optimizer, alone, distilled or in stages."""

import keras
import numpy as np

from kdzoo.graph import taps
from kdzoo.zoo import load

RECORD = "recorded_teacher"  # Directory within a recipe's, where it asks a teacher once.


class Fitting:
    """The training of one model of a recipe.

    Args:
        recipe: The `Comparison`.
        kind: `"teacher"` or a key of `recipe.kinds`.
        seed: Of weights, order and augmentation.
        data: The `kdzoo.data.Dataset`.
        teacher: The trained teacher; None while it is itself trained.
    """

    def __init__(self, recipe, kind, seed, data, teacher):
        self.recipe, self.kind, self.seed = recipe, kind, seed
        self.data, self.teacher = data, teacher
        self.student = recipe.kinds.get(kind)
        self.epochs = recipe.epochs_of(kind)

    def run(self, home, options):
        """Trains the model, or goes on with it where a killed run stopped.

        Args:
            home: Directory of its checkpoints.
            options: Further arguments of `kdzoo.schemes.train`: settings, callbacks, verbose.

        Returns:
            The model, in float32, and its history: an empty one of a teacher that is pretrained.
        """
        if self.student is None and self.recipe.pretrained_teacher:
            return self._copy(self.kind, load(self.recipe.teacher), "float32"), {}
        self.home = home.parent
        keras.utils.set_random_seed(self.seed)
        model = self.recipe.create(self.kind, self.data, self.recipe.precision_of(self.kind))
        validation = self.data.validation and self.data.validation.batches(500)
        options = {**options, "validation_data": validation}
        in_stages = self.student is not None and self.student.hints
        train = self._train_in_stages if in_stages else self._train
        history = train(model, home, options)
        # Not compiled: whoever loads it needs nothing but Keras.
        return self._copy(self.kind, model, "float32"), history

    def _copy(self, kind, model, precision):
        copy = self.recipe.create(kind, self.data, precision)
        copy.set_weights(model.get_weights())
        return copy

    def check(self):
        """Raises `ValueError` if a student cannot learn from its teacher; nothing is trained."""
        import kdzoo

        model = self.recipe.create(self.kind, self.data)
        if self.student.losses:
            self._distiller(model, self.teacher)
        if self.student.hints:
            hint_layer, guided_layer, _ = self.student.hints
            parts = taps.cut(self.teacher, hint_layer), taps.cut(model, guided_layer)
            kdzoo.Distiller(*parts, kdzoo.losses.Hint(), student_loss_weight=0.0)

    def optimizer(self, epochs):
        """Returns a fresh optimizer, whose learning rate falls over so many epochs."""
        name, highest, decay = self.recipe.optimizer_of(self.kind)
        steps = -(-len(self.data.train) // self.recipe.batch_size) * epochs
        cosine = keras.optimizers.schedules.CosineDecay
        if name == "sgd":
            rise = max(1, steps // 10)
            rate = cosine(0.0, max(1, steps - rise), warmup_target=highest, warmup_steps=rise)
            return keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=decay)
        return keras.optimizers.AdamW(cosine(highest, steps), weight_decay=decay)

    def _train(self, model, home, options):
        """Trains a model by itself or, if it learns from the teacher, in a Distiller."""
        import kdzoo
        from kdzoo.schemes import train

        trained = model
        if self.student and self.student.losses:
            asked_before = self._answers_once() or self.recipe.views
            asked = None if asked_before else self._teacher_beside_the_student()
            trained = self._distiller(model, asked)
            options = {**options, "callbacks": [*self._annealing(), *options["callbacks"]]}
        else:
            kdzoo.accelerate(model)
        trained.compile(self.optimizer(self.epochs), _cross_entropy(), metrics=["accuracy"])
        return train(trained, self._batches(), self.epochs, home, **options)

    def _train_in_stages(self, model, home, options):
        """Trains a model in FitNets' two stages."""
        from kdzoo.schemes import hint_training

        student = self.student
        hint_layer, guided_layer, hint_epochs = student.hints
        _, history = hint_training(
            self._teacher_beside_the_student(),
            model,
            hint_layer,
            guided_layer,
            self._batches(),
            home,
            hint_epochs=hint_epochs,
            epochs=self.epochs,
            loss=_cross_entropy(),
            soft_targets=student.make_losses()[0][0],
            student_loss_weight=self._share(),
            teacher_weight=student.teacher_weight or (student.losses[0][2],) * 2,
            hint_optimizer=self.optimizer(hint_epochs),
            optimizer=self.optimizer(self.epochs),
            metrics=["accuracy"],
            **options,
        )
        return history

    def _distiller(self, model, teacher):
        import kdzoo

        losses, weights = self.student.make_losses(self._labels())
        return kdzoo.Distiller(teacher, model, losses, weights, self._share())

    def _teacher_beside_the_student(self):
        """The teacher in the precision for training, as it is asked at every step."""
        precision = self.recipe.precision_of("teacher")
        if self.teacher.dtype_policy.name == precision:
            return self.teacher
        return self._copy("teacher", self.teacher, precision)

    def _labels(self):
        """The labels of the training images, if a loss wants them."""
        train = self.data.train
        if not self.student.needs_indices:
            return None
        return train.labels if train.indices is None else train.labels[train.indices]

    def _share(self):
        own = self.student.student_loss_weight
        return self.recipe.student_loss_weight if own is None else own

    def _annealing(self):
        """The callback that lets the weight of the first loss fall, in a list, if it is to."""
        from kdzoo.training.callbacks import Anneal, linear

        if self.student.teacher_weight is None:
            return []
        name = self.student.make_losses()[0][0].name
        schedule = linear(*self.student.teacher_weight, epochs=self.epochs)
        return [Anneal("distillation_loss_weight", schedule, name)]

    def _answers_once(self):
        """Whether the teacher is asked once for all epochs: where the images stay as they are."""
        return not (self.recipe.augment_student or self.student.hints)

    def _batches(self):
        """Returns a function from the first epoch to the batches from there on."""
        from kdzoo.data import Augmentation

        if self.student and self.student.losses and not self.student.hints and self.recipe.views:
            return self._recorded_batches()
        options = {"seed": self.seed}
        if self.student is None or self.recipe.augment_student:
            options["augmentation"] = usual_augmentation(self.data.name)
        if self.student is None and self.recipe.teacher_augmentation is not None:
            options["augmentation"] = Augmentation(**self.recipe.teacher_augmentation)
        if self.student and self.student.needs_indices:
            options["indices"] = True
        if self.student and self.student.losses and self._answers_once():
            images = self.data.train.arrays()[0]
            options["teacher_outputs"] = record(self.teacher, images, self.student.teacher_layers)
        return lambda epoch: self.data.train.batches(
            self.recipe.batch_size, shuffle=True, initial_epoch=epoch, **options
        )

    def recorded(self, directory, epochs=None):
        """Returns the training images with the answers that the teacher gave to augmented views.

        Args:
            directory: The recipe's, where they are kept; what is missing is asked first.
            epochs: For how many epochs they are; of fewer than there are views in the recipe, no
                more views are asked about than they see, one each. None for all views.

        Returns:
            A `kdzoo.data.RecordedSplit`.
        """
        from kdzoo.data import record_teacher, with_recorded_teacher

        layers, augmentation = self.student.teacher_layers, usual_augmentation(self.data.name)
        # A record of its own for each set of layers: a student of logits alone reads no more.
        home = directory / "-".join((RECORD, *(layer.replace("/", "_") for layer in layers)))
        views = self.recipe.views if augmentation else 1
        if epochs is not None:
            views = min(views, max(epochs, _views_in(home)))
        record_teacher(
            self._teacher_beside_the_student(),
            self.data.train,
            home,
            views,
            layers=layers,
            augmentation=augmentation,
        )
        return with_recorded_teacher(self.data.train, home)

    def _recorded_batches(self):
        """As `_batches`, with those answers."""
        recorded = self.recorded(self.home)
        options = {"seed": self.seed, "indices": self.student.needs_indices}
        return lambda epoch: recorded.batches(
            self.recipe.batch_size, shuffle=True, initial_epoch=epoch, **options
        )


def _views_in(record):
    """How many views a record is of; 0 where there is none yet."""
    from kdzoo.teacher_cache.record_index import INDEX, read_index

    index = record / INDEX
    return read_index(index)["views"] if index.exists() else 0


def record(teacher, images, layers=(), batch_size=500):
    """Returns the teacher's answers to all images, in memory.

    Args:
        teacher: A `keras.Model` that gives logits.
        images: Array (n, height, width, channels).
        layers: Paths of the layers whose outputs are wanted too.
        batch_size: How many images the teacher is asked about at a time.

    Returns:
        The logits, float32 (n, classes); if layers are wanted, a dictionary of them under
        `"logits"` and, by its path, each layer's output in float16, half the memory.
    """
    answers = None
    for at in range(0, len(images), batch_size):
        with taps.tapping(teacher, layers) as tapped:
            logits = teacher(images[at : at + batch_size], training=False)
        logits = keras.ops.convert_to_numpy(logits)
        part = {path: keras.ops.convert_to_numpy(each) for path, each in tapped.items()}
        part = {"logits": logits, **{path: _halved(path, each) for path, each in part.items()}}
        if answers is None:
            answers = {
                name: np.empty((len(images), *each.shape[1:]), each.dtype)
                for name, each in part.items()
            }
        for name, each in part.items():
            answers[name][at : at + batch_size] = each
    return answers if layers else answers["logits"]


def _halved(path, values):
    """Values in float16, or an error if they are too large for it."""
    with np.errstate(over="ignore"):
        halved = values.astype("float16")
    if not np.isfinite(halved).all():
        raise ValueError(
            "Expected outputs of the teacher that float16 can hold, up to 65504. Received: "
            f"{np.abs(values).max():.6g} from its layer {path!r}"
        )
    return halved


def usual_augmentation(name):
    """What `batches` takes: "default" where the data set has one, None where none is known."""
    from kdzoo.data.augmentation import DEFAULTS

    return "default" if name.partition("/")[0].partition(":")[0] in DEFAULTS else None


def _cross_entropy():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
