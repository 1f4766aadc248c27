"""Low rank: dense layers and convolutions as chains of smaller ones, and back."""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Literal

import keras
import numpy as np

from kdzoo.graph.kernel_factors import (
    KernelFactors,
    MatrixFactors,
    Rank,
    TuckerFactors,
)
from kdzoo.graph.layer_chains import (
    Chain,
    LowRankReport,
    ReplacedLayer,
    check_layers,
    count_in_kernels,
    layers_with_kernels,
    why_left,
    with_chains,
)
from kdzoo.graph.merged_factors import FACTOR, FACTORED
from kdzoo.graph.surgery import copy_of
from kdzoo.utils import (
    check_choice,
    check_flag,
    check_number,
    check_positive_integer,
    shown,
)

Method = Literal["auto", "svd", "spatial", "channel", "tucker"]

_OF_CONVOLUTIONS = ("channel", "spatial", "tucker")  # Of equal ones the first is taken.
_METHODS = ("auto", "svd", *_OF_CONVOLUTIONS)
# Of each convolution of a chain, whether it steps along the (height, width).
_STEPS = {
    "spatial": ((1, 0), (0, 1)),
    "channel": ((1, 1), (0, 0)),
    "tucker": ((0, 0), (1, 1), (0, 0)),
}
_HALVINGS = 40


