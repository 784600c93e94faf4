"""The house keeps its own rules: short functions, small files, imports one way, a light base."""

import ast
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "genser"
FILES = sorted(SOURCE.rglob("*.py"))

ROOMS = (
    {"errors", "_version", "audio", "decoders", "media", "sources", "augmentation", "nonspeech"}
    | {"taxonomy", "transport", "configuration"},
    {"model", "encoders"},
    {"data", "training", "evaluation", "runtime"},
    {"serving", "cli", "__main__"},
)
"""Rooms from the ground up; a room imports from its own floor and those below."""

BASE = ("genser", "genser.audio", "genser.taxonomy", "genser.data.manifest", "genser.evaluation.metrics")
HEAVY = ("torch", "transformers", "sklearn", "matplotlib", "pyarrow", "av", "fastapi", "scipy", "pandas", "yaml")


def functions():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path.relative_to(SOURCE), node


def body_length(node):
    """Lines of a function without its docstring."""
    documented = ast.get_docstring(node) is not None and len(node.body) > 1
    first = node.body[1].lineno if documented else node.body[0].lineno
    return node.end_lineno - first + 1


def test_functions_are_short():
    lengths = sorted((body_length(node), f"{path}:{node.name}") for path, node in functions())
    count = len(lengths)
    assert lengths[count // 2][0] <= 10
    assert lengths[int(0.9 * count)][0] <= 35
    assert lengths[-1][0] <= 60, lengths[-1]


def test_files_are_small():
    sizes = {str(path.relative_to(SOURCE)): len(path.read_text("utf-8").splitlines()) for path in FILES}
    assert {path: size for path, size in sizes.items() if size > 300} == {}


def floor_of(room):
    return next((floor for floor, rooms in enumerate(ROOMS) if room in rooms), None)


def test_every_file_stands_in_a_known_room():
    rooms = {path.relative_to(SOURCE).parts[0].removesuffix(".py") for path in FILES} - {"__init__"}
    assert {room for room in rooms if floor_of(room) is None} == set()


def test_imports_point_down():
    wrong = []
    for path in FILES:
        room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                parts = name.split(".")
                if parts[0] == "genser" and len(parts) > 1 and floor_of(parts[1]) > floor_of(room):
                    wrong.append(f"{path.relative_to(SOURCE)} imports {name}")
    assert wrong == []


def test_transport_knows_nothing_of_files_and_runtime_nothing_of_training():
    for room, banned in (("transport", ("pathlib", "os", "io", "json")), ("runtime", ("genser.training",))):
        for path in (SOURCE / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                module = getattr(node, "module", None) or ",".join(a.name for a in getattr(node, "names", []) if a.name)
                assert not (isinstance(node, ast.Import | ast.ImportFrom) and module.startswith(banned)), path


@pytest.mark.parametrize("module", BASE)
def test_the_base_does_not_need_the_extras(module):
    code = f"import sys, {module}; print([name for name in {HEAVY!r} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_no_print_but_in_the_command_line_and_no_leftovers():
    for path in FILES:
        text = path.read_text("utf-8")
        room = path.relative_to(SOURCE).parts[0]
        for node in ast.walk(ast.parse(text)):
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
            assert not called or room == "cli", f"{path}:{node.lineno} prints"
        assert "TODO" not in text, path
        assert "FIXME" not in text, path


def test_rooms_stand_on_each_other_only_once():
    assert all(not (lower & upper) for lower, upper in pairwise(ROOMS))


def test_torchvision_is_absent():
    """It breaks transformers beside a CPU build of torch."""
    code = "import importlib.util; print(importlib.util.find_spec('torchvision'))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "None"
