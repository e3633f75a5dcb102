"""`earshot train`, or `python -m earshot_asr.engine.training`, which torchrun starts: one parser for both."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from earshot_asr.engine.errors import EarshotError

COMMANDS = {
    "ctc": "recordings with texts -> a model that writes what is said",
    "align": "recordings with texts -> when each word is said",
    "synthesize": "lines of text -> speech to train on, by flite's voices",
    "pretrain": "recordings alone -> a model that has yet to learn to write",
    "blend": "a model, and what it was trained on to -> their mean, which is often better than both",
    "grow": "a small model -> a deeper one, or one of longer frames, that has learned as much",
    "codes": "a pretrained model, and how languages share its codewords -> a figure",
}
INTERRUPTED = 130


def parser_for(argv: Sequence[str], prog: str) -> argparse.ArgumentParser:
    """The parser; only the command that is asked for is loaded."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Training: each command explains itself, with examples.",
        epilog=f"Example: {prog} ctc --help",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, help in COMMANDS.items():
        command = commands.add_parser(name, help=help, formatter_class=argparse.RawDescriptionHelpFormatter)
        command.allow_abbrev = False
        if name == next((word for word in argv if not word.startswith("-")), None):
            module = importlib.import_module(f"earshot_asr.engine.training.{name}")
            module.add_arguments(command)
            command.set_defaults(run=module.run, error=command.error)
    return parser


def main(argv: Sequence[str] | None = None, prog: str = "python -m earshot_asr.engine.training") -> None:
    """Runs a command. What a user can mend is one line on standard error, and exit status 1; 2 for wrong usage."""
    argv = sys.argv[1:] if argv is None else argv
    args, unknown = parser_for(argv, prog).parse_known_args(argv)
    if unknown:
        args.error(f"unrecognized arguments: {' '.join(unknown)}")
    del args.error
    try:
        args.run(args)
    except EarshotError as error:
        print(f"earshot: {error}", file=sys.stderr)
        sys.exit(1)
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
