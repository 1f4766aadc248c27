"""Stages that several recipes have: a network by its teacher, and the same network alone."""

from typing import Any

from kdzoo.experiments import Distill, Train, Training


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
