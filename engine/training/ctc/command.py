"""`earshot train ctc`: trains a model that writes what is said, on recordings with texts."""

import argparse
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import nn

from earshot_asr.engine.errors import ConfigError, NothingLearned
from earshot_asr.engine.families import family_of
from earshot_asr.engine.families.layers import Encoder
from earshot_asr.engine.manifest import alignment_beside
from earshot_asr.engine.training import export, state
from earshot_asr.engine.training.ctc.arguments import JUDGED, RETIRED
from earshot_asr.engine.training.ctc.judge import Judge
from earshot_asr.engine.training.ctc.model import CtcModel, Losses, body
from earshot_asr.engine.training.data import units
from earshot_asr.engine.training.data.augment import Augmentation
from earshot_asr.engine.training.data.corpus import Corpus, Filter, open_corpus
from earshot_asr.engine.training.data.crops import LENGTHS_SECONDS, Crops
from earshot_asr.engine.training.data.drawing import Drawing, Mixed
from earshot_asr.engine.training.data.utterances import Utterances
from earshot_asr.engine.training.distributed import World
from earshot_asr.engine.training.loop import train
from earshot_asr.engine.training.options import eager, loop_options, settings
from earshot_asr.engine.training.progress import Progress
from earshot_asr.engine.training.regularization import Regularization
from earshot_asr.engine.training.start import (
    TrainingModel,
    ctc_shape,
    describe,
    from_checkpoint,
    from_nothing,
    read_config,
)
from earshot_asr.engine.training.task import Source, TrainingBatch
from earshot_asr.engine.vocabulary import Vocabulary

MOST_UNALIGNED = 0.05
"""Share of the audio without an alignment below which there are no batches of whole utterances by default."""
LONGEST_DEV_SECONDS = 120.0
PROOF_COUNT = 10
"""Recordings on which it is seen, at the end, whether a model without --dev has learned anything."""
REMEDY = "it needs more --minutes or more recordings, or --from a model that can write already"
NEW_VOCABULARIES = ("characters", "phonemes")
"""Values of --vocabulary that make one from the texts."""


class CtcTask:
    """See Task.

    judge   evaluates the model while it trains; None: it is not evaluated
    proof   evaluates it once, at the end, where there is no judge; None: not either
    """

    def __init__(
        self,
        start: TrainingModel,
        model: CtcModel,
        source: Source,
        judge: Judge | None,
        dtype: str,
        scales: Mapping[str, float] = {},
        proof: Judge | None = None,
    ) -> None:
        self.start, self.model, self.source, self.dtype = start, model, source, dtype
        self.module: nn.Module = model
        self.scales = scales
        self._judge, self._proof = judge, proof

    def draw(self, step: int) -> TrainingBatch:
        """See Task.draw."""
        return self.source.draw(step)

    def judge(self) -> Mapping[str, Any]:
        """See Task.judge: word and character error rates, or phoneme error rates, by corpus."""
        return {} if self._judge is None else self._judge(self.start.encoder, self._device)

    def complaint(self) -> str:
        """See Task.complaint."""
        judge, whose = (self._judge, "--dev") if self._judge else (self._proof, "the recordings it was trained on")
        if judge is None:
            return ""
        if judge is self._proof:
            judge(self.start.encoder, self._device)
        complaint = judge.errors.complaint(judge.phonemes)
        return f"{complaint}, on {len(judge.chosen)} of {whose}; {REMEDY}" if complaint else ""

    @property
    def _device(self) -> torch.device:
        return self.model.masked_spec_embed.device

    def save(self, folder: Path) -> None:
        """See Task.save."""
        start, masked = self.start, self.model.masked_spec_embed
        export.save(folder, start.encoder, start.config, start.preprocessor, start.tokenizer, masked, self.dtype)


def run(args: argparse.Namespace) -> None:
    """Runs the command. Raises EarshotError."""
    world = World(args.device)
    say = Progress(quiet=not world.first).say
    try:
        options = loop_options(args, **_defaults(args))
        if world.first:
            state.begin(args.out, settings(args, free=JUDGED), RETIRED)
        cache = args.cache.expanduser()
        corpus = _corpus(args, cache, quiet=not world.first)
        torch.manual_seed(args.seed)
        start, corpus, dev = begin(args, corpus, _dev(args, cache))
        if start.new_head:
            _same_symbols(args.out, start.vocabulary)
        if missing := units.check(start.vocabulary, corpus.texts):
            how = units.complaint(missing)
            if args.unknown == "error":
                raise ConfigError(f"{how}; --unknown drop drops them, --vocabulary characters makes a new vocabulary")
            say(f"dropped: {how}")
        source, phones = sources(args, corpus, start, world)
        model = _model(args, start, phones, eager(args, say))
        judge = Judge(dev, start.vocabulary, per_corpus=args.dev_count, by=args.score) if dev else None
        count = sum(p.numel() for p in start.encoder.parameters())
        say(f"{count / 1e6:.1f} M parameters, {start.vocabulary.size} symbols, on {world.device}")
        scales = scales_by_layer(start.encoder, args.layer_decay)
        proof = Judge(_sample(corpus), start.vocabulary, per_corpus=None)
        task = CtcTask(start, model, source, judge, args.dtype, scales, proof)
        if complaint := train(task, options, args.out, world):
            raise NothingLearned(f"{args.out / 'model'}: {complaint}")
    finally:
        world.close()


