"""Loads a checkpoint, a folder or a hub id, as an encoder and its vocabulary. All sizes come from the checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from earshot_asr.engine.adapters import FILES, Adapter, are_own, languages, own_language
from earshot_asr.engine.audio import SAMPLE_RATE
from earshot_asr.engine.errors import CheckpointError, UnsupportedModel, listed, shown
from earshot_asr.engine.families import Family, family_of
from earshot_asr.engine.families.layers import Encoder
from earshot_asr.engine.files import present, read_json
from earshot_asr.engine.fingerprint import fingerprint
from earshot_asr.engine.hub import Origin, locate
from earshot_asr.engine.languages import match
from earshot_asr.engine.model import MOST_DELAY_FRAMES
from earshot_asr.engine.vocabulary import Vocabulary
from earshot_asr.engine.weights import fuse_weight_norm, read_tensors, weight_files, widened

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
    config = read_json(folder / "config.json")
    encoder = build_encoder(config, preprocessor_of(folder))
    own = own_language(folder, config)
    names = languages(origin, own, adapted=bool(encoder.adapted))
    if language is not None and not names:
        own, names = language, (language,)
    chosen = own if language is None else match(language, names, origin.name)
    files = weight_files(origin.with_weights().folder)
    load_weights(encoder, widened(read_tensors(files), config), torch.device(device), dtype)
    delay = config.get("emission_delay_frames", 0)
    if type(delay) is not int or not 0 <= delay <= MOST_DELAY_FRAMES:
        wanted = f"it must be a whole number from 0 to {MOST_DELAY_FRAMES}"
        raise CheckpointError(f"config.json: emission_delay_frames is {shown(delay)}; {wanted}")
    vocabulary, whole = Vocabulary.from_folder(folder, encoder.vocab_size, own), fingerprint(folder, files)
    checkpoint = Checkpoint(origin.name, encoder, vocabulary, delay, whole, origin, own, names, own, whole)
    return checkpoint if chosen is None else checkpoint.speaking(chosen)


def fetch(model: str | Path, revision: str | None = None) -> Origin:
    """Download what load_checkpoint needs of a model of the hub, unless it is here. Raises what that raises."""
    origin = locate(model, revision)
    build_encoder(read_json(origin.folder / "config.json"), preprocessor_of(origin.folder))
    return origin.with_weights()


def preprocessor_of(folder: Path) -> dict[str, Any]:
    """preprocessor_config.json, or the part of processor_config.json that recent versions of transformers write."""
    nested = folder / "processor_config.json"
    if not present(folder / "preprocessor_config.json") and present(nested):
        part = read_json(nested).get("feature_extractor")
        if isinstance(part, dict):
            return part
    return read_json(folder / "preprocessor_config.json")


def build_encoder(config: Mapping[str, Any], preprocessor: Mapping[str, Any]) -> Encoder:
    """The encoder that a checkpoint's settings describe, on the meta device, without weights.

    Raises UnsupportedModel that names what is not supported, CheckpointError for a setting that makes no sense.
    """
    family = family_of(config)
    if not has_ctc_head(config):
        named = (_architectures(config) or [config["model_type"]])[0]
        raise UnsupportedModel(
            f"{shown(named)[1:-1]} has no CTC head, and only CTC models stream: `earshot train ctc MANIFEST --out OUT "
            "--from CHECKPOINT` gives it one, from recordings with texts; or take one whose architecture ends in ForCTC"
        )
    rate = preprocessor.get("sampling_rate", SAMPLE_RATE)
    if rate != SAMPLE_RATE:
        raise UnsupportedModel(f"the model wants {shown(rate)} samples a second; this engine works at {SAMPLE_RATE}")
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


def has_ctc_head(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is that of a model with a CTC head. Raises UnsupportedModel for an unknown family."""
    named = _architectures(config)
    return any(name.endswith("ForCTC") for name in named) if named else family_of(config).assumed_ctc


def _architectures(config: Mapping[str, Any]) -> list[str]:
    named = config.get("architectures") or []
    if not isinstance(named, list) or not all(isinstance(name, str) for name in named):
        raise CheckpointError(f"config.json: architectures is {shown(named)}; it must be a list of names")
    return named


def load_weights(encoder: Encoder, tensors: Mapping[str, Tensor], device: torch.device, dtype: torch.dtype) -> None:
    """Give the encoder its weights, and move it to the device.

    Raises CheckpointError that lists tensors that are missing, unexpected, or of other shapes than config.json says.
    """
    tensors = fuse_weight_norm(tensors)
    weights: dict[str, Tensor] = {}
    missing: list[str] = []
    misshapen: list[str] = []
    used: set[str] = set()
    for name, parameter in encoder.state_dict().items():
        recipe = encoder.recipe(name)
        used.update(recipe.names)
        if absent := [part for part in recipe.names if part not in tensors]:
            missing += absent
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
    unexpected = [name for name in tensors if name not in used and not encoder.IGNORED & set(name.split("."))]
    problems = {"missing": missing, "unexpected": unexpected, "of another shape than config.json says": misshapen}
    if found := {what: sorted(names) for what, names in problems.items() if names}:
        lists = "; ".join(f"{what}: {listed(names, 200 // len(found))}" for what, names in found.items())
        raise CheckpointError(f"the weights do not fit the model. Tensors {lists}")
    encoder.load_state_dict(weights, assign=True)
    encoder.requires_grad_(False).to(device)
