"""Text reaches the upper layers as if it had been heard, and what is read there is written when it is heard."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from earshot_asr.engine.training.ctc_model import CtcModel, Losses
from earshot_asr.engine.training.labels import UNKNOWN
from earshot_asr.engine.training.regularization import Regularization
from earshot_asr.engine.training.start import PREPROCESSORS, from_nothing
from earshot_asr.engine.training.task import Batch, Text
from earshot_asr.engine.training.units import characters
from earshot_asr.engine.training.voice import Voice, imitate
from earshot_asr.engine.vocabulary import Vocabulary
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
    """Of another row, if there is one, and more or less of it; of more text than recordings, of each as often."""
    torch.manual_seed(0)
    known = torch.ones(4, 7, dtype=torch.bool)
    ways, shares = [(row, frame) for row in range(4) for frame in range(7)], []
    for _ in range(20):
        heard, spoken = torch.randn(2, 4, 7, 5)
        expected, lacked = torch.randn(8, 7, 5), heard - spoken
        for found in (imitate(expected, heard, spoken, known) - expected).view(2, 4, 7, 5):
            share = found.norm(dim=(1, 2), keepdim=True)
            normal = found / share
            directions = {way: lacked.roll(way, (0, 1)) for way in ways}
            lengths = {way: other.norm(dim=(1, 2), keepdim=True) for way, other in directions.items()}
            rolled = [way for way in ways if normal.allclose(directions[way] / lengths[way], atol=1e-4)]
            assert len(rolled) == 1 and rolled[0][0] != 0
            shares += (share / lengths[rolled[0]]).flatten().tolist()
    assert 0 < min(shares) < 0.1 and 0.9 < max(shares) < 1.0001 and len(set(shares)) == len(shares)
    assert imitate(expected, heard, heard, known).equal(expected)
    assert imitate(expected, heard, spoken, ~known).equal(expected)
    imitate(expected[:1], heard[:1], spoken[:1], known[:1])


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


def imagining(distance: float) -> Callable[..., tuple[Tensor, Tensor]]:
    """In place of _imagine: a voice that leaves so much unexplained."""

    def imagine(model: CtcModel, voice: Voice, heard: Tensor, *rest: object) -> tuple[Tensor, Tensor]:
        bias = voice.out.bias
        return heard.flip(1), (bias - bias.detach()).sum() + distance

    return imagine


@pytest.mark.parametrize("explained", [True, False])
def test_text_teaches_the_upper_layers_alone(explained: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lower ones learn from sound; the voice from the lower ones, which it does not change.

    And they learn nothing from a voice that explains nothing yet.
    """
    monkeypatch.setattr(CtcModel, "_imagine", imagining(0.3 if explained else 1.2))
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
    assert any(name.startswith("voice.") for name in changed)
    learned = any("layers.1." in name for name in changed), "encoder.lm_head.weight" in changed
    assert learned == (explained, explained)
    assert not any("layers.0." in name or "feature_projection" in name for name in changed)


def test_the_voice_is_judged_by_what_it_explains() -> None:
    """0: all of it; 1: no more than the mean does; whatever the scale is, and where phones are unknown, nothing."""
    taught = model(characters(tones.TEXTS), 5, 1.0)
    assert taught.voice is not None
    phones = torch.randint(5, (2, 20))
    with torch.no_grad():
        spoken = 50 * taught.voice(phones)
    text = Text(phones, torch.tensor([3]), torch.tensor([1, 0]), phones)

    def distance(heard: Tensor, phones: Tensor = phones) -> float:
        return float(taught._imagine(lambda phones: spoken, heard, phones, text)[1])  # type: ignore[arg-type]

    assert distance(spoken) < 1e-6
    unknown = torch.full_like(phones, UNKNOWN)
    assert distance(spoken + 1, unknown) == 0
    half = torch.where(torch.arange(20) < 10, phones, UNKNOWN)
    heard = torch.where((torch.arange(20) < 10)[:, None], spoken, spoken + 100)
    assert distance(heard, half) < 1e-6 < distance(heard)
    spoken = heard.mean((0, 1)).expand_as(heard)
    assert distance(heard) == pytest.approx(1.0, abs=1e-4)


def test_a_frozen_body_learns_nothing_from_text_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CtcModel, "_imagine", imagining(0.3))
    taught = model(characters(tones.TEXTS), 5, 1.0)
    taught.freeze_body = 1.0
    phones = torch.randint(5, (2, 20))
    lengths = torch.tensor([1, 1])
    symbols = torch.full((2, 20), 3)
    text = Text(phones, torch.tensor([3, 4]), lengths, symbols)
    samples = torch.randn(2, taught.encoder.grid.span(0, 20)[1]) * 0.1
    loss, _ = taught(Batch(samples, None, torch.tensor([3, 4]), lengths, symbols, phones, text), 0.5)
    loss.backward()
    learning = {name.split(".")[0] for name, p in taught.named_parameters() if p.grad is not None and p.grad.any()}
    assert learning <= {"encoder", "heads", "voice"}
    assert all(p.grad is None or not p.grad.any() for p in taught.encoder.layers.parameters())