def _sample(corpus: Corpus) -> Corpus:
    """A few of the recordings, evenly spread."""
    every = -(-len(corpus) // PROOF_COUNT)
    return corpus.select([n % every == 0 for n in range(len(corpus))])


def _model(args: argparse.Namespace, start: TrainingModel, phones: int, eager: bool) -> CtcModel:
    """The module that is trained, with heads for so many phones."""
    freeze_body = 0.1 if args.start and start.new_head else 0.0
    return CtcModel(
        start.encoder,
        start.masked,
        start.vocabulary.blank,
        phones=phones,
        regularization=Regularization.read(start.config),
        losses=Losses(intermediate=args.intermediate_ctc, by_frame=args.by_frame, last_stage=not start.new_head),
        freeze_features=bool(args.start) if args.freeze_features is None else args.freeze_features,
        freeze_body=freeze_body if args.freeze_body is None else args.freeze_body,
        freeze_layers=args.freeze_layers,
        eager=eager,
    )


def scales_by_layer(encoder: Encoder, decay: float) -> dict[str, float]:
    """Factors on the learning rates of CtcModel's weights, by name.

    The body's last layer has `decay`, the one below its square, and so on; what is below all layers has one power
    more. The head has 1.
    """
    levels = body(encoder)
    above = max(levels.values(), default=0) + 1
    return {f"encoder.{name}": decay ** (above - level) for name, level in levels.items()}


def _defaults(args: argparse.Namespace) -> dict[str, Any]:
    """Defaults of the loop's options that depend on other options."""
    rates = {"adamw": 1e-4, "muon": None} if args.start else {}
    return {**rates, "judge_every": min(10.0, max(min(1.0, args.minutes / 2), args.minutes / 12))}


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
    return open_corpus(args.dev, cache, filter=Filter(folds=folds, longest=LONGEST_DEV_SECONDS), quiet=True)


def begin(args: argparse.Namespace, corpus: Corpus, dev: Corpus | None) -> tuple[TrainingModel, Corpus, Corpus | None]:
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
    known = own if wanted == "keep" else units.from_file(Path(wanted)) if wanted not in NEW_VOCABULARIES else None
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
        start.config.pop("emission_delay_frames", None)  # without alignments nothing teaches the model a delay
    return start, corpus, dev


def _check_layers(layers: int, config: Mapping[str, Any], new: bool) -> None:
    """Raises ConfigError if --ctc-layers does not go with the checkpoint's config.json."""
    if not (new and config and family_of(config).ctc_layers):
        raise ConfigError("--ctc-layers is for a new head on a Whisper or the like: --from DIR, no vocabulary to keep")
    if not layers and config.get("ctc_layers"):
        raise ConfigError(
            "--ctc-layers 0: this checkpoint was trained with layers on top, and lacks the norm before the head; give "
            "1 or more"
        )


def _same_symbols(out: Path, vocabulary: Vocabulary) -> None:
    """Raises ConfigError if a run that goes on had other symbols, as its head would write one for the other."""
    if not ((out / state.STATE).exists() and (out / "model" / "vocab.json").exists()):
        return
    if Vocabulary.from_folder(out / "model").symbols[: vocabulary.size] != vocabulary.symbols:
        raise ConfigError(f"{out} holds a run with another vocabulary, made from other manifests; give another --out")


def _shape(args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, Any]]:
    if args.config:
        return read_config(args.config)
    config = ctc_shape(args.shape, width=args.width, depth=args.depth, inner=args.inner, kernel=args.kernel)
    return config, family_of(config).preprocessor(config)


def _in_phonemes(corpus: Corpus) -> Corpus:
    """The corpus with phonemes as its texts: those of the manifest, or eSpeak NG's."""
    from earshot_asr.engine.phonemes import targets

    return corpus.with_texts([targets(row.text or "", row.lang, row.phonemes, row.where) for row in corpus.rows])


def sources(args: argparse.Namespace, corpus: Corpus, start: TrainingModel, world: World) -> tuple[Source, int]:
    """The source of batches, and the number of phones that they have labels for. Raises ConfigError."""
    augment = None
    if args.augment > 0:
        augment = Augmentation.open(
            world.device, args.cache.expanduser(), args.noise, factor=args.augment, seed=args.seed
        )
    say = Progress(quiet=not world.first).say
    mix = args.mix
    if mix is None:
        unaligned = corpus.select([alignment is None for alignment in corpus.alignments]).hours / corpus.hours
        mix = unaligned if unaligned >= MOST_UNALIGNED else 0.0
        if 0 < mix < 1:
            say(f"{mix:.0%} of the audio has no alignment: --mix {mix:.2f}, whole utterances in so many batches")
    if mix < 1 and not any(corpus.alignments):
        raise ConfigError("there is no alignment, so --mix must be 1; `earshot train align` makes alignments")
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
        delay = start.config.get("emission_delay_frames", 0)
        crops = Crops(drawing, delay=delay, lengths=dict(args.crop) or LENGTHS_SECONDS)
        phones = len(crops.phones)
        parts.append((crops, 1 - mix))
    if mix > 0:
        whole = Utterances(drawing)
        if whole.left_out:
            say(f"{whole.left_out} recordings left out of whole utterances: too many symbols for their time, or none")
        parts.append((whole, mix))
    return (Mixed(parts, seed=args.seed) if len(parts) > 1 else parts[0][0]), phones
