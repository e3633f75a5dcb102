"""The filters that a wide first convolution begins with."""

import numpy as np
import pytest

from earshot_asr.engine.families.filters import band_filters


def test_filters_have_their_bands() -> None:
    """Each hears one place of the spectrum; neighbours are a cosine and a sine of one frequency."""
    filters = band_filters(400, 32).numpy()
    assert filters.shape == (400, 32)
    np.testing.assert_allclose(np.square(filters).sum(0), 2, rtol=1e-5)
    hertz = np.abs(np.fft.rfft(filters, 16_000, axis=0)).argmax(0)
    assert np.all(np.diff(hertz[::2]) > 0) and hertz[-1] == pytest.approx(7600, abs=20)
    np.testing.assert_allclose(hertz[2::2], hertz[3::2], atol=25)
