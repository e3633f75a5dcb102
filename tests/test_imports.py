"""Who imports whom, read from the sources; and what is loaded, seen in a fresh interpreter."""

import ast
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from earshot_asr.engine.families import FAMILIES
from earshot_asr.engine.training.__main__ import COMMANDS

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "earshot_asr"
OURS = "earshot_asr."
"""Before the names of our modules, which are without it here."""
MAY_START_A_SERVER = {"client.commands.serve", "client.demo", "client.live"}
WITH_TORCH = {
    *(name.removeprefix(OURS) for name in FAMILIES.values()),
    *(f"engine.families.{name}" for name in ("layers", "filters", "conformer", "wav2vec2_bert_adapter")),
    *(f"engine.{name}" for name in ("adapters", "weights", "checkpoint", "runner")),
    "client.evaluate.against",
    "client.models.examine",
}
LIGHT = {
    *(f"engine.training{name}" for name in ("", ".__main__", ".options", ".shapes", ".rates")),
    *(f"engine.training{name}" for name in (".data", ".ctc", ".pretrain", ".ctc.arguments", ".pretrain.arguments")),
}
"""The modules of training that do not load torch."""


def modules() -> dict[str, Path]:
    """All modules of the three folders by name; training and data scripts are no part of them."""
    return {
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
        for folder in ("engine", "server", "client")
        for path in sorted((PACKAGE / folder).rglob("*.py"))
        if all((PACKAGE / parent / "__init__.py").exists() for parent in path.relative_to(PACKAGE).parents)
    }


def heavy(name: str) -> bool:
    """Whether a module may load torch."""
    return name in WITH_TORCH or (name.startswith("engine.training") and name not in LIGHT)


def imported(node: ast.AST) -> list[str]:
    """Names that a statement imports; of `from a import b`, both a and a.b, as b may be a module."""
    names: list[str] = []
    match node:
        case ast.Import():
            names = [alias.name for alias in node.names]
        case ast.ImportFrom():
            assert node.module is not None, "imports are absolute"
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name.removeprefix(OURS) for name in names]


@cache
def graph() -> tuple[dict[str, set[str]], dict[str, set[str]]]:
    """Of each module, the modules of ours that it imports: when it is loaded, and at any time."""
    known = modules()
    at_load: dict[str, set[str]] = {}
    ever: dict[str, set[str]] = {}
    for name, path in known.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        lazy = {inner for node in ast.walk(tree) if isinstance(node, FUNCTIONS) for inner in ast.walk(node)}
        imports = [(node, target) for node in ast.walk(tree) for target in imported(node) if target in known]
        at_load[name] = {target for node, target in imports if node not in lazy}
        ever[name] = {target for _, target in imports}
    return at_load, ever


FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def test_there_is_something_to_look_at() -> None:
    at_load, ever = graph()
    assert "engine.errors" in at_load["client.stream"]
    assert "server.app" in ever["client.live"] - at_load["client.live"]


def test_no_import_cycle() -> None:
    try:
        TopologicalSorter(graph()[0]).prepare()
    except CycleError as e:
        pytest.fail(" -> ".join(e.args[1]))


def test_nobody_imports_a_folder_by_its_name() -> None:
    """`engine` may be a file of a user's own, and here it would be the same module for a second time."""
    for path in [*modules().values(), *(ROOT / "tests").rglob("*.py")]:
        for line in path.read_text(encoding="utf-8").splitlines():
            words = line.split()
            if words[:1] in (["from"], ["import"]) and len(words) > 1:
                assert words[1].partition(".")[0] not in {"engine", "server", "client"}, (path, line)


@pytest.mark.parametrize("name", modules())
def test_layers(name: str) -> None:
    """The engine knows neither server nor client; these two share the messages; the command line may start a server."""
    at_load, ever = graph()
    package = name.partition(".")[0]
    others = {"engine": {"server", "client"}, "server": {"client"}, "client": {"server"}}[package]
    shared = {"server", "server.wire"} | ({"server.settings"} if name == "client.commands.serve" else set())

    def outside(targets: set[str]) -> set[str]:
        return {target for target in targets if target.partition(".")[0] in others}

    assert outside(at_load[name]) <= (shared if package == "client" else set())
    if name not in MAY_START_A_SERVER:
        assert outside(ever[name]) <= (shared if package == "client" else set())


@pytest.mark.parametrize("name", ["conversation", "intake", "outbox", "notices", "refusals"])
def test_the_conversation_knows_no_protocol(name: str) -> None:
    """Neither its messages nor how they are written; a dialect translates."""
    assert not {target for target in graph()[1][f"server.{name}"] if "wire" in target or "dialects" in target}
    tree = ast.parse(modules()[f"server.{name}"].read_text(encoding="utf-8"))
    assert not {"json", "msgspec"} & {target for node in ast.walk(tree) for target in imported(node)}


def loaded(*names: str) -> tuple[set[str], str]:
    """What a fresh interpreter has loaded after importing `names`, and what it printed meanwhile."""
    code = f"import sys, {', '.join(OURS + name for name in names)}; sys.stderr.write(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name.removeprefix(OURS) for name in done.stderr.split()}, done.stdout


def test_the_client_library_loads_neither_torch_nor_server_code() -> None:
    found, _ = loaded("client.stream")
    assert "client.stream" in found
    assert "torch" not in found
    assert {name for name in found if name.startswith("server")} == {"server", "server.wire"}
    assert {name for name in found if name.startswith("engine")} <= {
        "engine",
        "engine.errors",
        "engine.audio",
        "engine.text",
    }


def test_all_but_few_files_do_without_torch() -> None:
    """Nothing is printed either: nothing runs at import."""
    found, printed = loaded(*(name for name in modules() if not heavy(name)))
    assert {"client.cli", "engine.session", "engine.recognizer", "server.app"} <= found
    assert not found & {"torch", "transformers", "sounddevice", "jiwer"}
    assert printed == ""


def test_only_those_few_name_torch() -> None:
    def names_torch(path: Path) -> bool:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        return any(target.partition(".")[0] == "torch" for node in ast.walk(tree) for target in imported(node))

    assert [name for name, path in modules().items() if names_torch(path) and not heavy(name)] == []


def test_training_imports_no_packages_but_torch_numpy_safetensors_soundfile_and_soxr() -> None:
    commands = [f"engine.training.{place}" for place, _ in COMMANDS.values()]
    assert len(commands) == 6
    found, _ = loaded("engine.training.__main__", *commands, *(name.removeprefix(OURS) for name in FAMILIES.values()))
    assert {"torch", "soxr", *commands} <= found
    others = "typer rich msgspec jiwer av websockets sounddevice prometheus_client transformers huggingface_hub"
    assert not found & set(others.split())


def test_help_comes_without_the_engine() -> None:
    code = "import sys; from earshot_asr.client.cli import app; app(['--help'], standalone_mode=False)"
    code += "; print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    found = {name.removeprefix(OURS) for name in done.stderr.split()}
    assert "client.cli" in found
    assert not found & {"torch", "numpy", "websockets", "engine.recognizer"}
