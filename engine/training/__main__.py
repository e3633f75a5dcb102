"""`earshot train`, or `python -m earshot_asr.engine.training`, which torchrun starts: one parser for both."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from earshot_asr.engine.errors import EarshotError, NothingLearned

COMMANDS = {
    "ctc": ("ctc.arguments", "train a model that writes what is said, on recordings with texts"),
    "align": ("data.align", "find when each word of recordings with texts is said"),
    "lm": ("lm", "make an n-gram language model of a text, for beam search"),
    "blend": ("blend", "average a model with the same model trained further, often better than both"),
    "pretrain": ("pretrain.arguments", "pretrain a model on recordings without texts; ctc then teaches it to write"),
    "codes": ("pretrain.codes", "draw how languages share the codewords of a pretrained model"),
}
"""Command -> its module in this folder, and what it does."""
USELESS, INTERRUPTED = 3, 130
"""The exit status of a training that is done, but whose model has learned nothing; and after Ctrl-C."""


def parser_for(argv: Sequence[str], prog: str) -> argparse.ArgumentParser:
    """The parser; only the module of the command in `argv` is imported."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Training. Each command has help of its own, with examples.",
        epilog=f"Example: {prog} ctc --help",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (place, help) in COMMANDS.items():
        command = commands.add_parser(name, help=help, formatter_class=argparse.RawDescriptionHelpFormatter)
        command.allow_abbrev = False
        if name == next((word for word in argv if not word.startswith("-")), None):
            module = importlib.import_module(f"earshot_asr.engine.training.{place}")
            module.add_arguments(command)
            command.set_defaults(run=module.run, error=command.error)
    return parser


def main(argv: Sequence[str] | None = None, prog: str = "python -m earshot_asr.engine.training") -> None:
    """Runs a command. Errors that a user can correct are one line on stderr and exit status 1, wrong usage is 2.

    A training that has learned nothing is USELESS.
    """
    argv = sys.argv[1:] if argv is None else argv
    args, unknown = parser_for(argv, prog).parse_known_args(argv)
    if unknown:
        args.error(f"unrecognized arguments: {' '.join(unknown)}")
    del args.error
    try:
        args.run(args)
    except EarshotError as error:
        print(f"earshot: {error}", file=sys.stderr)
        sys.exit(USELESS if isinstance(error, NothingLearned) else 1)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # torch's
            raise
        how = "--batch, then --seconds" if args.command == "pretrain" else "--seconds"
        print(f"earshot: the device is out of memory; take smaller batches ({how})", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
