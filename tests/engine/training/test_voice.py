"""Text reaches the upper layers as if it had been heard, and what is read there is written when it is heard."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from engine.training.ctc_model import CtcModel, Losses
from engine.training.labels import UNKNOWN
from engine.training.regularization import Regularization
from engine.training.start import PREPROCESSORS, from_nothing
from engine.training.task import Batch, Text
from engine.training.units import characters
from engine.training.voice import Voice, imitate
from engine.vocabulary import Vocabulary
from tests.engine.training import tones


def test_unknown_phones_have_a_sound_of_their_own() -> None:
    torch.manual_seed(0)
    voice = Voice(3, 8)
    found = voice(torch.tensor([[0, 2, UNKNOWN], [0, 2, 1]]))
    assert found.shape == (2, 3, 8)
    assert not torch.allclose(found[0, 2], found[1, 2])


def test_a_voice_is_learned_by_regression() -> None:
    torch.manual_seed(0)
    voice = Voice(4, 8)
    table = torch.randn(4, 8)
    optimizer = torch.optim.Adam(voice.parameters(), 1e-2)
    for _ in range(150):
        phones = torch.randint(4, (6, 1)).repeat(1, 20)
        loss = (voice(phones) - table[phones]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1


def test_imitated_is_what_was_expected_and_what_others_lacked() -> None:
    """Of another row, if there is one; and all of it comes again somewhere."""
    torch.manual_seed(0)
    expected, heard, spoken = torch.randn(3, 4, 7, 5)
    found = imitate(expected, heard, spoken) - expected
    assert found.flatten(1).sort(1)[0].sort(0)[0].allclose((heard - spoken).flatten(1).sort(1)[0].sort(0)[0], atol=1e-5)
    assert imitate(expected, heard, heard).equal(expected)


@pytest.mark.parametrize("config", [tones.CONFIG, tones.WAV2VEC2], ids=["wav2vec2-bert", "wav2vec2"])
@torch.inference_mode()
def test_from_the_middle_on_layers_are_the_same(config: dict[str, object]) -> None:
    encoder = tones.task(config).model.encoder.eval()
    states: list[Tensor] = []
    x = torch.randn(2, 30, 32)
    top = encoder.contextualize(x, None, states)
    assert encoder.contextualize(states[0], None, first=1).equal(top)
    frames = torch.tensor([30, 17])
    states.clear()
    top = encoder.contextualize(x, frames, states)
    assert torch.allclose(encoder.contextualize(states[0], frames, first=1)[1, :17], top[1, :17], atol=1e-6)


def model(vocabulary: Vocabulary, phones: int, text: float) -> CtcModel:
    torch.manual_seed(0)
    start = from_nothing(tones.CONFIG, PREPROCESSORS["wav2vec2-bert"], vocabulary)
    return CtcModel(
        start.encoder,
        start.masked,
        vocabulary.blank,
        phones=phones,
        text=text,
        regularization=Regularization.read(start.config),
        losses=Losses(last_stage=True),
        eager=True,
    )


def test_no_text_no_voice() -> None:
    vocabulary = characters(tones.TEXTS)
    plain = model(vocabulary, 5, 0.0)
    assert plain.voice is None
    assert not any("voice" in name for name, _ in plain.named_parameters())


def test_text_teaches_the_upper_layers_alone() -> None:
    """The lower ones learn from sound; the voice from the lower ones, which it does not change."""
    vocabulary = characters(tones.TEXTS)
    taught = model(vocabulary, 5, 1.0)
    frames = 20
    grid = taught.encoder.grid
    phones = torch.randint(5, (2, frames))
    lengths = torch.tensor([2, 1])
    text = Text(phones, torch.tensor([3, 4, 3]), lengths, torch.full((2, frames), 3))
    samples = torch.randn(2, grid.span(0, frames)[1]) * 0.1
    batch = Batch(samples, None, torch.tensor([3, 4, 3]), lengths, torch.full((2, frames), 3), phones, text)
    gradients = {}
    for name, given in (("with", batch), ("without", replace(batch, text=None))):
        taught.zero_grad()
        loss, figures = taught(given, 0.5)
        loss.backward()
        gradients[name] = {n: p.grad.clone() for n, p in taught.named_parameters() if p.grad is not None}
        assert ("text" in figures) == (name == "with")
    without = gradients["without"]
    changed = {name for name, g in gradients["with"].items() if name not in without or not g.equal(without[name])}
    assert any("layers.1." in name for name in changed) and "encoder.lm_head.weight" in changed
    assert any(name.startswith("voice.") for name in changed)
    assert not any("layers.0." in name or "feature_projection" in name for name in changed)
