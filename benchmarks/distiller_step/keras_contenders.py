"""The contenders of this benchmark that run on Keras: kdzoo, keras.distillation, the floor.

Each takes its steps with the compiled `train_function` that `fit` runs, fed by a `tf.data`
iterator as in `fit`, without callbacks. XLA is left to Keras, which does without it on a CPU.
"""

import time

# Before Keras: so TensorFlow uses oneDNN on every processor, for all of these contenders.
import kdzoo  # isort: skip
import keras
import shared_work as sw
import tensorflow as tf
from keras import ops


def attention_gap(teacher, student):
    """Mean squared difference of the attention maps: the channels' mean square, over its average.

    Args:
        teacher: Float tensor (batch, height, width, channels).
        student: Float tensor (batch, height, width, any number of channels).

    Returns:
        Float32 tensor (batch,).
    """
    maps = [ops.mean(ops.square(ops.cast(x, "float32")), axis=-1) for x in (teacher, student)]
    maps = [m / (ops.mean(m, axis=(1, 2), keepdims=True) + sw.EPSILON) for m in maps]
    return ops.mean(ops.square(maps[0] - maps[1]), axis=(1, 2))


class AttentionGap(kdzoo.losses.DistillationLoss):
    """`attention_gap` between two layers, as a loss of kdzoo."""

    def call(self, teacher, student, labels=None):
        return attention_gap(teacher, student)


class KerasContender(sw.Contender):
    """Builds teacher and student, the same weights in every process, and steps `self.model`."""

    def __init__(self, work):
        super().__init__(work)
        tf.config.threading.set_intra_op_parallelism_threads(sw.threads())
        tf.config.threading.set_inter_op_parallelism_threads(sw.threads())
        keras.utils.set_random_seed(work.seed)
        keras.config.set_dtype_policy(work.dtype)
        self.teacher, self.student = (_build(network) for network in sw.PAIRS[work.pair][1:])
        self.parameters = tuple(
            sum(int(ops.size(v)) for v in model.trainable_variables)
            for model in (self.teacher, self.student)
        )
        self.versions = {"keras": keras.version(), "tensorflow": tf.__version__}
        images, labels = work.data()
        self.images = tf.constant(images)
        batches = tf.data.Dataset.from_tensors((self.images, tf.constant(labels))).repeat()
        self.batches = iter(batches)
        self.evaluated = None
        self.model = self.make_model()
        self.model.compile(
            keras.optimizers.SGD(sw.LEARNING_RATE, momentum=sw.MOMENTUM),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        self.model.make_train_function()

    def make_model(self):
        """Returns the model that is trained, not yet compiled."""
        raise NotImplementedError

    def warm_up(self, steps):
        losses = []
        for _ in range(steps):
            # The logs are means over the steps since the last reset.
            self.model.reset_metrics()
            losses.append(self.step())
        return losses

    def step(self):
        return float(self.model.train_function(self.batches)["loss"])

    def time_evaluate(self, batches):
        """Returns the seconds of `evaluate` on this many batches, compiled beforehand."""
        if self.evaluated is None:
            self.evaluated = self.work.data(batches)
            self.time_evaluate(batches)
        start = time.perf_counter()
        self.model.evaluate(*self.evaluated, batch_size=self.work.batch, verbose=0)
        return time.perf_counter() - start

    def weights(self):
        """Returns (teacher's, student's) weights as `{"<layer>/<variable>": array}`."""
        return tuple(
            {
                f"{layer.name}/{variable.name}": ops.convert_to_numpy(variable)
                for layer in model.layers
                for variable in layer.variables
            }
            for model in (self.teacher, self.student)
        )


class Kdzoo(KerasContender):
    """`kdzoo.Distiller`, as it comes."""

    def make_model(self):
        losses = [kdzoo.losses.SoftTargets(sw.TEMPERATURE)]
        losses += [AttentionGap(tap, tap) for tap in sw.TAPS if self.work.taps]
        return kdzoo.Distiller(
            self.teacher, self.student, losses, student_loss_weight=sw.STUDENT_LOSS_WEIGHT
        )


class KerasDistillation(KerasContender):
    """`keras.distillation.Distiller` with losses that are right: not its default, T² · KL."""

    def make_model(self):
        distillation = keras.distillation
        losses = [distillation.LogitsDistillation(sw.TEMPERATURE, keras.losses.KLDivergence())]
        losses += [
            distillation.FeatureDistillation(attention_gap, tap, tap)
            for tap in sw.TAPS
            if self.work.taps
        ]
        return distillation.Distiller(
            self.teacher, self.student, losses, student_loss_weight=sw.STUDENT_LOSS_WEIGHT
        )


class Floor(KerasContender):
    """What no distiller can do without: the teacher's forward pass and the student's own step.

    Both with fused batch normalization, each a compiled function of its own, one after the other.
    """

    def make_model(self):
        kdzoo.fuse_batch_normalization(self.teacher)
        kdzoo.fuse_batch_normalization(self.student)
        self.run_teacher = tf.function(lambda images: self.teacher(images, training=False))
        return self.student

    def step(self):
        self.run_teacher(self.images).numpy()
        return super().step()


def _build(architecture):
    builder, arguments = architecture
    build = getattr(kdzoo.models, builder)
    return build(classes=sw.CLASSES, input_shape=sw.IMAGE_SHAPE, **arguments)
