"""What is done to a trained model to make it small, as settings."""

import dataclasses
from typing import Any, Literal

from kdzoo import export
from kdzoo.distillation import argument_checks
from kdzoo.experiments.compression_in_words import in_words
from kdzoo.experiments.training_settings import Training
from kdzoo.experiments.zeros_and_values import (
    DEEP_COMPRESSION,
    SCHEMES,
    Values,
    Zeros,
    check_zeros_and_values,
)
from kdzoo.utils import (
    check_choice,
    check_flag,
    check_positive_integer,
    is_integer,
    is_number,
    shown,
)
from kdzoo.utils.compression_arguments import (
    BINARIZATIONS,
    FILTER_CRITERIA,
    FILTER_SCOPES,
    NEED_DATA,
    Binarization,
    FilterImportance,
    FilterScope,
    check_low_rank_amount,
)

QUANTIZE = ("float16", "dynamic", "int8", "qat")
SHAPING = ("filters", "low_rank", "separable")
"""The steps that change layers, which may come in any order, before those that change weights."""
FILTERS_TARGETS = ("macs", "parameters", "latency", "channels")
_AMOUNTS = dict.fromkeys(("rank", "energy", "ratio", "accuracy"))
_OF_FILTERS = {
    "filters_target": FILTERS_TARGETS,
    "filters_importance": FILTER_CRITERIA,
    "filters_scope": FILTER_SCOPES,
}


def retraining(epochs: int = 3, learning_rate: float = 1e-3, **settings: Any) -> Training:
    """Returns the configuration of a training after a step of compression.

    Args:
        epochs: How many, at least 1.
        learning_rate: At its beginning.
        **settings: Further fields of a `Training`.
    """
    return Training(epochs, learning_rate, **{"weight_decay": 0.0, **settings})


_TRAINING = retraining()
_MOST_ROUNDS = 100