def factorize(
    model: keras.Model,
    *,
    rank: int | Literal["vbmf"] | Mapping[str, int] | None = None,
    energy: float | None = None,
    ratio: float | None = None,
    layers: Collection[str] | None = None,
    method: Method = "auto",
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

    Exactly one of `rank`, `energy` and `ratio` says how much is kept.

    Args:
        model: A functional or built sequential `keras.Model`. It is not changed.
        rank: The rank of every layer, at least 1, or path -> rank of those to be replaced; the full
            rank where a layer has less. `"vbmf"` takes for each kernel the rank that empirical
            variational Bayes tells from noise.
        energy: The fraction in (0, 1] of the sum of squares of each kernel that is kept at least.
        ratio: The fraction in (0, 1) of the model's parameters that remain at most. Every kernel
            then keeps the same energy, the highest that fits.
        layers: Paths of the layers to replace (names joined by "/" through nested models); None
            for all that can be.
        method: How convolutions are split; `"svd"` leaves them. By `"auto"` each is split in the
            way that needs the fewest parameters or, at a given number for the rank, that makes the
            smallest error among those that make it smaller. Dense layers are split by all of them.
        only_smaller: Whether a layer is left whose chain would have as many parameters or more.

    Returns:
        A new model, compiled as the model was, and a `LowRankReport`.

    Raises:
        ValueError: If the model has no graph, not exactly one of `rank`, `energy` and `ratio` is
            given or one is outside its range, the ratio cannot be reached, or a layer in `layers`
            does not exist or cannot be replaced.

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
    check_choice("method", method, _METHODS)
    check_flag("only_smaller", only_smaller)
    _check_amount(rank, energy, ratio)
    left = _left(known, method)
    if isinstance(rank, Mapping):
        layers = [*rank] if layers is None else layers
    paths = check_layers(layers, known, left)
    kernels = {path: _Kernel(known[path], method) for path in paths}
    if ratio is not None:
        energy = _energy_for(ratio, model, kernels, only_smaller)
    cuts = {path: _cut(kernel, energy, rank, path) for path, kernel in kernels.items()}
    for path in known.keys() - cuts.keys() - left.keys():
        left[path] = "not among the layers that were named"
    for path, cut in list(cuts.items()):
        if only_smaller and cut.parameters >= kernels[path].size:
            left[path] = f"no smaller at rank {cut.rank}, which would need {cut.parameters:,}"
            del cuts[path]
    return _replaced(model, known, cuts, left)


@dataclasses.dataclass(frozen=True)
class _Cut:
    """A kernel's factors at a rank."""

    factors: KernelFactors
    rank: Rank

    @property
    def parameters(self) -> int:
        return self.factors.parameters(self.rank)


class _Kernel:
    """A layer's kernel, and the ways in which it may be cut."""

    def __init__(self, layer: keras.layers.Layer, method: str) -> None:
        kernel = keras.ops.convert_to_numpy(layer.kernel)
        self.size = int(kernel.size)
        methods = [method] if kernel.ndim == 4 else ["svd"]
        methods = [*_OF_CONVOLUTIONS] if methods == ["auto"] else methods
        self._ways: list[KernelFactors] = [
            TuckerFactors(kernel) if way == "tucker" else MatrixFactors(kernel, way)
            for way in methods
        ]

    def at_energy(self, energy: float) -> _Cut:
        """The fewest parameters that keep the energy."""
        cuts = [_Cut(way, way.rank_for(energy)) for way in self._ways]
        return min(cuts, key=lambda cut: cut.parameters)

    def above_noise(self) -> _Cut:
        """The fewest parameters that keep what is no noise."""
        cuts = [_Cut(way, way.rank_above_noise()) for way in self._ways]
        return min(cuts, key=lambda cut: cut.parameters)

    def at_rank(self, number: int) -> _Cut:
        """The smallest error, of what is smaller than the kernel if anything is."""
        cuts = [_Cut(way, way.rank_of(number)) for way in self._ways]
        smaller = [cut for cut in cuts if cut.parameters < self.size]
        return min(smaller or cuts, key=lambda cut: cut.factors.error(cut.rank))


def _check_amount(rank, energy, ratio):
    """Raises unless one of the three is given, and right."""
    given = {"rank": rank, "energy": energy, "ratio": ratio}
    names = [name for name, value in given.items() if value is not None]
    if len(names) != 1:
        received = " and ".join(names) or "none of them"
        raise ValueError(f"Expected one of rank, energy and ratio. Received: {received}")
    if isinstance(rank, Mapping):
        if not rank or not all(isinstance(path, str) for path in rank):
            raise ValueError(
                f"Expected rank to be a number, or path -> number. Received: rank={shown(rank)}"
            )
        for path, number in rank.items():
            check_positive_integer(f"rank of {path!r}", number)
    elif isinstance(rank, str):
        check_choice("rank", rank, ("vbmf",))
    elif rank is not None:
        check_positive_integer("rank", rank)
    if energy is not None and not check_number("energy", energy, 0, 1) > 0:
        raise ValueError("Expected energy to lie in (0, 1]. Received: energy=0")
    if ratio is not None and not 0 < check_number("ratio", ratio, 0, 1) < 1:
        raise ValueError(f"Expected ratio to lie in (0, 1). Received: ratio={shown(ratio)}")


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
    left, names = {}, {layer.name for layer in known.values()}
    for path, layer in known.items():
        reason = why_left(layer, FACTORED)
        if reason is None and FACTOR.fullmatch(layer.name):
            reason = "a factor already; `merge_factors` makes one layer of the chain"
        if reason is None and f"{layer.name}_factor_1" in names:
            reason = "the last of a chain already; `merge_factors` makes one layer of it"
        if reason is None and method == "svd" and isinstance(layer, keras.layers.Conv2D):
            reason = "a Conv2D, which the method 'svd' leaves"
        if reason is not None:
            left[path] = reason
    return left


def _energy_for(ratio, model, kernels, only_smaller):
    """The highest energy at which the model has a fraction of its parameters at most."""
    whole = model.count_params()
    others = whole - sum(kernel.size for kernel in kernels.values())

    def size(energy: float) -> int:
        return others + sum(
            min(cut, kernel.size) if only_smaller else cut
            for kernel in kernels.values()
            for cut in [kernel.at_energy(energy).parameters]
        )

    low, high = 0.0, 1.0
    if size(low) > ratio * whole:
        raise ValueError(
            f"Expected a ratio of at least {size(low) / whole:.4f}, which rank 1 of every layer "
            f"reaches. Received: ratio={ratio}"
        )
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if size(middle) <= ratio * whole else (low, middle)
    return low


def _replaced(model, known, cuts, left):
    """The new model, and its report."""
    chains = {path: _chain(known[path], cut) for path, cut in cuts.items()}
    made = with_chains(model, chains, known)
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
    return made, LowRankReport(rows, left, model.count_params(), made.count_params())


def _chain(layer: keras.layers.Layer, cut: _Cut) -> Chain:
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
