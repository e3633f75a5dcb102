"""`earshot train ctc`: from recordings and their texts to a model that writes what is said."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.layers import Encoder
from earshot_asr.engine.manifest import alignment_beside
from earshot_asr.engine.training import export, state, units
from earshot_asr.engine.training.augment import Augmentation
from earshot_asr.engine.training.corpus import Corpus, Filter, open_corpus
from earshot_asr.engine.training.crops import LENGTHS, Crops
from earshot_asr.engine.training.ctc_model import CtcModel, Losses, body
from earshot_asr.engine.training.distributed import World
from earshot_asr.engine.training.drawing import Drawing, Mixed
from earshot_asr.engine.training.judge import Judge
from earshot_asr.engine.training.loop import train
from earshot_asr.engine.training.options import (
    add_loop_arguments,
    at_least,
    crop,
    loop_options,
    not_negative,
    pair,
    positive,
    settings,
    share,
)
from earshot_asr.engine.training.progress import Progress
from earshot_asr.engine.training.regularization import Regularization
from earshot_asr.engine.training.start import PREPROCESSORS as USUAL
from earshot_asr.engine.training.start import SHAPES, Start, describe, from_checkpoint, from_nothing, read_config, shape
from earshot_asr.engine.training.task import Batch, Source
from earshot_asr.engine.training.unspoken import Unspoken, dictionary
from earshot_asr.engine.training.utterances import Utterances
from earshot_asr.engine.vocabulary import Vocabulary

HELP = "recordings with texts -> a model that writes what is said"
EXAMPLES = """\
examples:
  from nothing, a small model of log-mels and a conformer
    earshot train ctc train.jsonl --dev dev.jsonl --out OUT --shape tiny --minutes 100
    earshot serve --model OUT/model
  a pretrained checkpoint, in another script: the vocabulary is made from the texts
    earshot train ctc train.jsonl --dev dev.jsonl --out OUT --from facebook/wav2vec2-xls-r-300m
  a Whisper, in any of its languages: its encoder is taken, and becomes a model that streams
    earshot train ctc train.jsonl --dev dev.jsonl --out OUT --from openai/whisper-base --layer-decay .85
  more training of a model that can write already
    earshot train ctc train.jsonl --dev dev.jsonl --out OUT --from OTHER/model --adamw 7e-4 --muon 1.4e-3
  killed, or stopped by --stop-after or Ctrl-C: the same command goes on where it was