@dataclasses.dataclass(frozen=True)
class Compression:
    """What is done to a trained model, in an order in which each step keeps what came before.

    First layers change: fewer filters, a low rank, separable convolutions; then weights: prune,
    cluster or make binary, quantize. Zeros stay zeros, and clusters stay clusters. After each step
    but quantization after training, the model is trained again. Filters and the zeros of a scheme
    may go in several rounds, with a training after each.

    Attributes:
        prune: Fraction of the weights of each prunable kernel that become zero, between 0 and 1,
            by a polynomial schedule over two thirds of the training; or `"2:4"`, two zeros in
            every four weights. None for none.
        cluster: Number of values in each kernel that can be clustered. None for none.
        quantize: `"float16"`, `"dynamic"` or `"int8"`, after training, or `"qat"`: int8, trained
            aware of it. None for float32.
        training: The training after each step that needs one, in float32.
        temperature: Of the soft targets, where a teacher teaches meanwhile.
        student_loss_weight: Weight of the loss on labels, where a teacher teaches.
        sparse: Whether zeros are left out of the file, see `kdzoo.export.to_litert`.
        filters: Fraction of what `filters_target` names that is left when the least important
            filters and neurons are gone (`compression.prune_filters`), between 0 and 1. None for
            all.
        low_rank: Fraction of the parameters that is left when layers are chains of a low rank
            (`compression.factorize`), between 0 and 1; or a dictionary, path of a layer -> its
            rank, other layers then stay as they are. None for none.
        separable: Whether convolutions become depthwise-separable (`compression.to_separable`).
        binary: `"deterministic"`, `"stochastic"` or `"xnor"`: how weights become binary
            (`compression.binarize`). None for none. Zeros, clusters and qat do not go with it.
        order: The order of those of `"filters"`, `"low_rank"` and `"separable"` that are made, if
            another than this.
        weight_bits: Bits of the kernels with `"qat"`: 8, or 4, as in
            `kdzoo.compression.quantize_model`. After pruning or clustering they are 8.
        scheme: `"deep_compression"`: zeros and shared values by `kdzoo.schemes.deep_compression`,
            `prune` the fraction of zeros and `cluster` the number of other values in each kernel, a
            power of 2 up to 256; either may be a dictionary, path of a layer -> its number, and
            other layers then have none. Not beside `low_rank` and `separable`, which make new
            layers first; and with `"qat"`, `cluster` has to name all that can be clustered.
            `"lottery_ticket"`: zeros by `kdzoo.schemes.lottery_ticket` without controls; after each
            round the weights that are left go back to those with which the step began, an
            initialization only if the model that is given has just been made. None for zeros by
            TF-MOT's schedule.
        rounds: In how many rounds filters, and the zeros of a scheme, go, from 1 to 100. None for
            one round of filters, and three of a scheme.
        filters_target: What `filters` is a fraction of: `"macs"`, `"parameters"`, `"latency"` in
            LiteRT, measured on this machine, or `"channels"`. None for MACs; this and the next two
            go with `filters` only.
        filters_importance: The criterion, a name that `compression.prune_filters` takes as
            `importance`; `"apoz"` and `"taylor"` look at 512 of the training images. None for
            `"group_l2"`.
        filters_scope: `"global"`: the filters that count least in the whole network go; `"local"`:
            the same fraction of every group. None for the former.
    """

    prune: Zeros = None
    cluster: Values = None
    quantize: Literal["float16", "dynamic", "int8", "qat"] | None = None
    training: Training = _TRAINING
    temperature: float = 4.0
    student_loss_weight: float = 0.1
    sparse: bool = False
    filters: float | None = None
    low_rank: float | dict[str, int] | None = None
    separable: bool = False
    binary: Binarization | None = None
    order: tuple[str, ...] = ()
    weight_bits: Literal[4, 8] = dataclasses.field(default=8, kw_only=True)
    scheme: Literal["deep_compression", "lottery_ticket"] | None = dataclasses.field(
        default=None, kw_only=True
    )
    rounds: int | None = dataclasses.field(default=None, kw_only=True)
    # What is meant by None is the same compression where it is given.
    filters_target: Literal["macs", "parameters", "latency", "channels"] | None = dataclasses.field(
        default=None, kw_only=True, metadata={"said_as": {"macs": None}}
    )
    filters_importance: FilterImportance | None = dataclasses.field(
        default=None, kw_only=True, metadata={"said_as": {"group_l2": None}}
    )
    filters_scope: FilterScope | None = dataclasses.field(
        default=None, kw_only=True, metadata={"said_as": {"global": None}}
    )

    def check(self) -> None:
        """Raises `ValueError` unless all settings are in range; one that does nothing is."""
        check_flag("sparse", self.sparse)
        if self.scheme is not None:
            check_choice("scheme", self.scheme, SCHEMES)
        self._check_shaping()
        has_new_layers = self.low_rank is not None or bool(self.separable)
        check_zeros_and_values(self.prune, self.cluster, self.scheme, has_new_layers)
        if self.quantize is not None:
            check_choice("quantization", self.quantize, QUANTIZE)
        self._check_weight_bits()
        self._check_rounds()
        if not isinstance(self.training, Training):
            raise ValueError(f"Expected a Training. Received: training={shown(self.training)}")
        self.training.check()
        if self.training.precision != "float32":
            raise ValueError(
                "Expected a training in float32, as TF-MOT computes. Received: "
                f"precision={self.training.precision!r}"
            )
        if not is_number(self.temperature) or not 0 < self.temperature < float("inf"):
            raise ValueError(
                f"Expected temperature above 0. Received: temperature={shown(self.temperature)}"
            )
        argument_checks.check_student_loss_weight(self.student_loss_weight)
        export.convert.check_sparse(self.sparse, self.quantize_file)

    def _check_shaping(self) -> None:
        """Raises `ValueError` unless layers can be changed so, and weights be binary."""
        for name in ("filters", "low_rank"):
            value = getattr(self, name)
            if name == "low_rank" and isinstance(value, dict):
                check_low_rank_amount({**_AMOUNTS, "rank": value})
            elif value is not None and not (is_number(value) and 0 < value < 1):
                raise ValueError(
                    f"Expected {name} to be the fraction that is left, between 0 and 1. Received: "
                    f"{name}={shown(value)}"
                )
        check_flag("separable", self.separable)
        if self.binary is not None:
            check_choice("binary", self.binary, BINARIZATIONS)
            for name in ("prune", "cluster", "quantize"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        "Expected binary weights alone, or after steps that change layers, as "
                        "signs have no zeros, clusters or other types. Received: "
                        f"binary={self.binary!r} with {name}={shown(getattr(self, name))}"
                    )
        is_order = isinstance(self.order, tuple | list) and all(
            isinstance(name, str) for name in self.order
        )
        if not is_order or (self.order and sorted(self.order) != sorted(self._shaping)):
            raise ValueError(
                "Expected order as those steps that change layers and are made, each once: "
                f"{', '.join(self._shaping) or 'none of them'}. Received: order={shown(self.order)}"
            )

    @property
    def _shaping(self) -> list[str]:
        """The steps that change layers and are made, in their usual order."""
        wanted = {name: getattr(self, name) for name in SHAPING}
        return [name for name, value in wanted.items() if value is not None and value is not False]

    def _check_weight_bits(self) -> None:
        if not is_integer(self.weight_bits) or self.weight_bits not in (4, 8):
            raise ValueError(
                f"Expected weight_bits of 4 or 8. Received: weight_bits={shown(self.weight_bits)}"
            )
        is_alone = self.prune is None and self.cluster is None
        if self.weight_bits == 4 and not (self.quantize == "qat" and is_alone):
            raise ValueError(
                "Expected weight_bits=4 with quantize='qat', without prune and cluster. Received: "
                f"quantize={shown(self.quantize)}, prune={shown(self.prune)}, "
                f"cluster={shown(self.cluster)}"
            )

    def _check_rounds(self) -> None:
        """Raises `ValueError` unless there are filters that go so, and there is what has rounds."""
        for name, known in _OF_FILTERS.items():
            value = getattr(self, name)
            if value is None:
                continue
            check_choice(name, value, known)
            if self.filters is None:
                raise ValueError(
                    f"Expected filters, the fraction that is left, beside {name}. Received: "
                    f"{name}={value!r} alone"
                )
        if self.rounds is not None:
            check_positive_integer("rounds", self.rounds, _MOST_ROUNDS)
            if self.filters is None and self.scheme is None:
                raise ValueError(
                    "Expected filters or a scheme beside rounds, as all else is done at once. "
                    f"Received: rounds={self.rounds} alone"
                )

    @property
    def quantize_file(self) -> Literal["float16", "dynamic", "int8"] | None:
        """How the file is quantized, as `kdzoo.export.to_litert` takes it."""
        return "int8" if self.quantize == "qat" else self.quantize

    def in_words(self, taught: bool = False) -> str:
        """Returns what it makes of a model, e.g. `"int8, trained aware of it by its teacher"`.

        Args:
            taught: Whether a teacher teaches meanwhile.
        """
        return in_words(self, taught)

    @property
    def steps(self) -> list[str]:
        """The steps with trainings, in order, by the names of settings, or of the scheme."""
        trained = {
            **{scheme: self.scheme == scheme for scheme in SCHEMES},
            "prune": self.prune is not None and self.scheme is None,
            "cluster": self.cluster is not None and self.scheme != DEEP_COMPRESSION,
            "binary": self.binary is not None,
            "quantize": self.quantize == "qat",
        }
        shaping = list(self.order or self._shaping)
        return [*shaping, *(step for step, wanted in trained.items() if wanted)]

    @property
    def target_of_filters(self) -> dict[str, float]:
        """The target as `kdzoo.compression.prune_filters` takes it; none without `filters`."""
        if self.filters is None:
            return {}
        is_of_channels = self.filters_target == "channels"  # Of which the ratio is what goes.
        name = "ratio" if is_of_channels else f"target_{self.filters_target or 'macs'}"
        return {name: 1 - self.filters if is_of_channels else self.filters}

    @property
    def choice_of_filters(self) -> dict[str, Any]:
        """By what filters are chosen, as `kdzoo.compression.prune_filters` takes it."""
        return {
            "importance": self.filters_importance or "group_l2",
            "scope": self.filters_scope or "global",
        }

    @property
    def filters_need_data(self) -> bool:
        """Whether the criterion of filters looks at samples."""
        return self.filters_importance in NEED_DATA

    @property
    def trainings(self) -> dict[str, int]:
        """Step -> how many trainings it makes: a scheme one more than it has rounds."""
        return {step: self._rounds(step) + (step in SCHEMES) for step in self.steps}

    def _rounds(self, step: str) -> int:
        usual = {"filters": 1, **dict.fromkeys(SCHEMES, 3)}
        return usual.get(step, 1) if self.rounds is None or step not in usual else self.rounds
