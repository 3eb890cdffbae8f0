"""The program: its commands, its exit codes, and one line on stderr for what cannot be used."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Annotated

import typer

import netinverse as ni
import netinverse.cli.pages as pages
from netinverse.cli.experiment import experiment
from netinverse.cli.inspect import inspect
from netinverse.cli.invert import invert
from netinverse.cli.study import rates, stability

INTERRUPTED = 130
HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

app = typer.Typer(
    name="netinverse", help=pages.PROGRAM, epilog=pages.EXIT_CODES, rich_markup_mode=None, pretty_exceptions_enable=False
)
studies = typer.Typer(help=pages.STUDY)
app.command(
    help=pages.INVERT, short_help="Reconstruct inputs from outputs.", epilog=pages.INVERT_EXAMPLES, context_settings=HELP
)(invert)
app.command(
    help=pages.INSPECT,
    short_help="Print the lifted structure of a network.",
    epilog=pages.INSPECT_EXAMPLES,
    context_settings=HELP,
)(inspect)
app.add_typer(studies, name="study", short_help="Error against noise, for inputs that are known.", context_settings=HELP)
app.command(
    help=pages.EXPERIMENT, short_help="Run a script of experiments/.", epilog=pages.EXPERIMENT_EXAMPLES, context_settings=HELP
)(experiment)
studies.command(
    help=pages.STABILITY, short_help="Error at every noise level.", epilog=pages.STABILITY_EXAMPLES, context_settings=HELP
)(stability)
studies.command(
    help=pages.RATES, short_help="How fast the error vanishes with the noise.", epilog=pages.RATES_EXAMPLES, context_settings=HELP
)(rates)


def print_version(asked: bool) -> None:
    if asked:
        typer.echo(ni.__version__)
        raise typer.Exit()


@app.callback(context_settings=HELP)
def about(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", is_eager=True, callback=print_version)
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is returned. Input that cannot be used ends here, in one line."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: complain(f"warning: {message}")
        try:
            code = typer.main.get_command(app).main(args=given or ["--help"], prog_name="netinverse", standalone_mode=False)
        except typer.Abort:
            code = INTERRUPTED
        except typer.TyperException as error:
            complain(error.format_message().replace("Value error, ", "").rstrip(".") + ". See --help.")
            return 2
        except (ValueError, TypeError, OSError, ImportError) as error:
            complain(str(error))
            return 2
    if code == INTERRUPTED:
        typer.echo(err=True)  # a bar may stand on the line
        complain("interrupted. What --checkpoint or the folder of a study holds is kept: the same command goes on from there.")
    return code if isinstance(code, int) else 0


def complain(message: str) -> None:
    typer.echo("netinverse: " + " ".join(message.split()), err=True)
