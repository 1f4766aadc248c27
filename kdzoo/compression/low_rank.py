"""Low rank: dense layers and convolutions as chains of smaller ones, and back."""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any, Literal

import keras
import numpy as np

from kdzoo.evaluation.accuracy import accuracy as accuracy_of
from kdzoo.graph.kernel_cuts import Cut, KernelCuts, energy_for
from kdzoo.graph.layer_chains import (
    Chain,
    LowRankReport,
    RankTrial,
    ReplacedLayer,
    check_layers,
    count_in_kernels,
    layers_with_kernels,
    left_with_reasons,
    why_left,
    with_chains,
)
from kdzoo.graph.merged_factors import FACTOR, FACTORED
from kdzoo.graph.surgery import copy_of
from kdzoo.utils import (
    check_choice,
    check_flag,
    shown,
)
from kdzoo.utils.compression_arguments import (
    LOW_RANK_METHODS,
    LowRankMethod,
    check_low_rank_amount,
)

# Of each convolution of a chain, whether it steps along the (height, width).
_STEPS = {
    "spatial": ((1, 0), (0, 1)),
    "channel": ((1, 1), (0, 0)),
    "tucker": ((0, 0), (1, 1), (0, 0)),
}
_SIZES = 8  # That are tried for an accuracy, after the largest.


def factorize(
    model: keras.Model,
    *,
    rank: int | Literal["vbmf"] | Mapping[str, int] | None = None,
    energy: float | None = None,
    ratio: float | None = None,
    accuracy: float | None = None,
    data: Any = None,
    layers: Collection[str] | None = None,
    method: LowRankMethod = "auto",
    only_smaller: bool = True,
) -> tuple[keras.Model, LowRankReport]:
    """Replaces dense layers and convolutions by chains of smaller ones of a low rank.

    A `Dense` layer becomes two, by the truncated singular value decomposition of its kernel: of M
    inputs and N outputs, (M + N) · rank numbers remain of M · N. A `Conv2D` becomes

    - `"spatial"`: a convolution of height × 1 to `rank` channels, then one of 1 × width;
    - `"channel"`: one of height × width to `rank` channels, then one of 1 × 1;
    - `"tucker"`: 1 × 1 to fewer channels, height × width between fewer, 1 × 1 to the outputs.

    The last of a chain keeps the name, the bias and the activation of the layer; those before it
    are called NAME_factor_1 and so on. Strides, padding, dilation and types are kept. Kernels are
    approximated without data; train the new model on, with the old one as its teacher.

    Each factor gets the layer's `kernel_regularizer`, which then acts on the factors and no longer
    on their product: L2 of two factors is another loss than L2 of the kernel, often a smaller one.
    To train on with another, or with none, set `kernel_regularizer` of the new layers before
    `compile`; weight decay of an optimizer acts on the factors, too.

    Exactly one of `rank`, `energy`, `ratio` and `accuracy` says how much is kept.

    Args:
        model: A functional or built sequential `keras.Model`. It is not changed.
        rank: The rank of every layer, at least 1, or path -> rank of those to be replaced; the full
            rank where a layer has less. `"vbmf"` takes for each kernel the rank that empirical
            variational Bayes tells from noise.
        energy: The fraction in (0, 1] of the sum of squares of each kernel that is kept at least.
        ratio: The fraction in (0, 1) of the model's parameters that remain at most. Every kernel
            then keeps the same energy, the highest that fits.
        accuracy: The accuracy in (0, 1] on `data` that the new model has at least, without any
            training. Up to nine sizes are tried by bisection, of each the highest energy that fits,
            and the smallest that is accurate enough is taken; the report says what was tried.
        data: With `accuracy` alone: `(x, y)`, or batches of them that can be read again and again,
            of samples that neither the training nor the test has. It is measured as by
            `kdzoo.evaluation.accuracy`.
        layers: Paths of the layers to replace (names joined by "/" through nested models); None
            for all that can be.
        method: How convolutions are split; `"svd"` leaves them. By `"auto"` each is split in the
            way that needs the fewest parameters or, at a given number for the rank, that makes the
            smallest error among those that make it smaller. Dense layers are split by all of them.
        only_smaller: Whether a layer is left whose chain would have as many parameters or more.

    Returns:
        A new model, compiled as the model was, and a `LowRankReport`.

    Raises:
        ValueError: If the model has no graph, not exactly one of `rank`, `energy`, `ratio` and
            `accuracy` is given or one is outside its range, the ratio or the accuracy cannot be
            reached, data are missing or too many, or a layer in `layers` does not exist or cannot
            be replaced.

    Example:

    ```python
    smaller, report = kdzoo.compression.factorize(model, ratio=0.25)
    print(report)
    distiller = kdzoo.Distiller(model, smaller, kdzoo.losses.SoftTargets(4.0))
    ...
    again = kdzoo.compression.merge_factors(smaller)
    ```

    References: Denton et al., 2014, arXiv:1404.0736; Jaderberg et al., 2014, arXiv:1405.3866,
    scheme 2; Zhang et al., 2015, arXiv:1505.06798, without its fit to responses; Kim et al., 2016,
    arXiv:1511.06530, Tucker-2 at ranks by variational Bayes.
    """
    known = layers_with_kernels(model)
    check_choice("method", method, LOW_RANK_METHODS)
    check_flag("only_smaller", only_smaller)
    check_low_rank_amount({"rank": rank, "energy": energy, "ratio": ratio, "accuracy": accuracy})
    if (data is None) != (accuracy is None):
        raise ValueError(
            "Expected data with accuracy, and only then. Received: "
            f"accuracy={shown(accuracy)}, data={shown(data)}"
        )
    left = _left(known, method)
    if isinstance(rank, Mapping):
        layers = [*rank] if layers is None else layers
    paths = check_layers(layers, known, left)
    left = left_with_reasons(known, left, paths)
    kernels = {path: KernelCuts(known[path], method) for path in paths}
    work = _Factorization(model, known, left, kernels, only_smaller)
    if accuracy is not None:
        return work.at_accuracy(accuracy, data)
    if ratio is not None:
        energy = work.energy_at_ratio(ratio)
    return work.at({path: _cut(kernel, energy, rank, path) for path, kernel in kernels.items()})


