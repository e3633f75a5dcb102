"""The options of `earshot train pretrain`. No torch."""

import argparse
from pathlib import Path

from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.training.options import (
    add_loop_arguments,
    at_least,
    check_arguments,
    not_negative,
    positive,
    share,
)
from earshot_asr.engine.training.shapes import PRETRAINING_SHAPES

DESCRIPTION = """`earshot train pretrain`: the pretraining of wav2vec 2.0, or XLSR, on recordings without texts."""
EXAMPLES = """\
examples:
  from nothing, a small model on two cores
    earshot train pretrain multilingual-train.jsonl --dev multilingual-dev.jsonl --out OUT --minutes 60
  as XLSR-53, on several GPUs; it had 64, and 2.7 hours in a batch of all together
    torchrun --nproc-per-node 8 -m earshot_asr.engine.training pretrain all.jsonl --out OUT --shape large \\
        --minutes 30000 --seconds 20 --batch 12 --muon 0 --adamw 1e-3 --warmup 0.13 --hold 0 \\
        --feature-gradient 1 --min-gumbel-temperature 0.1
  two languages, on from a checkpoint
    earshot train pretrain train.jsonl --languages fr,de --from facebook/wav2vec2-xls-r-300m --out OUT
  and then
    earshot train ctc train.jsonl --from OUT/model --out LETTERS
    earshot train codes OUT/model dev.jsonl --out codes.svg

OUT gets model (for transformers' Wav2Vec2ForPreTraining, the weights averaged), log.jsonl and state.pt. Every few steps
the log has contrastive (the loss without its other parts), accuracy (the share of masked frames whose true codeword
comes first among its distractors), perplexity (codewords in use) and trouble (1 while the codebook has collapsed or the
model learns nothing); with --dev also the perplexity of each language."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the command."""
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    group = parser.add_argument_group("the model")
    group.add_argument("--from", dest="start", metavar="DIR|HUB_ID", help="a checkpoint in Hugging Face format")
    group.add_argument("--config", type=Path, metavar="FILE", help="a config.json, for a model with random weights")
    group.add_argument(
        "--shape",
        choices=sorted(PRETRAINING_SHAPES),
        help="a built-in config.json; tiny has 6 M parameters, base and large are those of the papers (default: tiny)",
    )
    group.add_argument(
        "--stop-on-collapse",
        action="store_true",
        help="end a run whose codebook collapses or that learns nothing, instead of only warning",
    )

    group = parser.add_argument_group("training data")
    group.add_argument("manifests", type=Path, nargs="+", metavar="MANIFEST", help="JSON lines; texts are not needed")
    group.add_argument(
        "--languages", metavar="LANG,...", help="use only lines whose `lang` is one of these (default: all)"
    )
    group.add_argument(
        "--alpha",
        type=share,
        default=0.5,
        help="a language with n hours is drawn in proportion to n ^ ALPHA (default: 0.5)",
    )
    group.add_argument(
        "--seconds",
        type=positive,
        default=3.0,
        help="length of a crop; shorter recordings are left out (default: 3)",
    )
    group.add_argument(
        "--batch", type=at_least(1), default=16, help="crops in a batch, on each GPU (default: %(default)s)"
    )

    group = parser.add_argument_group("evaluation while it trains")
    group.add_argument(
        "--dev",
        type=Path,
        action="append",
        default=[],
        metavar="MANIFEST",
        help="recordings, which are left out of training",
    )
    group.add_argument(
        "--judge-every",
        type=positive,
        metavar="MINUTES",
        help="time between two evaluations on --dev (default: 10, or a quarter of --minutes)",
    )

    add_loop_arguments(parser, adamw="1e-3", muon="2e-3")
    parser.set_defaults(dtype="float32")

    group = parser.add_argument_group("the task")
    group.add_argument(
        "--mask-time-prob",
        type=share,
        default=0.65,
        metavar="SHARE",
        help="about the share of frames that is masked (default: 0.65)",
    )
    group.add_argument(
        "--mask-time-length", type=at_least(1), default=10, metavar="FRAMES", help="length of a mask (default: 10)"
    )
    group.add_argument(
        "--negatives", type=at_least(1), metavar="NUMBER", help="distractors of a masked frame (default: config.json's)"
    )
    group.add_argument(
        "--diversity", type=not_negative, metavar="WEIGHT", help="weight of the diversity loss (default: config.json's)"
    )
    group.add_argument(
        "--penalty",
        type=not_negative,
        default=10.0,
        metavar="WEIGHT",
        help="weight of the penalty on large features (default: 10)",
    )
    group.add_argument(
        "--feature-gradient",
        type=share,
        default=0.1,
        metavar="FACTOR",
        help="factor on the gradients of the convolutions (default: 0.1)",
    )
    group.add_argument("--max-gumbel-temperature", type=positive, default=2.0, help="at the first step (default: 2)")
    group.add_argument("--min-gumbel-temperature", type=positive, default=0.5, help="the lowest (default: 0.5)")
    group.add_argument(
        "--gumbel-decay",
        type=float,
        metavar="FACTOR",
        help="factor per step, 0.999995 in the paper (default: the lowest is reached at 70 %% of the schedule)",
    )


def run(args: argparse.Namespace) -> None:
    """Checks the arguments, then runs the command, which loads torch. Raises EarshotError."""
    if sum(given is not None for given in (args.start, args.config, args.shape)) > 1:
        raise ConfigError("give one of --from, --config and --shape: what is to be trained")
    check_arguments(args)
    from earshot_asr.engine.training.pretrain.command import run

    run(args)
