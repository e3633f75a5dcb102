"""`earshot models`: which models there are, what they cost here, and getting, checking and removing them."""

import sys
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console

from earshot_asr.client.options import RevisionOption

EXAMPLES = """Examples:

  earshot models list --language de

  earshot models show xlsr-53-german

  earshot models pull xlsr-53-german

  earshot mic --language de
"""

app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", epilog=EXAMPLES)


@app.callback()
def models() -> None:
    """List models by language, download, check and remove them.

    A model's name is for --model of other commands; --language of these takes the recommended one by itself.
    """


class ListFormat(StrEnum):
    """How models are listed."""

    text = "text"
    json = "json"


NameArgument = Annotated[str, typer.Argument(metavar="NAME|HUB_ID", help="Name in the catalogue, or on the hub.")]


@app.command(
    "list",
    epilog="Examples:\n\n  earshot models list\n\n  earshot models list --language hindi\n\n"
    "  earshot models list --format json | jq 'select(.here) | .name'\n",
)
def list_(
    language: Annotated[
        str | None,
        typer.Option(
            "--language", metavar="LANGUAGE", help="Only models for it: de, deu or German.", show_default="all"
        ),
    ] = None,
    format: Annotated[ListFormat, typer.Option("--format", help="json: one object per line.")] = ListFormat.text,
    measure: Annotated[bool, typer.Option("--measure", help="Measure the speed of this machine again.")] = False,
) -> None:
    """List the models of the catalogue by language; those in bold are recommended.

    The error rates are what their authors published, of words (WER) or of characters (CER). The streams are how many
    fit on this machine at a time: an estimate from the operations that a model takes and the speed of the bundled one,
    which is measured the first time. What is not known is "-".

    If standard output is no terminal, it gets a line for each model, with tabs between language, name, size, licence,
    error, here, streams and hub id.
    """
    from earshot_asr.client.models import table
    from earshot_asr.client.models.rows import rows
    from earshot_asr.engine.hub import cache_folder, cached

    console = Console()
    speed = _speed(again=measure)
    found = rows(speed, cached(), language)
    if format is ListFormat.json:
        print("\n".join(table.objects(found)))
    elif not console.is_terminal:
        print("\n".join(table.lines(found)))
    else:
        table.show(found, console)
        table.explain(speed, cache_folder(), console)


@app.command(epilog="Example: earshot models show base-960h")
def show(name: NameArgument) -> None:
    """Show all that is known of a model, with the page that each value was read from and the day."""
    from earshot_asr.client.models import details
    from earshot_asr.engine.catalogue import find
    from earshot_asr.engine.hub import cached

    entry = find(name)
    if entry is None:
        raise _unknown(name)
    details.show(entry, _speed(), [copy for copy in cached() if copy.hub_id == entry.id], Console(highlight=False))


@app.command(
    epilog="Examples:\n\n  earshot models pull xlsr-53-german\n\n"
    "  earshot models pull mms-1b-all --language fra --language swh\n\n"
    "  earshot models pull someone/model --revision v2\n"
)
def pull(
    name: NameArgument,
    languages: Annotated[
        list[str] | None,
        typer.Option(
            "--language", metavar="LANGUAGE", help="Also the weights for it, of a model like MMS. Repeatable."
        ),
    ] = None,
    revision: RevisionOption = None,
) -> None:
    """Download a model, so that it is there without a network. Goes on where a download broke off.

    From then on it is used at the revision that was pulled, until it is removed or pulled again. Files that are here
    already are checked by their hashes.
    """
    from earshot_asr.client.models.fetching import pulled

    print(pulled(_hub_id(name), revision, languages or ()))


@app.command(
    epilog="Examples:\n\n  earshot models check ./my-model\n\n  earshot models check mms-1b-all --language fra\n"
)
def check(
    model: Annotated[str, typer.Argument(metavar="NAME|HUB_ID|DIR", help="The checkpoint.")],
    language: Annotated[
        str | None, typer.Option("--language", metavar="LANGUAGE", help="Language of a model of several, like MMS.")
    ] = None,
    revision: RevisionOption = None,
) -> None:
    """Load a checkpoint, say what it is, and try it on a short English recording.

    If the package transformers is installed, it runs the checkpoint, too. The exit status is 1 if the checkpoint does
    not load, or if transformers makes other log-probabilities or another text of it.
    """
    from earshot_asr.engine.catalogue import choose
    from earshot_asr.engine.errors import CheckpointError
    from earshot_asr.engine.loading import check as check_arguments
    from earshot_asr.engine.text import printable

    choice = choose(model, language, revision)
    check_arguments(choice.model, revision=choice.revision)
    from earshot_asr.client.models.examine import Examination

    console = Console(highlight=False)
    examination = Examination(choice.model, choice.revision, choice.language)
    for heading, text in examination.lines():
        console.print(f"[dim]{heading:14}[/]", end="")
        console.print(printable(text), markup=False, soft_wrap=True)
    if examination.faults:
        raise CheckpointError(f"{model}: {'; '.join(examination.faults)}")


@app.command(epilog="Example: earshot models rm xlsr-53-german")
def rm(name: NameArgument, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Remove a model from the cache, all revisions of it."""
    from earshot_asr.client.models.fetching import removed

    def sure(question: str) -> bool:
        return yes or (sys.stdin.isatty() and typer.confirm(question))

    print(removed(_hub_id(name), sure))


@app.command()
def where() -> None:
    """Print the folder where models of the hub are. HF_HUB_CACHE and HF_HOME set it."""
    from earshot_asr.engine.hub import cache_folder

    print(cache_folder())


def _hub_id(name: str) -> str:
    """The hub id of a model by its name. Raises CheckpointError."""
    from earshot_asr.engine.catalogue import find
    from earshot_asr.engine.errors import CheckpointError
    from earshot_asr.engine.loading import HUB_ID

    entry = find(name)
    if entry is not None and not entry.id:
        raise CheckpointError(f"{entry.name} comes with Earshot: it is neither pulled nor removed")
    if entry is None and not HUB_ID.fullmatch(name):
        raise _unknown(name)
    return entry.id if entry else name


def _unknown(name: str) -> Exception:
    from earshot_asr.engine.catalogue import near
    from earshot_asr.engine.errors import CheckpointError, shown

    offer = f"near are {', '.join(names)}" if (names := near(name)) else "`earshot models list` shows them"
    return CheckpointError(f"the catalogue has no model {shown(name)}; {offer}")


def _speed(*, again: bool = False) -> Any:
    """The speed of this machine, measured if it was not yet, or again."""
    from earshot_asr.client.models.speed import kept, measured

    if not again and (speed := kept()) is not None:
        return speed
    with Console(stderr=True).status("measuring how fast this machine is; only this time"):
        return measured()
