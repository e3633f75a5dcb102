"""Loads a checkpoint, a folder or a hub id, as an encoder and its vocabulary. All sizes come from the checkpoint."""

import logging
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from earshot_asr.engine.adapters import FILES, Adapter, are_own, languages, own_language
from earshot_asr.engine.errors import CheckpointError, HubError, UnsupportedModel, listed, shown
from earshot_asr.engine.families import Family
from earshot_asr.engine.families.layers import Encoder
from earshot_asr.engine.fingerprint import fingerprint
from earshot_asr.engine.hub import Origin, locate
from earshot_asr.engine.judgement import TRAIN, check_preprocessor, judge, preprocessor_of
from earshot_asr.engine.languages import match
from earshot_asr.engine.model import MOST_DELAY_FRAMES
from earshot_asr.engine.vocabulary import Vocabulary
from earshot_asr.engine.weights import fuse_weight_norm, named_alike, read_tensors, weight_files, widened

log = logging.getLogger(__name__)

LEAST_HOP, MOST_HOP, MOST_FIELD = 40, 3200, 16_000
"""Samples of a frame: 2.5 to 200 ms apart, computed from at most a second. Published models have 320 to 1,280."""
MOST_PARAMETERS = 10 * 10**9


@dataclass(frozen=True)
class Checkpoint:
    """A model that is ready to run, in one of its languages.

    name            the folder's name, or the hub id
    emission_delay  frames from a sound to its letter: emission_delay_frames in config.json
    fingerprint     16 hex digits, which change with any byte of weights or settings
    origin          where its files come from
    language        that it speaks, as it is called there; None: it is not known
    languages       all that it can speak, see speaking(); empty: it is not known
    adapter         the weights of its language, to take the place of the encoder's; None: the encoder has them
    own, whole      language and fingerprint without an adapter
    """

    name: str
    encoder: Encoder
    vocabulary: Vocabulary
    emission_delay: int
    fingerprint: str
    origin: Origin
    language: str | None
    languages: tuple[str, ...]
    own: str | None
    whole: str
    adapter: Adapter | None = None

    def speaking(self, language: str) -> Self:
        """The same in that one of its languages, whose weights are downloaded if need be. Raises CheckpointError.

        What an adapter's file says goes before what the encoder has: target_lang may be another language than that.
        """
        own = language == self.own
        try:
            adapter = Adapter.find(self.origin, language) if self.encoder.adapted else None
        except CheckpointError:
            if not own:
                raise
            adapter = None
        if adapter is None and not own:
            raise CheckpointError(f"{self.name} has no {FILES[0].format(language)}, the weights for {language}")
        weights = adapter.read(self.encoder) if adapter else {}
        if own and are_own(weights, self.encoder):
            adapter = None
        size = len(weights["lm_head.bias"]) if adapter else self.encoder.vocab_size
        return replace(
            self,
            vocabulary=Vocabulary.from_folder(self.origin.folder, size, language),
            fingerprint=adapter.fingerprint(self.whole) if adapter else self.whole,
            language=language,
            adapter=adapter,
        )


