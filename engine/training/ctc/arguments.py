"""The options of `earshot train ctc`. No torch."""

import argparse
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.model import MOST_DELAY_FRAMES
from earshot_asr.engine.training.options import (
    add_loop_arguments,
    at_least,
    check_arguments,
    crop,
    not_negative,
    pair,
    positive,
    share,
)
from earshot_asr.engine.training.rates import Rates
from earshot_asr.engine.training.shapes import CTC_SHAPES

DESCRIPTION = "`earshot train ctc`: trains a CTC speech recognizer on transcribed recordings."
EXAMPLES = """\
examples:
  a small model from nothing: log-mels and a conformer
    earshot train ctc train.jsonl --dev dev.jsonl --out OUT --shape tiny --minutes 100
    earshot serve --model OUT/model
  a pretrained checkpoint in another script: the vocabulary is made from the texts
    earshot train ctc train.jsonl --dev dev.jsonl --out OUT --from facebook/wav2vec2-xls-r-300m
  a Whisper, in any of its languages: its encoder becomes a model that streams
    earshot train ctc train.jsonl --dev dev.jsonl --out OUT --from openai/whisper-base --layer-decay .85
  more training of a model that can write already
    earshot train ctc train.jsonl --dev dev.jsonl --out OUT --from OTHER/model --adamw 7e-4 --muon 1.4e-3
  after it was killed, or stopped by --stop-after or Ctrl-C, the same command goes on where it was

A manifest has a line of JSON for each recording: {"audio": "clips/1.opus", "text": "what is said", "corpus": "mine"}.
The path of the audio is relative to the manifest; audio and text are required. OUT gets model (the newest weights,
averaged), best (the weights with the lowest error on --dev), log.jsonl and state.pt.

The exit status is 3 if the model has learned nothing when the schedule is done: if it writes nothing, or nine of ten
characters are wrong. The last line says so."""
JUDGED = ("dev", "fold", "dev_count", "score")
"""Options of the evaluation, which may change when a run goes on."""
RETIRED: Mapping[str, Any] = {"text": [], "lexicon": None, "text_weight": 0.5, "text_rows": 1, "text_alpha": 0.5}
"""Options that there are no more, with the defaults they had; see state.begin."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.usage = "%(prog)s MANIFEST... --out DIR (--from DIR|HUB_ID | --config FILE | --shape NAME) [options]"
    _add_model(parser.add_argument_group("the model"))
    _add_units(parser.add_argument_group("what it writes"))
    _add_frozen(parser.add_argument_group("what learns, and how fast"))
    _add_data(parser.add_argument_group("training data"))
    _add_sound(parser.add_argument_group("batches and their sound"))
    _add_evaluation(parser.add_argument_group("evaluation while it trains"))
    add_loop_arguments(parser)
    _add_losses(parser.add_argument_group("losses"))
    _add_regularization(parser.add_argument_group("regularization (default: as config.json says)"))


def run(args: argparse.Namespace) -> None:
    """Checks the arguments, then runs the command, which loads torch. Raises EarshotError."""
    if sum(given is not None for given in (args.start, args.config, args.shape)) != 1:
        raise ConfigError("give one of --from, --config and --shape: what is to be trained")
    check_arguments(args)
    from earshot_asr.engine.training.ctc.command import run

    run(args)


def _add_model(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--from",
        dest="start",
        metavar="DIR|HUB_ID",
        help="a checkpoint in Hugging Face format; of a Whisper only the encoder is used",
    )
    group.add_argument("--revision", help="branch, tag or commit of a checkpoint on the hub")
    group.add_argument("--config", type=Path, metavar="FILE", help="a config.json, for a model with random weights")
    group.add_argument("--shape", choices=sorted(CTC_SHAPES), help="a built-in config.json, for random weights too")
    group.add_argument("--width", type=at_least(1), help="channels, in place of those of --shape")
    group.add_argument("--depth", type=at_least(1), help="number of layers, in place of that of --shape")
    group.add_argument(
        "--inner", type=at_least(1), help="channels within the feed-forward layers, in place of those of --shape"
    )
    group.add_argument(
        "--kernel", type=at_least(1), help="frames in the kernel of a convolution, in place of those of --shape"
    )
    group.add_argument(
        "--ctc-layers",
        type=at_least(0),
        metavar="N",
        help="layers between Whisper's encoder and a new head, 1.5 M parameters each on base; 0: none (default: 3)",
    )


def _add_units(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--vocabulary",
        metavar="keep|characters|phonemes|FILE",
        help="the checkpoint's own, all characters of the texts, all phonemes of the texts by eSpeak NG, or a file: a "
        "vocab.json or a list of symbols (default: keep if there is one, else characters)",
    )
    group.add_argument("--units", choices=("letters", "phonemes"), help="phonemes: short for --vocabulary phonemes")
    group.add_argument(
        "--unknown",
        choices=("error", "drop"),
        default="error",
        help="what to do if texts have symbols that the vocabulary lacks: stop with an error, or drop these symbols "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--delay",
        type=at_least(0, MOST_DELAY_FRAMES),
        metavar="FRAMES",
        help="emission delay: frames between a sound and its symbol (default: that of config.json)",
    )


def _add_frozen(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--freeze-features",
        action=argparse.BooleanOptionalAction,
        help="keep the weights of the convolutions over samples (default: with --from)",
    )
    group.add_argument(
        "--freeze-body",
        type=share,
        metavar="SHARE",
        help="share of the schedule in which only the head learns (default: 0.1 where a checkpoint gets one, else 0)",
    )
    group.add_argument(
        "--freeze-layers",
        type=at_least(0),
        default=0,
        metavar="N",
        help="number of the lowest layers that keep their weights, as does all below them; saves time (default: 0)",
    )
    group.add_argument(
        "--layer-decay",
        type=share,
        default=1.0,
        metavar="FACTOR",
        help="factor on the learning rates of the last layer, and once more for each layer below; 1: all layers have "
        "the same rates (default: %(default)g)",
    )


def _add_data(group: argparse._ArgumentGroup) -> None:
    group.add_argument("manifests", type=Path, nargs="+", metavar="MANIFEST", help="files of JSON lines")
    group.add_argument(
        "--alignments",
        type=Path,
        action="append",
        metavar="FILE",
        help="when each word is said, by `earshot train align` (default: alignments.jsonl or alignments.jsonl.xz in "
        "the folder of a manifest)",
    )
    group.add_argument("--no-alignments", action="store_true", help="train on whole utterances, by CTC alone")
    group.add_argument(
        "--weight",
        type=pair,
        action="append",
        default=[],
        metavar="CORPUS=WEIGHT",
        help="how often a corpus is drawn from, relative to others (default: the square root of its hours)",
    )
    group.add_argument(
        "--longest",
        type=positive,
        default=30.0,
        metavar="SECONDS",
        help="longer recordings are left out (default: %(default)g)",
    )
    group.add_argument(
        "--min-score",
        type=float,
        default=-60.0,
        help="recordings whose alignment has a lower score are left out (default: %(default)g)",
    )


def _add_sound(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--seconds", type=positive, default=64.0, help="audio in a batch (default: %(default)g)")
    group.add_argument(
        "--mix",
        type=share,
        metavar="SHARE",
        help="share of batches with whole utterances instead of crops (default: the share of audio without alignment)",
    )
    group.add_argument(
        "--crop",
        type=crop,
        action="append",
        default=[],
        metavar="SECONDS=CHANCE",
        help="a length of crops and its chance; may be repeated (default: 3.2=.3 8=.4 20=.3, as a stream's windows)",
    )
    group.add_argument(
        "--augment",
        type=not_negative,
        default=1.0,
        metavar="FACTOR",
        help="factor on how often the sound is changed; 0: never (default: 1)",
    )
    group.add_argument(
        "--noise", type=Path, metavar="MANIFEST", help="noise, music and room responses (lines with `kind`: rir)"
    )


def _add_evaluation(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--dev", type=Path, action="append", default=[], metavar="MANIFEST", help="recordings with texts"
    )
    group.add_argument("--fold", type=int, help="use only lines of this fold")
    group.add_argument(
        "--dev-count",
        type=at_least(1),
        default=40,
        help="recordings of each corpus that are used (default: %(default)s)",
    )
    group.add_argument(
        "--score",
        choices=("wer", "cer", "per"),
        help="the error rate by which the best weights are chosen (default: wer, or per where phonemes are written)",
    )
    group.add_argument(
        "--judge-every",
        type=positive,
        metavar="MINUTES",
        help="time between two evaluations on --dev (default: 10, or a twelfth of --minutes)",
    )


def _add_losses(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--intermediate-ctc",
        type=share,
        default=0.0,
        metavar="SHARE",
        help="share of CTC that is computed on a middle layer (default: 0)",
    )
    group.add_argument(
        "--by-frame",
        type=not_negative,
        default=1.0,
        metavar="FACTOR",
        help="factor on the losses that learn from alignments frame by frame; 0: CTC alone (default: %(default)g)",
    )


def _add_regularization(group: argparse._ArgumentGroup) -> None:
    for f in fields(Rates):
        kind = float if f.type is float else int
        group.add_argument(f"--{f.name.replace('_', '-')}", type=kind, metavar="RATE" if kind is float else "NUMBER")