def _cut(kernel, energy, rank, path):
    """Where a kernel is cut."""
    if energy is not None:
        return kernel.at_energy(energy)
    if isinstance(rank, str):
        return kernel.above_noise()
    if isinstance(rank, Mapping) and path not in rank:
        raise ValueError(f"Expected a rank for each of the layers. Received: none for {path!r}")
    return kernel.at_rank(int(rank[path] if isinstance(rank, Mapping) else rank))


def _left(known: Mapping[str, keras.layers.Layer], method: str) -> dict[str, str]:
    """Path -> reason of the layers that cannot be replaced."""
    left, lasts = {}, {named[1] for path in known if (named := FACTOR.fullmatch(path))}
    for path, layer in known.items():
        reason = why_left(layer, FACTORED)
        if reason is None and FACTOR.fullmatch(path):
            reason = "a factor already; `merge_factors` makes one layer of the chain"
        if reason is None and path in lasts:
            reason = "the last of a chain already; `merge_factors` makes one layer of it"
        if reason is None and method == "svd" and isinstance(layer, keras.layers.Conv2D):
            reason = "a Conv2D, which the method 'svd' leaves"
        if reason is not None:
            left[path] = reason
    return left


@dataclasses.dataclass(frozen=True)
class _Factorization:
    """A model, its kernels, and what can be made of them."""

    model: keras.Model
    known: Mapping[str, keras.layers.Layer]
    left: Mapping[str, str]
    kernels: Mapping[str, KernelCuts]
    only_smaller: bool

    def size(self, energy: float) -> int:
        """The numbers in all weights, where every kernel keeps an energy."""
        kernels = self.kernels.values()
        cuts = [(kernel.at_energy(energy).parameters, kernel.size) for kernel in kernels]
        others = self.model.count_params() - sum(kernel.size for kernel in kernels)
        return others + sum(min(pair) if self.only_smaller else pair[0] for pair in cuts)

    def at_energy(self, energy: float) -> tuple[keras.Model, LowRankReport]:
        """The model whose kernels keep an energy, and its report."""
        return self.at({path: kernel.at_energy(energy) for path, kernel in self.kernels.items()})

    def energy_at_ratio(self, ratio: float) -> float:
        """The highest energy at which the model has a fraction of its parameters at most."""
        whole, smallest = self.model.count_params(), self.size(0)
        if smallest > ratio * whole:
            raise ValueError(
                f"Expected a ratio of at least {smallest / whole:.4f}, which rank 1 of every layer "
                f"reaches. Received: ratio={ratio}"
            )
        return energy_for(self.size, ratio * whole)

    def at_accuracy(self, wanted: float, data: Any) -> tuple[keras.Model, LowRankReport]:
        """The smallest model that was tried and is accurate enough, and its report."""
        tried: list[RankTrial] = []

        def reached(energy: float, made: keras.Model) -> bool:
            tried.append(RankTrial(energy, made.count_params(), accuracy_of(made, data)))
            return tried[-1].accuracy >= wanted

        best, report = self.at_energy(1.0)
        if not reached(1.0, best):
            raise ValueError(
                "Expected an accuracy that the model has on the data, at most "
                f"{tried[0].accuracy:.4f}. Received: accuracy={wanted}"
            )
        failed, low, high = 0, float(self.size(0)), float(report.parameters_after)
        for _ in range(_SIZES):
            middle = (low + high) / 2
            energy = energy_for(self.size, middle)
            if not failed < self.size(energy) < high:  # Ranks are whole: there is no such size.
                low = middle
                continue
            made, of_made = self.at_energy(energy)
            if reached(energy, made):
                best, report, high = made, of_made, float(of_made.parameters_after)
            else:
                failed, low = of_made.parameters_after, middle
        return best, dataclasses.replace(report, tried=tuple(tried))

    def at(self, cuts: Mapping[str, Cut]) -> tuple[keras.Model, LowRankReport]:
        """The new model, and its report."""
        left, known = dict(self.left), self.known
        for path, cut in cuts.items():
            if self.only_smaller and cut.parameters >= self.kernels[path].size:
                left[path] = f"no smaller at rank {cut.rank}, which would need {cut.parameters:,}"
        cuts = {path: cut for path, cut in cuts.items() if path not in left}
        chains = {path: _chain(known[path], cut) for path, cut in cuts.items()}
        made = with_chains(self.model, chains, known)
        rows = tuple(
            ReplacedLayer(
                path,
                cut.factors.method,
                cut.rank,
                count_in_kernels([known[path]]),
                cut.parameters,
                count_in_kernels([layer for layer, _ in chains[path]]),
                cut.factors.error(cut.rank),
            )
            for path, cut in cuts.items()
        )
        left = {path: left[path] for path in known if path in left}
        return made, LowRankReport(rows, left, self.model.count_params(), made.count_params())