def load_checkpoint(
    model: str | Path,
    *,
    revision: str | None = None,
    language: str | None = None,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Checkpoint:
    """Load a checkpoint in Hugging Face format from a folder or, if there is no folder `model`, from the hub.

    revision   branch, tag or commit on the hub
    language   one of its languages, by any of its names; None: the one that its weights are for. A checkpoint that does
               not say which language it has is taken to have this one
    dtype      of the weights and layers, whatever the file has

    Raises CheckpointError if it can't be loaded, UnsupportedModel if the engine does not run such models, ConfigError
    if it has no such language.
    """
    origin = locate(model, revision)
    folder = origin.folder
    config = origin.config
    judge(config)
    encoder = build_encoder(config, preprocessor_of(folder, config))
    own = own_language(folder, config)
    names = languages(origin, own, adapted=bool(encoder.adapted))
    if language is not None and not names:
        own, names = language, (language,)
    chosen = own if language is None else match(language, names, origin.name)
    vocabulary = Vocabulary.from_folder(folder, encoder.vocab_size, own)
    files = weight_files(origin.with_weights().folder)
    load_weights(encoder, widened(read_tensors(files), config), torch.device(device), dtype)
    delay = config.get("emission_delay_frames", 0)
    if type(delay) is not int or not 0 <= delay <= MOST_DELAY_FRAMES:
        wanted = f"it must be a whole number from 0 to {MOST_DELAY_FRAMES}"
        raise CheckpointError(f"config.json: emission_delay_frames is {shown(delay)}; {wanted}")
    whole = fingerprint(folder, files)
    checkpoint = Checkpoint(origin.name, encoder, vocabulary, delay, whole, origin, own, names, own, whole)
    return checkpoint if chosen is None else checkpoint.speaking(chosen)


def fetch(model: str | Path, revision: str | None = None, *, own_lm: bool = True) -> Origin:
    """Download what load_checkpoint needs of a model of the hub, unless it is here.

    own_lm     whether its language model, if it has one, is needed, too

    Raises what load_checkpoint raises.
    """
    origin = locate(model, revision)
    config = origin.config
    judge(config)
    build_encoder(config, preprocessor_of(origin.folder, config))
    origin = origin.with_weights()
    if not own_lm:
        return origin
    try:
        origin.language_model()
    except HubError:
        raise
    except CheckpointError as error:
        log.warning("%s; the model runs without one", error)
    return origin


def build_encoder(config: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> Encoder:
    """The encoder that a checkpoint's settings describe, on the meta device, without weights.

    Raises UnsupportedModel that names what is not supported, CheckpointError for a setting that makes no sense.
    """
    family = judge(config)
    check_preprocessor(family, config, preprocessor)
    return outline(family, config, preprocessor)


def outline(family: Family, config: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> Encoder:
    """The family's encoder on the meta device. Raises CheckpointError if it would be too large, or its frames odd."""
    with torch.device("meta"):
        encoder = family.build(config, preprocessor).eval().requires_grad_(False)
    hop, field = encoder.grid.hop, encoder.grid.field
    if not (LEAST_HOP <= hop <= MOST_HOP and field <= MOST_FIELD):
        raise CheckpointError(
            f"config.json: a frame every {shown(hop)} samples, of {shown(field)} samples; it must be {LEAST_HOP} to "
            f"{MOST_HOP:,}, of at most {MOST_FIELD:,}"
        )
    if (count := sum(parameter.numel() for parameter in encoder.parameters())) > MOST_PARAMETERS:
        most = MOST_PARAMETERS // 10**9
        raise CheckpointError(f"config.json: a model of {count / 1e9:,.0f} G parameters; {most} G are the most")
    return encoder


def load_weights(encoder: Encoder, tensors: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype) -> None:
    """Give the encoder its weights, and move it to the device.

    Raises CheckpointError that lists tensors that are missing, unexpected, or of other shapes than config.json says.
    """
    recipes = {name: encoder.recipe(name) for name in encoder.state_dict()}
    wanted = {part for recipe in recipes.values() for part in recipe.names}
    tensors = fuse_weight_norm(named_alike(tensors, wanted))
    weights: dict[str, Tensor] = {}
    misshapen: list[str] = []
    for name, parameter in encoder.state_dict().items():
        recipe = recipes[name]
        if not tensors.keys() >= set(recipe.names):
            continue
        parts = [tensors[part] for part in recipe.names]
        try:
            weight = recipe.make(*parts)
            fits = weight.shape == parameter.shape
        except (RuntimeError, IndexError):  # shapes that can't be put together
            fits = False
        if fits:
            weights[name] = weight.to(device, dtype)
        else:
            misshapen += [f"{part} {tuple(t.shape)}" for part, t in zip(recipe.names, parts, strict=True)]
    _check_tensors(encoder, tensors, wanted, misshapen)
    encoder.load_state_dict(weights, assign=True)
    encoder.requires_grad_(False).to(device)


def _check_tensors(encoder: Encoder, tensors: Mapping[str, Tensor], wanted: Set[str], misshapen: list[str]) -> None:
    """Raises CheckpointError if they are not those that the encoder wants. Those of another head may be there, too."""
    missing = wanted - tensors.keys()
    parts = {name.split(".")[0] for name in wanted}
    unexpected = [
        name
        for name in tensors.keys() - wanted
        if name.split(".")[0] in parts and not encoder.IGNORED & set(name.split("."))
    ]
    if missing and not unexpected and all(name.startswith(encoder.HEAD) for name in missing):
        raise UnsupportedModel(
            f"there is no {listed(sorted(missing))}: a model without a CTC head, whatever config.json says; {TRAIN} "
            "gives it one, from recordings with texts"
        )
    problems = {"missing": missing, "unexpected": unexpected, "of another shape than config.json says": misshapen}
    if found := {what: sorted(names) for what, names in problems.items() if names}:
        lists = "; ".join(f"{what}: {listed(names, 200 // len(found))}" for what, names in found.items())
        raise CheckpointError(f"the weights do not fit the model. Tensors {lists}")
    if whole := sorted(name for name in wanted if not tensors[name].is_floating_point()):
        raise UnsupportedModel(
            f"the weights are whole numbers ({listed(whole, 60)}, of {tensors[whole[0]].dtype}) without their scales; "
            "take the checkpoint that they were made from"
        )