A manifest has a line of JSON for each recording: {"audio": "clips/1.opus", "text": "what is said", "corpus": "mine"}.
Audio lies relative to the manifest; audio and text are required. OUT gets model (the newest weights, averaged), best
(those with the lowest error on --dev), log.jsonl and state.pt."""
JUDGED = ("dev", "fold", "dev_count", "score")
LATEST = 50
"""Frames of --delay, at most."""
FEW = 0.05
"""Of the audio: so little without an alignment is not worth batches of whole utterances."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.description, parser.epilog = __doc__, EXAMPLES
    parser.usage = "%(prog)s MANIFEST... --out DIR (--from DIR|HUB_ID | --config FILE | --shape NAME) [options]"
    group = parser.add_argument_group("what is trained")
    group.add_argument(
        "--from",
        dest="start",
        metavar="DIR|HUB_ID",
        help="a checkpoint in Hugging Face's format; of a Whisper, its encoder",
    )
    group.add_argument("--revision", help="of a checkpoint on the hub")
    group.add_argument("--config", type=Path, metavar="FILE", help="a config.json; the weights begin at random")
    group.add_argument("--shape", choices=sorted(SHAPES), help="a shape of ours, likewise")
    group.add_argument("--width", type=at_least(1), help="of --shape: channels")
    group.add_argument("--depth", type=at_least(1), help="of --shape: layers")
    group.add_argument("--inner", type=at_least(1), help="of --shape: channels inside of feed-forward parts")
    group.add_argument("--kernel", type=at_least(1), help="of --shape: frames that convolutions see")
    group.add_argument(
        "--ctc-layers",
        type=at_least(0),
        metavar="N",
        help="between Whisper's encoder and a new head, 1.5 M parameters each on base; 0: none (default: 3)",
    )
    group.add_argument(
        "--vocabulary",
        metavar="keep|characters|phonemes|FILE",
        help="the checkpoint's own, all characters of the texts, eSpeak NG's phonemes, a vocab.json or list of symbols "
        "(default: keep if there is one, else characters)",
    )
    group.add_argument("--units", choices=("letters", "phonemes"), help="phonemes: short for --vocabulary phonemes")
    group.add_argument(
        "--unknown",
        choices=("error", "drop"),
        default="error",
        help="texts with symbols that the vocabulary lacks: stop, or leave those symbols away (default: %(default)s)",
    )
    group.add_argument(
        "--freeze-features",
        action=argparse.BooleanOptionalAction,
        help="leave the convolutions of wav2vec 2.0 as they are (default: with --from)",
    )
    group.add_argument(
        "--freeze-body",
        type=share,
        metavar="SHARE",
        help="of the schedule in which only the head learns (default: 0.1 for a new head on a checkpoint, else 0)",
    )
    group.add_argument(
        "--freeze-layers",
        type=at_least(0),
        default=0,
        metavar="N",
        help="lowest layers of the checkpoint that stay as they are, with all below them; saves time (default: 0)",
    )
    group.add_argument(
        "--layer-decay",
        type=share,
        default=1.0,
        metavar="FACTOR",
        help="on the rates of the checkpoint's last layer, again for each layer below; 1: all learn alike "
        "(default: %(default)g)",
    )

    group = parser.add_argument_group("what it is trained on")
    group.add_argument("manifests", type=Path, nargs="+", metavar="MANIFEST", help="files of JSON lines")
    group.add_argument(
        "--alignments",
        type=Path,
        action="append",
        metavar="FILE",
        help="when each word is said, by `earshot train align` (default: alignments.jsonl or .xz beside the manifests)",
    )
    group.add_argument(
        "--text",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="sentences that nobody says, one a line (.xz, too): what is above the middle learns to spell from them",
    )
    group.add_argument(
        "--lexicon",
        type=Path,
        metavar="FILE",
        help="the phones of their words, as CMUdict has them (default: PocketSphinx's dictionary)",
    )
    group.add_argument(
        "--text-weight", type=positive, default=0.5, metavar="WEIGHT", help="beside recordings (default: %(default)g)"
    )
    group.add_argument(
        "--text-rows",
        type=at_least(1),
        default=1,
        metavar="N",
        help="of text for each of recordings; one costs what the layers above the middle do (default: %(default)d)",
    )
    group.add_argument(
        "--text-alpha",
        type=share,
        default=0.5,
        metavar="ALPHA",
        help="1: the text as it is; below, sentences with rare words come more often, as if a word found n times had "
        "been found n^ALPHA times (default: %(default)g)",
    )
    group.add_argument("--no-alignments", action="store_true", help="whole utterances and CTC alone")
    group.add_argument("--seconds", type=positive, default=64.0, help="of audio in a batch (default: %(default)g)")
    group.add_argument(
        "--mix",
        type=share,
        metavar="SHARE",
        help="of batches with whole utterances, not crops (default: as much as there is without an alignment)",
    )
    group.add_argument(
        "--crop",
        type=crop,
        action="append",
        default=[],
        metavar="SECONDS=CHANCE",
        help="how long crops are, and how often; may be repeated (default: 3.2=.3 8=.4 20=.3, as a stream's windows)",
    )
    group.add_argument(
        "--weight",
        type=pair,
        action="append",
        default=[],
        metavar="CORPUS=WEIGHT",
        help="how often a corpus is heard, against others (default: the root of its hours)",
    )
    group.add_argument(
        "--longest", type=positive, default=30.0, metavar="SECONDS", help="recordings (default: %(default)g)"
    )
    group.add_argument(
        "--min-score", type=float, default=-60.0, help="of alignments; others are left out (default: %(default)g)"
    )
    group.add_argument(
        "--augment",
        type=not_negative,
        default=1.0,
        metavar="FACTOR",
        help="how often sound is altered; 0: never (default: 1)",
    )
    group.add_argument("--noise", type=Path, metavar="MANIFEST", help="noise, music and room responses (`kind`: rir)")
    group.add_argument(
        "--delay",
        type=at_least(0, LATEST),
        metavar="FRAMES",
        help="letters come so much after their sound (default: config.json's)",
    )

    group = parser.add_argument_group("what it is judged on, now and then")
    group.add_argument(
        "--dev", type=Path, action="append", default=[], metavar="MANIFEST", help="recordings with texts"
    )
    group.add_argument("--fold", type=int, help="only lines of this fold")
    group.add_argument(
        "--dev-count",
        type=at_least(1),
        default=40,
        help="recordings of each corpus that are judged on while training (default: %(default)s)",
    )
    group.add_argument(
        "--score",
        choices=("wer", "cer", "per"),
        help="what says which weights are best (default: wer; of phonemes per, which is all that these have)",
    )
    group.add_argument(
        "--judge-every", type=positive, metavar="MINUTES", help="(default: 10, or a twelfth of --minutes)"
    )

    add_loop_arguments(parser)

    group = parser.add_argument_group("losses")
    group.add_argument(
        "--intermediate-ctc",
        type=share,
        default=0.0,
        metavar="SHARE",
        help="of CTC, on states half-way up (default: 0)",
    )
    group.add_argument(
        "--by-frame",
        type=not_negative,
        default=1.0,
        metavar="FACTOR",
        help="on what is learned frame by frame from alignments, beside CTC; 0: CTC alone (default: %(default)g)",
    )
    group = parser.add_argument_group("what is left out at random (default: as config.json says)")
    for f in fields(Regularization):
        kind = float if f.type is float else int
        group.add_argument(f"--{f.name.replace('_', '-')}", type=kind, metavar="RATE" if kind is float else "NUMBER")


