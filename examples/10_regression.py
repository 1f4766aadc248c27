"""Regression distillation: a student that gives a number learns from a few labels and a teacher.

python examples/10_regression.py            half a minute
python examples/10_regression.py --smoke    seconds: does it run?

The quantity is Friedman's function of five of ten inputs, measured with noise for few samples. The
teacher is an ensemble; it also says what it takes the quantity for where nobody measured it.
"""

import sys

import kdzoo
import keras
import numpy as np

SMOKE = "--smoke" in sys.argv
EPOCHS = 20 if SMOKE else 100
rng = np.random.default_rng(0)


def samples(count: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns inputs (count, 10) and the quantity (count, 1), standardized."""
    x = rng.random((count, 10), "float32")
    y = 10 * np.sin(np.pi * x[:, 0] * x[:, 1]) + 20 * (x[:, 2] - 0.5) ** 2
    y = y + 10 * x[:, 3] + 5 * x[:, 4] + noise * rng.normal(size=count)
    return x, ((y - 14.4) / 4.9).astype("float32")[:, None]


def network(width: int) -> keras.Model:
    """Returns a network of two hidden layers that gives one number."""
    hidden = [keras.layers.Dense(width, "relu") for _ in range(2)]
    return keras.Sequential([keras.Input((10,)), *hidden, keras.layers.Dense(1)])


def error(model: keras.Model) -> float:
    """Returns the root of the mean square of a model's errors, over the quantity's spread."""
    difference = model.predict(x_test, batch_size=1000, verbose=0) - y_test
    return float(np.sqrt(np.mean(difference**2)) / y_test.std())


x_train, y_train = samples(300, noise=2.0)
x_unlabelled, _ = samples(4000, noise=0.0)
x_test, y_test = samples(2000, noise=0.0)

members = []
for seed in range(5):
    keras.utils.set_random_seed(seed)
    members.append(network(128))
    members[-1].compile(keras.optimizers.AdamW(2e-3, weight_decay=0.05), "mse")
    members[-1].fit(x_train, y_train, epochs=EPOCHS, verbose=0)
teacher = kdzoo.Ensemble(members, output_type="numbers")

keras.utils.set_random_seed(0)
alone, student = network(16), network(16)
alone.compile(keras.optimizers.Adam(5e-3), "mse")
alone.fit(x_train, y_train, epochs=EPOCHS, verbose=0)

# A far-off output of the teacher pulls no more than in proportion. No labels are needed.
loss = kdzoo.losses.OutputRegression("huber", delta=1.0)
distiller = kdzoo.Distiller(teacher, student, loss, student_loss_weight=0.0)
distiller.compile(keras.optimizers.Adam(5e-3))
distiller.fit(np.concatenate([x_train, x_unlabelled]), epochs=max(EPOCHS // 10, 5), verbose=0)

print(f"The teacher, {members[0].count_params() * len(members):,} weights: {error(teacher):.1%}")
print(f"The student alone, {alone.count_params():,} weights: {error(alone):.1%}")
print(f"Test error: {error(student):.1%} of the quantity's spread, distilled")
if SMOKE:
    print("--smoke shows that it runs. With so little training, the errors are large.")
