"""What is installed is whole: a wheel built from the tree runs the demo from another folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_wheel_runs_the_demo_from_another_folder(tmp_path: Path, wheel: Path) -> None:
    """Installed by pip, apart from the tree; what it depends on is that of this environment."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    site = tmp_path / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", site, wheel], check=True, capture_output=True)
    assert (site / "earshot_asr" / "client" / "data" / "demo.flac").is_file()
    assert {file.name for file in (ROOT / "server" / "page").iterdir()} == {
        file.name for file in (site / "earshot_asr" / "server" / "page").iterdir()
    }

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = os.environ | {"PYTHONPATH": str(site)}
    code = "import sys, earshot_asr.client.cli as cli; print(cli.__file__, file=sys.stderr); cli.main()"
    demo = subprocess.run(
        [sys.executable, "-c", code, "demo"], cwd=elsewhere, env=environment, capture_output=True, text=True
    )
    assert demo.returncode == 0, demo.stderr
    assert str(site) in demo.stderr.splitlines()[0]
    assert "character error rate" in demo.stdout