class CtcTask:
    """See Task. `judge`: None if nothing is judged."""

    def __init__(
        self,
        start: Start,
        model: CtcModel,
        source: Source,
        judge: Judge | None,
        dtype: str,
        scales: Mapping[str, float] = {},
    ) -> None:
        self.start, self.model, self.source, self.dtype = start, model, source, dtype
        self.module: nn.Module = model
        self.scales = scales
        self._judge = judge

    def draw(self, step: int) -> Batch:
        """See Task.draw."""
        return self.source.draw(step)

    def judge(self) -> Mapping[str, Any]:
        """See Task.judge: word and character errors, or phoneme errors, by corpus."""
        device = self.model.masked_spec_embed.device
        return {} if self._judge is None else self._judge(self.start.encoder, device)

    def save(self, folder: Path) -> None:
        """See Task.save."""
        start, masked = self.start, self.model.masked_spec_embed
        export.save(folder, start.encoder, start.config, start.preprocessor, start.tokenizer, masked, self.dtype)


def run(args: argparse.Namespace) -> None:
    """The command. Raises EarshotError."""
    if sum(given is not None for given in (args.start, args.config, args.shape)) != 1:
        raise ConfigError("give one of --from, --config and --shape: what is to be trained")
    world = World(args.device)
    say = Progress(quiet=not world.first).say
    try:
        options = loop_options(args, **_defaults(args))
        if world.first:
            state.begin(args.out, settings(args, free=JUDGED))
        cache = args.cache.expanduser()
        corpus = _corpus(args, cache, quiet=not world.first)
        torch.manual_seed(args.seed)
        start, corpus, dev = begin(args, corpus, _dev(args, cache))
        if start.new_head:
            _same_symbols(args.out, start.vocabulary)
        if missing := units.check(start.vocabulary, corpus.texts):
            how = units.complaint(missing)
            if args.unknown == "error":
                raise ConfigError(
                    f"{how}; --unknown drop leaves them away, --vocabulary characters makes a new vocabulary"
                )
            say(f"left away: {how}")
        source, phones = sources(args, corpus, start, world)
        model = CtcModel(
            start.encoder,
            start.masked,
            start.vocabulary.blank,
            phones=phones,
            text=args.text_weight if args.text else 0.0,
            regularization=Regularization.read(start.config),
            losses=Losses(intermediate=args.intermediate_ctc, by_frame=args.by_frame, last_stage=not start.new_head),
            freeze_features=bool(args.start) if args.freeze_features is None else args.freeze_features,
            freeze_body=(0.1 if args.start and start.new_head else 0.0)
            if args.freeze_body is None
            else args.freeze_body,
            freeze_layers=args.freeze_layers,
            eager=args.eager,
        )
        judge = Judge(dev, start.vocabulary, per_corpus=args.dev_count, by=args.score) if dev else None
        count = sum(p.numel() for p in start.encoder.parameters())
        say(f"{count / 1e6:.1f} M parameters, {start.vocabulary.size} symbols, on {world.device}")
        scales = scales_by_layer(start.encoder, args.layer_decay)
        train(CtcTask(start, model, source, judge, args.dtype, scales), options, args.out, world)
    finally:
        world.close()


