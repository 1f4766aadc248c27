"""`kdzoo card`: the card of a pretrained model. It needs neither Keras nor TensorFlow."""

from typing import Annotated

import typer

from kdzoo.cli import completion


def card(
    name: Annotated[
        str,
        typer.Argument(
            help="A name that `kdzoo list pretrained` shows.",
            autocompletion=completion.of(completion.pretrained),
        ),
    ],
) -> None:
    """Show the card of a pretrained model, in Markdown."""
    from kdzoo.zoo.cards import card as card_of

    typer.echo(card_of(name))
