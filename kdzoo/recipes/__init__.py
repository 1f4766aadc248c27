"""Recipes: each reproduces a published result, or one of ours, as a graph of stages."""

from kdzoo.recipes import (
    cluster_separable_cifar10,
    digits,
    ensemble_cifar10,
    ensemble_digits,
    fashion_mnist,
    few_samples_cifar10,
    fitnet_mnist,
    hard_weight_digits,
    hinton_mnist,
    hinton_mnist_temperatures,
    hinton_mnist_transfer,
    losses_compared,
    mimic_cifar10,
    prune_2_of_4_cifar10,
    prune_separable_cifar10,
    qat_separable_cifar10,
    separable_cifar10,
    teacher_assistant_cifar10,
    teacher_sweep_cifar10,
    transfer_set_cifar10,
    zoo_cifar10,
    zoo_cifar10_compressed,
    zoo_cifar100,
    zoo_fashion_mnist,
    zoo_mnist,
)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        digits.RECIPE,
        hard_weight_digits.RECIPE,
        ensemble_digits.RECIPE,
        fashion_mnist.RECIPE,
        hinton_mnist.RECIPE,
        hinton_mnist_temperatures.RECIPE,
        hinton_mnist_transfer.WITHOUT_3,
        hinton_mnist_transfer.ONLY_7_8,
        fitnet_mnist.RECIPE,
        few_samples_cifar10.RECIPE,
        transfer_set_cifar10.RECIPE,
        ensemble_cifar10.RECIPE,
        mimic_cifar10.RECIPE,
        teacher_sweep_cifar10.RECIPE,
        teacher_assistant_cifar10.RECIPE,
        losses_compared.RECIPE,
        separable_cifar10.RECIPE,
        qat_separable_cifar10.RECIPE,
        prune_separable_cifar10.RECIPE,
        prune_2_of_4_cifar10.RECIPE,
        cluster_separable_cifar10.RECIPE,
        zoo_mnist.RECIPE,
        zoo_fashion_mnist.RECIPE,
        zoo_cifar10.RECIPE,
        *zoo_cifar10_compressed.RECIPES.values(),
        zoo_cifar100.RECIPE,
    )
}

__all__ = ["RECIPES"]
