"""What the lower layers of a model make of phones, so that text can be given to the upper ones without any sound."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KERNEL = 9
"""Frames that each of its convolutions sees."""
DEPTH = 3


class Voice(nn.Module):
    """Phones (B, T), as they are said in time, -> the hidden states (B, T, C) that sound of them would have had.

    A few separable convolutions, learned by regression on recordings, whose phones are known. It says what is expected
    of any voice; what a real one adds to that, `imitate` takes from recordings.
    """

    def __init__(self, phones: int, channels: int) -> None:
        super().__init__()
        self.phone = nn.Embedding(phones + 1, channels)
        self.over_time = nn.ModuleList(
            nn.Conv1d(channels, channels, KERNEL, padding=KERNEL // 2, groups=channels) for _ in range(DEPTH)
        )
        self.across = nn.ModuleList(nn.Linear(channels, channels) for _ in range(DEPTH))
        self.out = nn.Linear(channels, channels)

    def forward(self, phones: Tensor) -> Tensor:
        """Phones int64, negative where unknown."""
        x: Tensor = self.phone((phones + 1).clamp_min(0))
        for over_time, across in zip(self.over_time, self.across, strict=True):
            x = x + F.gelu(across(over_time(x.mT).mT))
        out: Tensor = self.out(x)
        return out


def imitate(expected: Tensor, heard: Tensor, spoken: Tensor, known: Tensor) -> Tensor:
    """Hidden states (N, T, C) of text: what is expected of it, and how far real ones were from what was expected.

    expected   of the text, by Voice, N a multiple of B
    heard      (B, T, C) of the recordings, by the encoder; spoken: by Voice
    known      (B, T) bool: where the phones of the recordings are known; elsewhere all would be difference

    The difference (a speaker's manner, a room, noise, what was not understood) is that of another row, if there is one,
    from another time on: its correlation over time and channels is real, its place is not. It is more or less of it by
    row, down to nothing, for part of it is other people's words, which hide those that are to be read.
    """
    rows, frames = heard.shape[:2]
    lacked = (heard - spoken).masked_fill(~known[..., None], 0.0)
    rolled = []
    for _ in range(len(expected) // rows):
        by_row = int(torch.randint(1, rows, ())) if rows > 1 else 0
        rolled.append(lacked.roll((by_row, int(torch.randint(frames, ()))), (0, 1)))
    share = torch.rand(len(expected), 1, 1, device=expected.device)
    return expected + torch.cat(rolled).mul_(share)
