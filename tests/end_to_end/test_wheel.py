"""What is installed is whole: a wheel built from the tree runs the demo from another folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_wheel_runs_the_demo_from_another_folder(tmp_path: Path) -> None:
    """Built and installed by pip, apart from the tree; what it depends on is that of this environment."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, ROOT], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("earshot-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert sum(name.endswith("LICENSE.whisper") and ".dist-info/licenses/" in name for name in names) == 1
    site = tmp_path / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", site, wheel], check=True, capture_output=True)
    assert (site / "client" / "data" / "demo.flac").is_file()

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = os.environ | {"PYTHONPATH": str(site)}
    code = "import client, sys; print(client.__file__, file=sys.stderr); from client.cli import main; main()"
    demo = subprocess.run(
        [sys.executable, "-c", code, "demo"], cwd=elsewhere, env=environment, capture_output=True, text=True
    )
    assert demo.returncode == 0, demo.stderr
    assert str(site) in demo.stderr.splitlines()[0]
    assert "character error rate" in demo.stdout
