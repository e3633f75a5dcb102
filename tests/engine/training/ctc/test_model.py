"""The losses of CTC training: what counts, what does not, and that neither padding nor the compiler changes them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from earshot_asr.engine.training.compiling import compile_encoder, works
from earshot_asr.engine.training.ctc.model import Losses, by_frame, cross_entropy, ctc
from earshot_asr.engine.training.regularization import Regularization
from earshot_asr.engine.training.task import TrainingBatch
from tests.engine.families.test_relatives import PARTS
from tests.engine.families.test_wav2vec2 import difference
from tests.engine.training import tones
from tests.engine.training.test_regularization import RATES

RELATIVES = [{**tones.WAV2VEC2, "model_type": kind, **PARTS[kind][-1]} for kind in ("wavlm", "data2vec-audio", "sew")]
RELATIVES.append({**tones.WAV2VEC2, "model_type": "hubert", "conv_pos_batch_norm": True})


def batch(targets: list[list[int]], **others: Any) -> TrainingBatch:
    flat = torch.tensor([id for ids in targets for id in ids], dtype=torch.int64)
    return TrainingBatch(
        torch.zeros(len(targets), 1), None, flat, torch.tensor([len(ids) for ids in targets]), **others
    )


def test_targets_that_do_not_fit_poison_nothing() -> None:
    logits = torch.randn(3, 5, 4, requires_grad=True)
    frames = torch.tensor([5, 2, 5])
    fitting = ctc(logits, batch([[1, 2], [], [3]]), frames, blank=0)
    total = ctc(logits, batch([[1, 2], [1, 1, 1], [3]]), frames, blank=0)
    assert total < fitting
    total.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad[1].abs().sum() == 0


def test_ctc_is_a_sum_over_all_paths() -> None:
    """Two frames, one letter: AA, A-, -A."""
    logits = torch.randn(1, 2, 3)
    p = logits.softmax(-1)[0]
    wanted = p[0, 1] * p[1, 1] + p[0, 1] * p[1, 0] + p[0, 0] * p[1, 1]
    torch.testing.assert_close(ctc(logits, batch([[1]]), torch.tensor([2]), blank=0), -wanted.log() / 2)


def test_unknown_frames_do_not_count() -> None:
    logits = torch.randn(2, 3, 4)
    labels = torch.tensor([[1, -100, 0], [-100, -100, 2]])
    each = -logits.log_softmax(-1)
    wanted = (each[0, 0, 1] + 0.35 * each[0, 2, 0] + each[1, 2, 2]) / 3
    torch.testing.assert_close(by_frame(logits, labels, 0, 0.35), wanted)
    torch.testing.assert_close(cross_entropy(logits, labels), (each[0, 0, 1] + each[0, 2, 0] + each[1, 2, 2]) / 3)
    nothing = torch.full((2, 3), -100)
    assert float(cross_entropy(logits, nothing)) == float(by_frame(logits, nothing, 0, 0.35)) == 0


def test_frames_come_first_and_ctc_later() -> None:
    losses = Losses()
    assert losses.at(0) == (0, 1)
    assert losses.at(0.17) == pytest.approx((0.5, 0.928))
    assert losses.at(0.5) == pytest.approx((1, 0.1))
    assert replace(losses, last_stage=True).at(0) == (1, 0.1)


@pytest.mark.parametrize("config", [tones.CONFIG, tones.WAV2VEC2, *RELATIVES], ids=lambda config: config["model_type"])
def test_padding_and_company_make_no_difference_to_what_is_learned(config: dict[str, Any]) -> None:
    quiet = {name: 0.0 for name in ("hidden_dropout", "attention_dropout", "activation_dropout", "mask_time_prob")}
    task = tones.task({**config, **quiet, "layerdrop": 0.0, "final_dropout": 0.0, "conformer_conv_dropout": 0.0})
    losses = Losses(last_stage=True)
    task.model.losses = losses
    together = task.draw(0)
    assert together.lengths is not None
    loss, _ = task.module(together, 1.0)
    garbage = together.samples.clone()
    for row, length in enumerate(together.lengths.tolist()):
        garbage[row, length:] = np.nan
    again, _ = task.module(replace(together, samples=garbage), 1.0)
    torch.testing.assert_close(again, loss)
    total = frames = 0.0
    at = 0
    for row, (length, count) in enumerate(
        zip(together.lengths.tolist(), together.target_lengths.tolist(), strict=True)
    ):
        alone = TrainingBatch(
            together.samples[row : row + 1, :length],
            None,
            together.targets[at : at + count],
            together.target_lengths[row : row + 1],
        )
        n = task.start.encoder.grid.frames(length)
        total += task.module(alone, 1.0)[0].item() * n
        frames += n
        at += count
    assert total / frames == pytest.approx(loss.item(), rel=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler itself
@pytest.mark.parametrize(
    "config", [tones.CONFIG, tones.WAV2VEC2, RELATIVES[0]], ids=lambda config: config["model_type"]
)
def test_compiled_is_eager(config: dict[str, Any]) -> None:
    """Loss and gradients; dropout and layer drop compile, too.

    In bfloat16, as it is trained, which moves WavLM's smallest gradients by a fifth: it is in float32.
    """
    task = tones.task({**config, "mask_time_prob": 0.3, "layerdrop": 0.0, "hidden_dropout": 0.0})
    batch = task.draw(0)
    found = []
    for eager in (True, False):
        compile_encoder(task.start.encoder, eager)
        Regularization.read({**config, **dict.fromkeys(RATES, 0.0), "layerdrop": 0.0}).apply(task.start.encoder)
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=config not in RELATIVES):
            loss, _ = task.module(batch, 1.0)
        loss.backward()
        found.append((loss.detach(), {n: p.grad for n, p in task.module.named_parameters() if p.grad is not None}))
        task.module.zero_grad()
    assert works()
    (loss, gradients), (other, others) = found
    torch.testing.assert_close(loss, other, rtol=0.01, atol=0.0)
    assert gradients.keys() == others.keys()
    for name, gradient in gradients.items():
        assert difference(others[name], gradient) < 0.1, name
    Regularization.read({**config, "layerdrop": 0.5, "hidden_dropout": 0.1, "attention_dropout": 0.1}).apply(
        task.start.encoder
    )
    assert task.module(batch, 1.0)[0].isfinite()
