"""Shell completion of the command `earshot`, in a real shell whose home is the test's."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAIN = f"import sys; sys.path[:0] = [{str(ROOT)!r}]; from earshot_asr.client.cli import main; main()"


@pytest.fixture
def bash(tmp_path: Path) -> "Bash":
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    return Bash(tmp_path)


class Bash:
    """Runs lines of bash, in which there is a command `earshot`."""

    def __init__(self, home: Path) -> None:
        program = home / "bin" / "earshot"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{MAIN}" "$@"\n')
        program.chmod(0o755)
        self.home = home
        self.environment = {**os.environ, "HOME": str(home), "PATH": f"{program.parent}:{os.environ['PATH']}"}

    def __call__(self, line: str) -> str:
        done = subprocess.run(
            ("bash", "--norc", "-c", line), cwd=self.home, env=self.environment, capture_output=True, timeout=60
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def completions(self, *words: str) -> list[str]:
        """What bash would offer for the last of the words, once the completion is installed."""
        quoted = " ".join(f"'{word}'" for word in words)
        return self(
            f"source ~/.bashrc; complete -p earshot > registered; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; "
            "_earshot_completion earshot; printf '%s\\n' \"${COMPREPLY[@]}\""
        ).split()


def test_it_is_shown_and_installed_and_completes(bash: Bash) -> None:
    script = bash("earshot --show-completion; true")  # not the last command: bash would become it
    assert "complete -o default -F _earshot_completion earshot" in script
    bash("earshot --install-completion; true")
    assert bash.completions("earshot", "tra") == ["transcribe", "train"]
    assert bash.completions("earshot", "stream", "--format", "v") == ["vtt"]
    assert "--partials" in bash.completions("earshot", "stream", "--p")