def scales_by_layer(encoder: Encoder, decay: float) -> dict[str, float]:
    """Factors on the rates of CtcModel's weights, by name: `decay` for the body's last layer, its square for the next.

    What lies below all layers has the factor of one layer more; the head has 1.
    """
    levels = body(encoder)
    above = max(levels.values(), default=0) + 1
    return {f"encoder.{name}": decay ** (above - level) for name, level in levels.items()}


def _defaults(args: argparse.Namespace) -> dict[str, Any]:
    """Those that depend on what is trained."""
    rates = {"adamw": 1e-4, "muon": None} if args.start else {}
    return {**rates, "judge_every": min(10.0, max(1.0, args.minutes / 12))}


def _corpus(args: argparse.Namespace, cache: Path, quiet: bool) -> Corpus:
    beside = dict.fromkeys(path for manifest in args.manifests if (path := alignment_beside(manifest)))
    alignments = args.alignments or list(beside)
    filter = Filter(longest=args.longest, min_score=args.min_score, unseen=args.dev)
    if args.no_alignments:
        alignments = []
    return open_corpus(args.manifests, cache, alignments=alignments, filter=filter, quiet=quiet)


def _dev(args: argparse.Namespace, cache: Path) -> Corpus | None:
    if not args.dev:
        return None
    folds = () if args.fold is None else (args.fold,)
    return open_corpus(args.dev, cache, filter=Filter(folds=folds, longest=120.0), quiet=True)


def begin(args: argparse.Namespace, corpus: Corpus, dev: Corpus | None) -> tuple[Start, Corpus, Corpus | None]:
    """The model, and the corpora with texts in its units. Raises ConfigError, CheckpointError."""
    folder = own = None
    overrides = {f.name: value for f in fields(Regularization) if (value := getattr(args, f.name)) is not None}
    config: Mapping[str, Any] = {}
    if args.start:
        folder, config, own = describe(args.start, args.revision)
    wanted = args.vocabulary or ("phonemes" if args.units == "phonemes" else "keep" if own else "characters")
    if args.ctc_layers is not None:
        _check_layers(args.ctc_layers, config, new=wanted != "keep")
        overrides["ctc_layers"] = args.ctc_layers
    if wanted == "keep" and own is None:
        raise ConfigError("there is no vocabulary to keep; take --vocabulary characters, phonemes or a file")
    known = own if wanted == "keep" else units.from_file(Path(wanted)) if wanted not in NEW else None
    in_phonemes = wanted == "phonemes" or bool(known is not None and known.separator)
    if args.units is not None and (args.units == "phonemes") != in_phonemes:
        whose = f"--vocabulary {wanted}" if args.vocabulary else "the checkpoint's own vocabulary"
        units_of = "phonemes" if in_phonemes else "letters"
        raise ConfigError(f"--units {args.units} and {whose}, which is of {units_of}, contradict each other")
    if in_phonemes:
        corpus, dev = _in_phonemes(corpus), dev and _in_phonemes(dev)
    vocabulary = known or (units.phonemes if wanted == "phonemes" else units.characters)(corpus.texts)
    if folder is not None:
        start = from_checkpoint(folder, None if wanted == "keep" else vocabulary, overrides, args.seed)
    else:
        config, preprocessor = _shape(args)
        start = from_nothing({**config, **overrides}, preprocessor, vocabulary, args.seed)
    if args.delay is not None:
        start.config["emission_delay_frames"] = args.delay
    elif start.new_head and not any(corpus.alignments):
        start.config.pop("emission_delay_frames", None)  # of frame targets, which there are none of
    return start, corpus, dev


