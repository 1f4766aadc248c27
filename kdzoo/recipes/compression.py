"""What is done to a trained model to make it small, as settings."""

import dataclasses
import math

from kdzoo.utils import check_choice, check_flag, check_positive_integer, shown

QUANTIZE = ("float16", "dynamic", "int8", "qat")
TWO_OF_FOUR = "2:4"


@dataclasses.dataclass(frozen=True)
class Compression:
    """What is done to a trained model, in this order: prune, cluster, quantize.

    What comes later keeps what came before: zeros stay zeros, clusters stay clusters.

    Attributes:
        prune: Share of the weights of each prunable kernel that become zero, between 0 and 1, by
            a polynomial schedule over two thirds of the training; or `"2:4"`, two zeros in every
            four weights. None for none.
        cluster: Number of values in each kernel that can be clustered. None for none.
        quantize: `"float16"`, `"dynamic"` or `"int8"`, after training, or `"qat"`: int8, trained
            aware of it. None for float32.
        taught: Whether the teacher teaches while the model is trained again.
        epochs: Of the training after each of the three steps.
        learning_rate: At its beginning; it falls to zero by a cosine.
        temperature: Of the soft targets, where a teacher teaches.
        student_loss_weight: Share of the loss on labels, where a teacher teaches.
        batch_size: Images a step.
        augment: Whether images are augmented, where an augmentation is known for the data set.
        sparse: Whether zeros are left out of the file, see `kdzoo.export.to_litert`.
    """

    prune: float | str | None = None
    cluster: int | None = None
    quantize: str | None = None
    taught: bool = False
    epochs: int = 3
    learning_rate: float = 1e-3
    temperature: float = 4.0
    student_loss_weight: float = 0.1
    batch_size: int = 128
    augment: bool = True
    sparse: bool = False

    def check(self):
        """Raises `ValueError` unless all settings are in range; one that does nothing is."""
        from kdzoo.distillation import argument_checks
        from kdzoo.export.convert import check_sparse

        for name in ("taught", "augment", "sparse"):
            check_flag(name, getattr(self, name))
        share = self.prune
        is_share = isinstance(share, float) and 0 < share < 1
        if not (share is None or is_share or (isinstance(share, str) and share == TWO_OF_FOUR)):
            raise ValueError(
                "Expected prune to be a share of the weights between 0 and 1, or '2:4'. Received: "
                f"prune={shown(share)}"
            )
        least = 3 if self.prune else 2
        if self.cluster is not None and not (
            isinstance(self.cluster, int) and self.cluster >= least
        ):
            raise ValueError(
                f"Expected cluster to be a number of values, at least {least}"
                f"{', as zero is one of them' if self.prune else ''}. Received: "
                f"cluster={shown(self.cluster)}"
            )
        if self.quantize is not None:
            check_choice("quantization", self.quantize, QUANTIZE)
        for name in ("epochs", "batch_size"):
            check_positive_integer(name, getattr(self, name))
        for name in ("learning_rate", "temperature"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 < value < math.inf:
                raise ValueError(f"Expected {name} above 0. Received: {name}={shown(value)}")
        argument_checks.check_student_loss_weight(self.student_loss_weight)
        check_sparse(self.sparse, "int8" if self.quantize == "qat" else self.quantize)

    def in_words(self):
        """Returns what it makes of a model, e.g. `"int8, trained aware of it by its teacher"`."""
        by = " by its teacher" if self.taught else ""
        parts = []
        if self.prune == TWO_OF_FOUR:
            parts.append(f"two of four weights zero, trained again{by}")
        elif self.prune is not None:
            zeros = f"{self.prune:.0%} of the weights in pruned kernels zero"
            parts.append(f"{zeros}, trained again{by}")
        if self.cluster is not None:
            parts.append(f"{self.cluster} values in each kernel, trained again{by}")
        if self.quantize == "qat":
            parts.append(f"int8, trained aware of it{by}")
        elif self.quantize is not None:
            parts.append(f"{self.quantize} after training")
        return "; ".join(parts)

    @property
    def steps(self):
        """The trainings that are made, in order: of `"prune"`, `"cluster"` and `"quantize"`."""
        asked = {
            "prune": self.prune is not None,
            "cluster": self.cluster is not None,
            "quantize": self.quantize == "qat",
        }
        return [step for step, wanted in asked.items() if wanted]
