"""What has gone wrong is noticed: once, and only if it lasts."""

import pytest

from earshot_asr.engine.training.pretrain.collapse import PATIENCE_LOOKS, PATIENCE_SHARE, Watch
from earshot_asr.engine.training.pretrain.contrastive import ContrastiveDims

DIMS = ContrastiveDims()
FINE = (0.4, 300.0)


def run(watch: Watch, figures: tuple[float, float], begin: float, end: float, looks: int = 20) -> list[str]:
    said = [watch.look(begin + (end - begin) * k / (looks - 1), *figures) for k in range(looks)]
    return [line for line in said if line]


def test_nothing_is_said_while_all_is_well() -> None:
    watch = Watch(DIMS)
    assert run(watch, FINE, 0, 1) == []
    assert not watch.troubled


@pytest.mark.parametrize(
    ("figures", "message", "advice"),
    [
        ((0.4, 5.0), "the codebook has collapsed: 5.0 of 640 codewords are in use", "--diversity"),
        ((1.0, 300.0), "the right codeword is always found", "--seconds"),
        ((0.01, 300.0), "the right codeword is found at chance", "--adamw"),
    ],
)
def test_trouble_is_said_once(figures: tuple[float, float], message: str, advice: str) -> None:
    watch = Watch(DIMS)
    (line,) = run(watch, figures, 0, 1)
    assert line.startswith(message) and advice in line
    assert watch.troubled
    assert run(watch, FINE, 1, 1) == [] and not watch.troubled


def test_what_passes_is_not_said() -> None:
    """A run begins at chance, and may see a bad moment."""
    watch = Watch(DIMS)
    assert run(watch, (0.01, 300.0), 0, 0.9 * PATIENCE_SHARE) == []
    assert run(watch, FINE, 0.1, 0.2) == []
    assert run(watch, (0.01, 300.0), 0.2, 0.2 + 0.9 * PATIENCE_SHARE) == []


def test_a_short_run_is_given_some_steps() -> None:
    watch = Watch(DIMS)
    assert run(watch, (0.4, 3.0), 0, 1, looks=PATIENCE_LOOKS - 1) == []
    assert watch.look(1.0, 0.4, 3.0) is not None


def test_small_codebooks_have_another_threshold() -> None:
    watch = Watch(ContrastiveDims(num_codevectors_per_group=4))
    assert run(watch, (0.4, 3.5), 0, 1) == []
    assert len(run(watch, (0.4, 2.1), 0, 1)) == 1