def _chain(layer: keras.layers.Layer, cut: Cut) -> Chain:
    """New layers in the place of one, and their weights."""
    old, *bias = layer.get_weights()
    kernels = [kernel.astype(old.dtype) for kernel in cut.factors.kernels(cut.rank)]
    settings = [_settings(layer, cut.factors.method, n, k) for n, k in enumerate(kernels)]
    plain = {"use_bias": False, "activation": "linear", "activity_regularizer": None}
    *firsts, last = settings
    chain: list[tuple[keras.layers.Layer, list[np.ndarray]]] = [
        (copy_of(layer, **changes, **plain, name=f"{layer.name}_factor_{number + 1}"), [kernel])
        for number, (changes, kernel) in enumerate(zip(firsts, kernels, strict=False))
    ]
    return [*chain, (copy_of(layer, **last), [kernels[-1], *bias])]


def _settings(layer, method, number, kernel):
    """What the configuration of a factor says of its kernel."""
    if kernel.ndim == 2:
        return {"units": kernel.shape[-1]}
    steps = _STEPS[method][number]

    def along(values: tuple[int, int]) -> tuple[int, ...]:
        return tuple(value if here else 1 for value, here in zip(values, steps, strict=True))

    return {
        "filters": kernel.shape[-1],
        "kernel_size": kernel.shape[:2],
        "strides": along(layer.strides),
        "dilation_rate": along(layer.dilation_rate),
    }
