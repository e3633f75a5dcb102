"""`earshot train lm`: an n-gram language model of a text, for beam search."""

import argparse
import textwrap
from collections.abc import Iterator
from pathlib import Path

from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.lm.estimate import estimate
from earshot_asr.engine.lm.kenlm_trie import QUANTIZED_PACKED
from earshot_asr.engine.lm.kenlm_writing import written
from earshot_asr.engine.manifest import text_lines
from earshot_asr.engine.text import normalize
from earshot_asr.engine.whole import check, replacing

MOST_ORDER = 6
"""Words of the longest n-grams that KenLM reads as it is usually built."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `earshot train lm`."""
    parser.description = textwrap.dedent("""\
        Makes an n-gram language model of sentences, by modified Kneser-Ney, as KenLM's lmplz does, and writes it as a
        trie of KenLM's with probabilities of 8 bits. Words are lower-cased, and lose their punctuation. It takes some
        100 bytes of memory for each word of the text and for each word of an n-gram.""")
    parser.epilog = textwrap.dedent("""\
        examples:
          earshot train lm SENTENCES.txt --out lm.bin
          earshot train lm SENTENCES.txt.xz --order 4 --least 3 --prune 0 1 1 2 --out lm.bin""")
    parser.add_argument("text", type=Path, metavar="FILE", help="a sentence a line, plain or .xz")
    parser.add_argument("--order", type=int, default=3, help="words of the longest n-grams (default: %(default)s)")
    parser.add_argument(
        "--least", type=int, default=2, help="how often a word must be there to be known (default: %(default)s)"
    )
    parser.add_argument(
        "--prune",
        type=int,
        nargs="+",
        metavar="N",
        help="by length, from words on: n-grams that are there N times or less are left out (default: 0 0 1 1 ...)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="a new file")


def run(args: argparse.Namespace) -> None:
    """The command. Raises ConfigError, TrainingError, OutputError."""
    if not 2 <= args.order <= MOST_ORDER:
        raise ConfigError(f"--order is {args.order}; it must be 2 to {MOST_ORDER}")
    if args.least < 1:
        raise ConfigError(f"--least is {args.least}; it must be 1 or more")
    pruned = args.prune or [0, 0, *[1] * (args.order - 2)]
    if len(pruned) != args.order or pruned != sorted(pruned) or pruned[0] != 0:
        raise ConfigError(f"--prune must be {args.order} numbers, the first 0 and none less than the one before it")
    if args.out.exists():
        raise ConfigError(f"{args.out} is there already; give a new file")
    check(args.out)
    words, levels = estimate(_sentences(args.text), args.order, args.least, pruned)
    content = written(words, levels, QUANTIZED_PACKED)
    with replacing(args.out) as fresh:
        fresh.write_bytes(content)
    counts = ", ".join(f"{len(level.words):,} {n}-grams" for n, level in enumerate(levels, 1))
    print(f"{args.out}: {counts}, {len(content) / 1e6:.1f} MB")


def _sentences(path: Path) -> Iterator[str]:
    for _, line in text_lines(path):
        yield normalize(line).lower()
