"""``netinverse inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import netinverse as ni
from netinverse.cli.choices import AsJson
from netinverse.cli.reading import Model, require_file, require_picture
from netinverse.cli.telling import print_json
from netinverse.networks.summary import description


def inspect(
    model: Model,
    output: Annotated[
        str | None, typer.Option(help="The inner module whose value is the output, such as layer3.1.relu.", metavar="MODULE")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the graph as well (.png, .pdf, .svg).", metavar="PICTURE")] = None,
    as_json: AsJson = False,
) -> None:
    require_picture("inspect", plot)
    require_file(model, "MODEL")
    network = ni.lift(model, output=output)
    if plot is not None:
        plot.parent.mkdir(parents=True, exist_ok=True)
        ni.plots.structure(network).savefig(plot)
    if as_json:
        print_json(description(network))
    else:
        typer.echo(network.summary())
