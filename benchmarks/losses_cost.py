"""What each loss adds to a distillation step: its time over that of soft targets alone.

    python benchmarks/losses_cost.py [--json PATH] [--dtype mixed_bfloat16] [--smoke]

WRN-40-2 teaches WRN-16-2 on batches of 128 images, on the CPU. All steps are compiled first. Then
they take turns, one step at a time, round after round, so that a machine that drifts drifts for all
alike. A figure is the median of the ratios within a round. Run it on an idle machine.
"""

import statistics
import time

import command_line

LIMIT = 1.10
EXAMPLES = 50_000
STAGES = ["stage1", "stage2", "stage3"]


def losses(smoke):
    """Returns name -> function that makes the losses of a step."""
    from kdzoo import losses as kl

    negatives = 64 if smoke else 16384
    examples = 640 if smoke else EXAMPLES
    last = "features", "features"
    made = {
        "soft targets": lambda: [],
        "hint": lambda: [kl.Hint("stage2", "stage2", reduction="mean")],
        "attention, 3 stages": lambda: [kl.AttentionTransfer(STAGES, STAGES)],
        "relational distance": lambda: [kl.RelationalDistance(*last)],
        "relational angle": lambda: [kl.RelationalAngle(*last)],
        "similarity preserving": lambda: [kl.SimilarityPreserving("stage3", "stage3")],
        f"contrastive, {negatives:,} negatives": lambda: [
            kl.ContrastiveRepresentation(examples, *last, negatives=negatives)
        ],
        f"contrastive, {negatives // 16:,} negatives": lambda: [
            kl.ContrastiveRepresentation(examples, *last, negatives=negatives // 16)
        ],
    }
    return {name: lambda make=make: [kl.SoftTargets(4.0), *make()] for name, make in made.items()}


def steps(options):
    """Returns name -> function that takes one step, compiled and warm."""
    import keras
    import tensorflow as tf

    import kdzoo

    keras.config.set_dtype_policy(options.dtype)
    depth, batch = (10, 8) if options.smoke else (40, options.batch)
    teacher = kdzoo.create("wide_resnet_40_2", depth=depth, width=1 if options.smoke else 2)
    images = tf.random.uniform((batch, 32, 32, 3), seed=1)
    labels = {"label": tf.range(batch) % 10, "index": tf.range(batch)}
    made = {}
    for name, make in losses(options.smoke).items():
        student = kdzoo.create("wide_resnet_16_2", depth=10 if options.smoke else 16)
        distiller = kdzoo.Distiller(teacher, student, make())
        cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        distiller.compile(keras.optimizers.SGD(0.01, momentum=0.9), cross_entropy)
        distiller.make_train_function()
        batches = iter(tf.data.Dataset.from_tensors((images, labels)).repeat())
        made[name] = lambda d=distiller, b=batches: float(d.train_function(b)["loss"])
        for _ in range(2):
            made[name]()
    return made


def measure(made, rounds):
    """Returns name -> seconds by round; every round starts with another loss."""
    seconds, names = {name: [] for name in made}, list(made)
    for number in range(rounds):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            before = time.perf_counter()
            made[name]()
            seconds[name].append(time.perf_counter() - before)
    return seconds


def main(arguments=None):
    parser = command_line.parser(__doc__, "tiny networks, one round", rounds=12, batch=128)
    parser.add_argument("--dtype", default="float32", choices=("float32", "mixed_bfloat16"))
    options = parser.parse_args(arguments)
    seconds = measure(steps(options), 1 if options.smoke else options.rounds)
    base = seconds["soft targets"]
    rows = []
    for name, mine in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(mine, base, strict=True))
        rows.append({"loss": name, "seconds": statistics.median(mine), "ratio": ratio})
        verdict = "" if name == "soft targets" else ("met" if ratio <= LIMIT else "missed")
        print(f"{name:32} {1000 * rows[-1]['seconds']:8.1f} ms  x {ratio:.3f}  {verdict}")
    content = {"dtype": options.dtype, "batch": options.batch, "limit": LIMIT, "rows": rows}
    command_line.write(options.json, content)


if __name__ == "__main__":
    main()
