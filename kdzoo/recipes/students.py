"""What several recipes have: how they train, and a network by its teacher and alone."""

from typing import Any, Literal

from kdzoo.experiments import Distill, Train, Training

AUTO = "auto"  # Half precision where the machine gains from it.


def by_sgd(epochs: int, augmentation: Literal["default"] | dict[str, Any] = "default") -> Training:
    """Returns how most networks of the zoo are trained: by SGD, in half precision if there is it.

    Args:
        epochs: How many.
        augmentation: `"default"` for what is usual for the data set, or arguments of a
            `kdzoo.data.Augmentation`.
    """
    return Training(epochs, 0.1, 0.005, "sgd", precision=AUTO, augmentation=augmentation)


def distilled_and_alone(
    architecture: str,
    training: Training,
    arguments: dict[str, Any] | None = None,
    seeds: tuple[int, ...] | None = None,
    **teaching: Any,
) -> tuple[Distill, Train]:
    """Returns a network by soft targets at T = 4, and alone.

    Args:
        architecture: Its name, which the names of the stages begin with.
        training: How both are trained.
        arguments: Further arguments of the builder.
        seeds: Of both; those of the experiment when None.
        **teaching: Further fields of the `Distill`.
    """
    network = (architecture, training, arguments or {})
    return (
        Distill(f"{architecture}, distilled", *network, **teaching, seeds=seeds),
        Train(f"{architecture}, alone", *network, seeds=seeds),
    )
