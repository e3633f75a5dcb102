"""Clients of other servers, as PyPI has them: each version in an environment of its own, as their needs conflict."""

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / ".clients"
"""Kept from one run to the next; not in git."""
INSTALL_SECONDS, RUN_SECONDS = 300, 120


def environment(*requirements: str) -> Path:
    """The Python of an environment that has these packages, as pip names them; the test is skipped if there is none."""
    name = "+".join(requirement.replace("==", "-") for requirement in requirements)
    folder = FOLDER / name
    if not folder.exists():
        making = FOLDER / f"{name}.{os.getpid()}"
        try:
            subprocess.run([sys.executable, "-m", "venv", making], check=True, capture_output=True)
            pip = [
                str(_python(making)),
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                *requirements,
            ]
            done = subprocess.run(pip, capture_output=True, text=True, timeout=INSTALL_SECONDS)
            if done.returncode:
                pytest.skip(f"pip can't install {name}: {done.stderr.strip().splitlines()[-1][:200]}")
            if not folder.exists():  # another process may have been faster
                making.rename(folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return _python(folder)


async def run(python: Path, script: str, *arguments: str) -> str:
    """What a script of this folder prints, run by that Python. It has to end well."""
    command = [str(python), str(Path(__file__).parent / script), *arguments]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(RUN_SECONDS):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


def _python(folder: Path) -> Path:
    return folder / ("Scripts" if os.name == "nt" else "bin") / "python"
