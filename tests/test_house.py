"""Structure: imports point one way without cycles, functions stay short, the base installation stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parent.parent / "src" / "genser"
FILES = sorted(SOURCE.rglob("*.py"))

ROOMS = (
    "errors _version files storage hub config onnx_runtime caches plugins",
    "audio transport metrics",
    "encoders",
    "model data",
    "segments",
    "training inference",
    "export output peers",
    "bench scale sklearn",
    "report",
    "serving",
    "cli __main__",
)
"""Rooms from the ground up: a room imports from the floors below it, and from others on its floor without a cycle."""

BASE = ("genser", "genser.audio", "genser.data.manifest", "genser.metrics.evaluate", "genser.inference.load")
WITHOUT_TORCH = ("metrics", "segments", "output", "inference")
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


def test_no_function_is_longer_than_60_lines():
    long = {f"{path}:{node.name}": body_length(node) for path, node in functions() if body_length(node) > 60}
    assert long == {}


def room_of(path):
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports_of(path):
    """Dotted names that a file imports, at its head or inside functions."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def room_imports():
    """Room → the other rooms that it imports."""
    edges = {}
    for path in FILES:
        for name in imports_of(path):
            parts = name.split(".")
            if parts[0] == "genser" and len(parts) > 1 and parts[1] in FLOOR and parts[1] != room_of(path):
                edges.setdefault(room_of(path), set()).add(parts[1])
    return edges


FLOOR = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms.split()}


def cycles(edges):
    """Every room that can reach itself by following imports."""

    def reached(room, seen):
        for other in edges.get(room, set()) - seen:
            seen.add(other)
            reached(other, seen)
        return seen

    return sorted(room for room in edges if room in reached(room, set()))


def test_every_file_stands_in_a_known_room():
    assert {room_of(path) for path in FILES} - {"__init__"} == set(FLOOR)


def test_imports_point_down():
    upward = {
        f"{room} imports {other}"
        for room, others in room_imports().items()
        for other in others
        if room != "__init__" and FLOOR[other] > FLOOR[room]
    }
    assert upward == set()


def test_rooms_do_not_import_each_other_in_a_cycle():
    edges = room_imports()
    edges.pop("__init__")
    assert cycles(edges) == []


def test_a_cycle_is_found():
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c"]


def test_transport_knows_nothing_of_files():
    for path in (SOURCE / "transport").rglob("*.py"):
        assert not {"pathlib", "os", "io", "json"} & set(imports_of(path)), path


@pytest.mark.parametrize("room", WITHOUT_TORCH)
def test_rooms_without_torch_import_it_nowhere_but_in_the_torch_backend(room):
    for path in (SOURCE / room).rglob("*.py"):
        names = {name.split(".")[0] for name in imports_of(path)}
        assert "torch" not in names or path.name == "torch_backend.py", path


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