def _check_layers(layers: int, config: Mapping[str, Any], new: bool) -> None:
    """Raises ConfigError where --ctc-layers has no place."""
    if config.get("model_type") != "whisper" or not new:
        raise ConfigError("--ctc-layers is for a new head on a Whisper: --from DIR, and no vocabulary to keep")
    if not layers and config.get("ctc_layers"):
        raise ConfigError("--ctc-layers 0: the checkpoint lacks the norm that the head would read; give 1 or more")


NEW = ("characters", "phonemes")


def _same_symbols(out: Path, vocabulary: Vocabulary) -> None:
    """Raises ConfigError if a run that goes on has other symbols: its head would write one for another."""
    if not ((out / state.STATE).exists() and (out / "model" / "vocab.json").exists()):
        return
    if Vocabulary.from_folder(out / "model").symbols[: vocabulary.size] != vocabulary.symbols:
        raise ConfigError(f"{out} holds a run with other symbols: its manifests were others; take another --out")


def _shape(args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    if args.config:
        return read_config(args.config)
    config = shape(args.shape, width=args.width, depth=args.depth, inner=args.inner, kernel=args.kernel)
    return config, dict(USUAL[config["model_type"]])


def _in_phonemes(corpus: Corpus) -> Corpus:
    """The same with phonemes for texts: those of the manifest, else eSpeak NG's."""
    from earshot_asr.engine.training.phonemes import targets

    return corpus.with_texts([targets(row.text or "", row.lang, row.phonemes, row.where) for row in corpus.rows])


def _text(args: argparse.Namespace, say: Callable[[str], None]) -> Unspoken | None:
    """What is read beside what is heard. Raises ConfigError."""
    if not args.text:
        return None
    text = Unspoken(args.text, args.lexicon or dictionary(), alpha=args.text_alpha, rows=args.text_rows)
    left_out = f", {text.left_out} left out: words that the lexicon lacks" if text.left_out else ""
    say(f"text: {len(text.ends):,} sentences, {len(text.ids):,} words{left_out}")
    return text


def sources(args: argparse.Namespace, corpus: Corpus, start: Start, world: World) -> tuple[Source, int]:
    """Where batches come from, and how many phones there are labels for. Raises ConfigError."""
    augment = None
    if args.augment > 0:
        augment = Augmentation.open(
            world.device, args.cache.expanduser(), args.noise, factor=args.augment, seed=args.seed
        )
    say = Progress(quiet=not world.first).say
    mix = args.mix
    if mix is None:
        unaligned = corpus.select([alignment is None for alignment in corpus.alignments]).hours / corpus.hours
        mix = unaligned if unaligned >= FEW else 0.0
        if 0 < mix < 1:
            say(f"{mix:.0%} of the audio has no alignment: --mix {mix:.2f}, whole utterances in so many batches")
    if mix < 1 and not any(corpus.alignments):
        raise ConfigError("there is no alignment, so --mix must be 1; `earshot train align` makes alignments")
    if args.text and mix == 1:
        raise ConfigError("--text wants recordings aligned in phones: `earshot train align` without --model")
    if args.lexicon and not args.text:
        raise ConfigError("--lexicon is of the words of --text, which is not given")
    drawing = Drawing(
        corpus,
        start.vocabulary,
        start.encoder.grid,
        world.device,
        seed=args.seed,
        rank=world.rank,
        seconds=args.seconds,
        weights=dict(args.weight) or None,
        augment=augment,
    )
    parts: list[tuple[Source, float]] = []
    phones = 0
    if mix < 1:
        crops = Crops(
            drawing,
            delay=start.config.get("emission_delay_frames", 0),
            lengths=dict(args.crop) or LENGTHS,
            text=_text(args, say),
        )
        if crops.left_out:
            say(f"text: {crops.left_out:,} sentences left out: the recordings' phones, or the letters, do not suffice")
        phones = len(crops.phones)
        parts.append((crops, 1 - mix))
    if mix > 0:
        whole = Utterances(drawing)
        if whole.left_out:
            say(f"{whole.left_out} recordings left out of whole utterances: too many symbols for their time, or none")
        parts.append((whole, mix))
    return (Mixed(parts, seed=args.seed) if len(parts) > 1 else parts[0][0]), phones
