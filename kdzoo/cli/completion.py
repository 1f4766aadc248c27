"""What a shell completes in the place of names; found without Keras."""

from collections.abc import Callable, Iterable


def of(known: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """Returns what Typer asks for the names that begin in a way.

    Args:
        known: Returns all names.
    """

    def complete(incomplete: str) -> list[str]:
        return sorted(name for name in known() if name.startswith(incomplete))

    return complete


def models() -> Iterable[str]:
    """Returns the names of architectures."""
    from kdzoo.zoo import list_models

    return list_models()


def pretrained() -> Iterable[str]:
    """Returns the names of pretrained models."""
    from kdzoo.zoo import list_pretrained

    return list_pretrained()


def criteria() -> Iterable[str]:
    """Returns the names of criteria by which filters are chosen."""
    from kdzoo.utils.compression_arguments import FILTER_CRITERIA

    return FILTER_CRITERIA


def scopes() -> Iterable[str]:
    """Returns within what filters are compared."""
    from kdzoo.utils.compression_arguments import FILTER_SCOPES

    return FILTER_SCOPES


def pairs() -> Iterable[str]:
    """Returns the names of pairs."""
    from kdzoo.zoo import list_pairs

    return list_pairs()
