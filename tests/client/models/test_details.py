"""What `earshot models show` says of a model that is here."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from earshot_asr.client.models import details
from earshot_asr.client.models.speed import Speed
from earshot_asr.engine.catalogue import find
from earshot_asr.engine.files import LANGUAGE_MODEL
from earshot_asr.engine.hub import Cached


@pytest.mark.parametrize("whole", [True, False])
def test_what_is_here_without_its_weights_is_to_be_pulled(whole: bool) -> None:
    entry = find("base-960h")
    assert entry is not None
    copy = Cached(entry.id, "a" * 40, 2600, Path("snapshots"), pinned=True, whole=whole)
    out = io.StringIO()
    details.show(entry, Speed("cpu", 22e9, 0.01), [copy], Console(file=out, width=200))
    (line,) = [line for line in out.getvalue().splitlines() if line.startswith("here")]
    assert line.startswith("here        2.6 kB, commit aaaaaaaaaaaa, snapshots")
    assert ("without weights; earshot models pull base-960h" in line) is not whole


@pytest.mark.parametrize("beside", [True, False])
def test_a_language_model_that_is_here_is_named(tmp_path: Path, beside: bool) -> None:
    entry = find("base-960h")
    assert entry is not None
    if beside:
        (tmp_path / LANGUAGE_MODEL).mkdir()
    copy = Cached(entry.id, "a" * 40, 2600, tmp_path, pinned=True, whole=True)
    out = io.StringIO()
    details.show(entry, Speed("cpu", 22e9, 0.01), [copy], Console(file=out, width=400))
    assert ("with a language model" in out.getvalue()) is beside
