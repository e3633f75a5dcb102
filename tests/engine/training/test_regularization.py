"""Dropouts are where transformers has them, masks and layer drop do what they say, evaluation knows nothing of it."""

from collections import Counter
from dataclasses import asdict, fields, replace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCTC, PreTrainedModel, SeamlessM4TFeatureExtractor

from earshot_asr.engine.errors import ConfigError
from earshot_asr.engine.training.export import to_checkpoint
from earshot_asr.engine.training.masking import mask
from earshot_asr.engine.training.regularization import Regularization
from tests.engine.families.test_relatives import PARTS
from tests.engine.families.test_wav2vec2 import LARGE, difference, speechlike
from tests.engine.training.test_export import BERT, PLAIN, random_encoder, relative

CONFIGS: list[dict[str, Any]] = [
    PLAIN,
    {**PLAIN, **LARGE},
    {**BERT, "position_embeddings_type": "rotary"},
    *(relative(kind, parts[0]) for kind, parts in PARTS.items()),
]
RATES = {f.name: 0.01 * n for n, f in enumerate(fields(Regularization), 1) if f.name.endswith("dropout")}
NONE = dict.fromkeys(RATES, 0.0) | {"layerdrop": 0.0}


def theirs(config: dict[str, Any], **rates: float) -> PreTrainedModel:
    given = {name: value for name, value in config.items() if name != "architectures"}
    model: PreTrainedModel = AutoModelForCTC.from_config(AutoConfig.for_model(**{**given, **rates}))
    return model


def dropouts(model: nn.Module) -> Counter[float]:
    """Of modules, and of attention that has its rate as a number."""
    rates = [m.p for m in model.modules() if isinstance(m, nn.Dropout)]
    numbers = [getattr(m, "dropout", None) for m in model.modules()]
    return Counter([*rates, *(n for n in numbers if isinstance(n, float))])


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_as_many_dropouts_of_each_rate_as_transformers_has(config: dict[str, Any]) -> None:
    encoder = random_encoder(config)
    Regularization.read({**config, **RATES}).apply(encoder)
    rates = RATES if config["model_type"] == "wav2vec2-bert" else RATES | {"conformer_conv_dropout": 0.0}
    assert dropouts(encoder) == dropouts(theirs(config, **rates))


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_defaults_are_those_of_transformers(config: dict[str, Any]) -> None:
    kind = AutoConfig.for_model(config["model_type"])
    for name, value in asdict(Regularization.read(config)).items():
        assert value == getattr(kind, name, value), name


@pytest.mark.parametrize("config", CONFIGS, ids=repr)
def test_masked_frames_make_of_the_rest_what_they_make_in_transformers(config: dict[str, Any]) -> None:
    encoder, embedding = random_encoder(config), torch.randn(32)
    other = theirs(config, **NONE, mask_time_prob=0.1).train()
    prefix = other.base_model_prefix
    other.load_state_dict({**to_checkpoint(encoder), f"{prefix}.masked_spec_embed": embedding})
    samples = speechlike(encoder.grid.span(0, 20)[1])[None]
    time = torch.rand(1, 20) < 0.4
    encoder.train()
    with torch.no_grad():
        x = mask(encoder.project(encoder.extract(samples, None)), time, None, embedding)
        states: list[torch.Tensor] = []
        hidden = encoder.contextualize(x, None, states)
        inputs = samples
        if prefix != "wav2vec2_bert":
            inputs = (samples - samples.mean()) / torch.sqrt(samples.var(correction=0) + 1e-7)
        else:
            inputs = SeamlessM4TFeatureExtractor()(samples[0].numpy(), sampling_rate=16000, return_tensors="pt")
            inputs = inputs.input_features
        body = getattr(other, prefix)
        body.config.mask_feature_prob = 0.0
        expected = body(inputs, mask_time_indices=time, output_hidden_states=True)
    assert difference(hidden, expected.last_hidden_state) < 1e-4
    assert len(states) == 2
    below = expected.hidden_states[1]
    assert difference(states[0], below.repeat_interleave(20 // below.shape[1], dim=1)) < 1e-4


def test_layers_are_left_out_as_often_as_is_said() -> None:
    encoder = random_encoder(CONFIGS[2]).train()
    encoder.layers.layerdrop = 0.3
    x = torch.randn(1, 5, 32)
    torch.manual_seed(0)
    same = 0
    for _ in range(300):
        states: list[torch.Tensor] = []
        encoder.contextualize(x, None, states)
        same += int(torch.equal(states[0], x)) + int(torch.equal(states[0], states[1]))
    assert same / 600 == pytest.approx(0.3, abs=0.08)


def test_evaluation_knows_nothing_of_it() -> None:
    for config in CONFIGS:
        encoder = random_encoder(config)
        samples = speechlike(9000)[None]
        with torch.no_grad():
            before = encoder(samples)
            Regularization.read(dict.fromkeys([*RATES, "layerdrop"], 0.9)).apply(encoder)
            assert torch.equal(encoder.eval()(samples), before)
            assert not torch.equal(encoder.train()(samples), before)


def test_masks_are_drawn_where_they_are_wanted() -> None:
    rules = Regularization(mask_time_prob=0.5, mask_time_length=2, mask_feature_prob=0.25, mask_feature_length=4)
    time, channels = rules.masks((2, 50, 32), torch.tensor([50, 20]), torch.device("cpu"))
    assert time is not None and channels is not None
    assert time.shape == (2, 50)
    assert channels.shape == (2, 32)
    assert not time[1, 20:].any()
    assert time[:, :20].any(1).all()
    none = replace(rules, mask_time_prob=0.0, mask_feature_prob=0.0)
    assert none.masks((2, 50, 32), None, torch.device("cpu")) == (None, None)
    assert Regularization.read({"apply_spec_augment": False}).mask_time_prob == 0


@pytest.mark.parametrize(
    ("name", "value"), [("layerdrop", 1.0), ("hidden_dropout", "0.1"), ("mask_time_length", 0), ("mask_time_prob", -1)]
)
def test_bad_rates_are_named(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=name):
        Regularization.read({name: value})
