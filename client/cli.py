"""The command `earshot`. Each command imports what it needs when it runs, so that `--help` is fast."""

import asyncio
import sys
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from earshot_asr.client import output
from earshot_asr.client.commands import evaluate, mic, models, serve, stream, transcribe
from earshot_asr.client.options import INTERRUPTED_EXIT_STATUS, Device, DeviceOption, Stability, StabilityOption
from earshot_asr.engine.errors import EarshotError

WITHOUT_OUTPUT = ("serve", "train")
"""Commands whose work is not for standard output, which may be closed."""

app = typer.Typer(
    name="earshot",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Try it: [bold]earshot demo[/]. Help for a command: [bold]earshot stream --help[/].",
)


def main() -> None:
    """Runs the command line.

    Prints errors that the user can fix as one line on standard error and exits with status 1; wrong usage exits with 2.
    """
    with output.guarded():
        try:
            try:
                app(prog_name="earshot")
            finally:
                sys.stdout.flush()
        except EarshotError as e:
            _fail(str(e))
        except OSError as e:  # rare: those that can be expected are EarshotErrors
            _fail(f"{e.filename}: {e.strerror}" if e.filename else e.strerror or str(e))


def _fail(reason: str) -> NoReturn:
    print(f"earshot: {reason}", file=sys.stderr)
    sys.exit(1)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"earshot {version('earshot-asr')}")
        raise typer.Exit


@app.callback()
def earshot(
    ctx: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Live captions: streaming speech recognition with wav2vec 2.0, w2v-BERT and Whisper encoders.

    Text appears while the sentence is still being spoken, and is final a moment after it ends.
    """
    if ctx.invoked_subcommand not in WITHOUT_OUTPUT:
        output.check()
    if ctx.invoked_subcommand != "serve":  # which has a log
        output.show_notices()


@app.command(epilog="Example: earshot demo")
def demo(device: DeviceOption = Device.auto, stability: StabilityOption = Stability.medium) -> None:
    """Stream a bundled recording in real time to a local server, and show live captions.

    Then prints the transcript and its figures. The exit status is 1 if no text appeared before the audio ended, or if
    the character error rate is above 5 %.
    """
    from earshot_asr.client.demo import demo

    if asyncio.run(demo(Console(), device.value, stability.value)):
        raise typer.Exit(INTERRUPTED_EXIT_STATUS)


app.command(epilog=serve.EXAMPLES)(serve.serve)
app.command(epilog=mic.EXAMPLES)(mic.mic)
app.command(epilog=stream.EXAMPLES)(stream.stream)
app.command(epilog=transcribe.EXAMPLES)(transcribe.transcribe)
app.command(epilog=evaluate.EXAMPLES)(evaluate.evaluate)
app.add_typer(models.app, name="models")


@app.command(
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False},
)
def train(ctx: typer.Context) -> None:
    """Train models and prepare training data: ctc (speech to text), align (word timings), pretrain, and more.

    List of the training commands: earshot train. Help for one: earshot train ctc --help.
    """
    from earshot_asr.engine.training.__main__ import main as run

    run(ctx.args or ["--help"], prog="earshot train")
