"""The package as other people's programs see it: its public names, its command, and what a wheel holds."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import earshot_asr

ROOT = Path(__file__).parents[1]


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True)


@pytest.mark.parametrize("name", earshot_asr.__all__)
def test_a_public_name_is_what_its_module_defines(name: str) -> None:
    value = getattr(earshot_asr, name)
    assert value is getattr(sys.modules[f"earshot_asr.{earshot_asr._MODULES[name]}"], name)
    assert name in dir(earshot_asr)


def test_a_name_that_is_not_public_is_refused() -> None:
    assert sorted(earshot_asr._MODULES) == sorted(earshot_asr.__all__)
    with pytest.raises(AttributeError, match=r"'earshot_asr' has no attribute 'Recogniser'"):
        _ = earshot_asr.Recogniser


def test_importing_the_package_loads_nothing_heavy() -> None:
    done = run("-c", "import earshot_asr, sys; print(*sys.modules)", cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert not {"torch", "numpy", "websockets"} & set(done.stdout.split())


def test_the_package_is_the_command() -> None:
    done = run("-m", "earshot_asr", "--help", cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "earshot" in done.stdout and "transcribe" in done.stdout


def test_files_of_the_users_own_called_like_our_folders_change_nothing(tmp_path: Path) -> None:
    for name in ("engine", "server", "client"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the user was imported')")
    everything = f"import sys; sys.path.append({str(ROOT)!r})\nimport earshot_asr\n"
    everything += "".join(f"earshot_asr.{name}\n" for name in earshot_asr.__all__)
    (tmp_path / "script.py").write_text(everything + "from earshot_asr.server.app import Server\nprint('fine')")
    done = run("script.py", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr


def test_a_wheel_installs_no_other_top_level_name(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"earshot_asr"}
    sources = {str(path.relative_to(ROOT / "earshot_asr")) for path in (ROOT / "earshot_asr").rglob("*.py")}
    for folder in ("engine", "server", "client"):
        found = (ROOT / "earshot_asr" / folder).rglob("*")
        sources |= {str(path.relative_to(ROOT / "earshot_asr")) for path in found if path.is_file()}
    sources = {source for source in sources if "__pycache__" not in source}
    assert sources and {f"earshot_asr/{source}" for source in sources} <= set(names)
    assert "earshot_asr/py.typed" in names
    assert sum(name.endswith("LICENSE.whisper") and ".dist-info/licenses/" in name for name in names) == 1
