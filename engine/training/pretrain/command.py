"""`earshot train pretrain`: the pretraining of wav2vec 2.0, or XLSR, on recordings without texts."""

import argparse
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch

from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.families import family_of
from earshot_asr.engine.files import read_json
from earshot_asr.engine.hub import locate
from earshot_asr.engine.judgement import preprocessor_of
from earshot_asr.engine.training import state
from earshot_asr.engine.training.data.corpus import Corpus, Filter, open_corpus
from earshot_asr.engine.training.distributed import World
from earshot_asr.engine.training.loop import train
from earshot_asr.engine.training.options import eager, loop_options, settings
from earshot_asr.engine.training.pretrain import pretrained
from earshot_asr.engine.training.pretrain.contrastive import Contrastive
from earshot_asr.engine.training.pretrain.languages import UNDETERMINED, Languages, Masks
from earshot_asr.engine.training.pretrain.pretraining import HeldOut, Pretraining, PretrainTask, Temperature
from earshot_asr.engine.training.progress import Progress
from earshot_asr.engine.training.regularization import Regularization
from earshot_asr.engine.training.shapes import PRETRAINING_SHAPES
from earshot_asr.engine.training.start import read_config

DEV_CROPS = 64
"""Crops that are evaluated, of all languages together, but at least one of each."""


def run(args: argparse.Namespace) -> None:
    """Runs the command. Raises EarshotError."""
    world = World(args.device)
    say = Progress(quiet=not world.first).say
    try:
        options = loop_options(args, **_defaults(args))
        temperature = Temperature(
            high=args.max_gumbel_temperature, low=args.min_gumbel_temperature, decay=args.gumbel_decay
        )
        if world.first:
            state.begin(args.out, settings(args, free=("dev", "stop_on_collapse")))
        model, files = begin(args)
        corpus = _corpus(args, args.manifests, unseen=args.dev, quiet=not world.first)
        source = _crops(args, model, corpus, world)
        say(_listing(source, corpus))
        held_out = None
        if args.dev and world.first:
            dev = _corpus(args, args.dev, quiet=True)
            crops = _crops(args, model, dev, world)
            held_out = HeldOut(dev, crops, count=max(1, DEV_CROPS // len(crops.names)))
        count = sum(p.numel() for p in model.parameters())
        say(f"{count / 1e6:.1f} M parameters, {model.dims.codewords} codewords, on {world.device}")
        module = Pretraining(model, temperature, world=world, eager=eager(args, say), stop=args.stop_on_collapse)
        train(PretrainTask(module, source, held_out, files, args.dtype), options, args.out, world)
    finally:
        world.close()


def _defaults(args: argparse.Namespace) -> dict[str, Any]:
    """Defaults of the loop's options that depend on other options."""
    rates = {"adamw": 1e-4, "muon": None} if args.start else {"adamw": 1e-3, "muon": 2e-3}
    return {**rates, "log_every": 25, "judge_every": min(10.0, max(min(1.0, args.minutes / 2), args.minutes / 4))}


def begin(args: argparse.Namespace) -> tuple[Contrastive, dict[str, dict[str, Any]]]:
    """The model, and the settings beside its weights, file name -> content. Raises CheckpointError, ConfigError."""
    folder = None
    if args.start:
        origin = locate(args.start)
        config = read_json(origin.folder / "config.json")
        preprocessor = preprocessor_of(origin.folder, config)
        pretrained.trainable(config)  # raises an error before gigabytes are downloaded
        folder = origin.with_weights().folder
    elif args.config:
        config, preprocessor = read_config(args.config)
    else:
        config = dict(PRETRAINING_SHAPES[args.shape or "tiny"])
        preprocessor = family_of(config).preprocessor(config)
    others = {"num_negatives": args.negatives, "diversity_loss_weight": args.diversity}
    config |= {name: value for name, value in others.items() if value is not None}
    weights = {"penalty": args.penalty, "feature_gradient": args.feature_gradient}
    torch.manual_seed(args.seed)
    model = (
        pretrained.create(config, preprocessor, **weights)
        if folder is None
        else pretrained.load(folder, config, preprocessor, **weights)
    )
    Regularization.read(config).apply(model.wav2vec2)
    return model, {"config.json": config, "preprocessor_config.json": preprocessor}


def _corpus(args: argparse.Namespace, manifests: list[Path], quiet: bool, unseen: Sequence[Path] = ()) -> Corpus:
    filter = Filter(transcribed=False, longest=float("inf"), unseen=unseen)
    corpus = open_corpus(manifests, args.cache.expanduser(), filter=filter, quiet=quiet)
    if args.languages is None:
        return corpus
    return only(corpus, args.languages.split(","), ", ".join(map(str, manifests)))


def only(corpus: Corpus, languages: Collection[str], where: str = "the manifests") -> Corpus:
    """The recordings in these languages. Raises ConfigError if there are none in one of them."""
    langs = [lang or UNDETERMINED for lang in corpus.langs]
    if missing := sorted(set(languages) - set(langs)):
        there = ", ".join(sorted(set(langs)))
        raise ConfigError(f"--languages: there is no {', '.join(missing)} in {where}; there are {there}")
    return corpus.select([lang in languages for lang in langs])


def _crops(args: argparse.Namespace, model: Contrastive, corpus: Corpus, world: World) -> Languages:
    masks = Masks(
        mask_time_prob=args.mask_time_prob,
        mask_time_length=args.mask_time_length,
        num_negatives=model.dims.num_negatives,
    )
    return Languages(
        corpus,
        model.wav2vec2.grid,
        world.device,
        masks,
        seconds=args.seconds,
        batch=args.batch,
        alpha=args.alpha,
        seed=args.seed,
        rank=world.rank,
    )


def _listing(source: Languages, corpus: Corpus) -> str:
    """A line that says how often languages are drawn, the most frequent ones first."""
    drawn = sorted(zip(source.shares.tolist(), source.names, strict=True), reverse=True)
    some = ", ".join(f"{name} {part:.1%}" for part, name in drawn[:5])
    used = sum(there.samples for there in source.places.values()) / max(1, int(corpus.lengths.sum()))
    more = f" and {len(drawn) - 5} more" if len(drawn) > 5 else ""
    return f"{len(drawn)} languages: {some}{more}; {used:.0%} of the speech is in recordings that are long enough"
