"""The floors of the house: a room imports from itself and from below, never up or sideways."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# A floor holds rooms that are strangers to one another; a room is one or more modules or folders.
FLOORS: tuple[tuple[set[str], ...], ...] = (
    (
        {"errors", "records", "files", "process"}
        | {"backbone", "budget", "architectures", "search_spaces"},
    ),
    (
        {"study", "trial", "answer", "plan", "ports", "evidence", "signing"},
        {"service"},
    ),
    (
        {"search", "selection", "report", "halving", "objectives", "ranking", "clock", "ablation"},
        {"resources"},
    ),
    ({"kernels"},),
    ({"methods"}, {"tasks"}),
    ({"training"},),
    ({"supernet"}, {"production"}),
    ({"strategies"}, {"evaluators"}, {"executors"}, {"storage"}, {"settings"}),
    ({"wiring"},),
    ({"api"}, {"worker"}, {"client"}),
    ({"cli", "__main__"},),
)
PLACES = {
    name: (floor, room)
    for floor, rooms in enumerate(FLOORS)
    for room, names in enumerate(rooms)
    for name in names
}
HOMES = {
    "torch": {"kernels", "methods", "training", "supernet", "production", "evaluators"},
    "triton": {"kernels"},
    "peft": {"methods", "production"},
    "PIL": {"tasks", "training"},
    "ray": {"executors"},
    "optuna": {"strategies"},
    "matplotlib": {"report"},
    "botorch": {"strategies"},
    "gpytorch": {"strategies"},
    "sqlalchemy": {"storage"},
    "alembic": {"storage"},
    "typer": {"cli"},
    "rich": {"cli"},
    "fastapi": {"api"},
    "starlette": {"api"},
    "prometheus_client": {"api"},
    "uvicorn": {"api"},
    "httpx": {"client"},
    "cryptography": {"signing"},
    "structlog": {"api", "worker"},
}
ELSEWHERE = {("autopeft.wiring.request", "torch"), ("autopeft.cli.machine", "torch")}
"""Single modules that may import a library inside of functions, where it is not at home."""
LODGERS = {("autopeft.strategies.saas_model", "torch")}
"""Single modules that live with a library, and are themselves imported inside of functions."""


def files() -> dict[str, Path]:
    """Return every module by the name under which it is installed."""
    found = {}
    for folder, package in (
        ("autopeft", "autopeft"),
        ("search_spaces", "autopeft.search_spaces"),
        ("supernet", "autopeft.supernet"),
        ("storage", "autopeft.storage"),
        ("api", "autopeft.api"),
    ):
        for file in sorted((ROOT / folder).rglob("*.py")):
            parts = file.relative_to(ROOT / folder).with_suffix("").parts
            name = ".".join((package, *parts)).removesuffix(".__init__")
            assert name not in found, f"two files are {name}"
            found[name] = file
    return found


FILES = files()


def imports(code: str, module: str) -> Iterator[tuple[str, bool]]:
    """Yield all that a module imports, wherever in it, and whether inside of a function."""
    tree = ast.parse(code)
    lazy = {
        node
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node in lazy
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield (whole if whole in FILES else str(node.module)), node in lazy


def room(module: str) -> str:
    """Return the room of one of our modules; `autopeft` itself is the ground that all stand on."""
    return module.split(".")[1] if "." in module else ""


def broken(module: str, code: str) -> list[str]:
    """List what a module imports against the rules of the house."""
    floor, place = PLACES[room(module)]
    wrong = []
    for name, lazy in imports(code, module):
        library = name.split(".")[0]
        if library == "autopeft" and room(name):
            other = PLACES.get(room(name), (len(FLOORS), 0))
            if not (other[0] < floor or other == (floor, place)):
                wrong.append(f"{module} (floor {floor}) imports {name} (floor {other[0]})")
        elif (
            room(module) not in HOMES.get(library, {room(module)})
            and (module, library) not in LODGERS
            and not (lazy and (module, library) in ELSEWHERE)
        ):
            wrong.append(f"{module} imports {library}, which is at home in {HOMES[library]}")
    return wrong


@pytest.mark.parametrize("module", sorted(FILES))
def test_a_module_belongs_to_a_room_and_imports_from_below_only(module):
    code = FILES[module].read_text("utf-8")
    if module == "autopeft":
        known = {"typing", "importlib"}  # what its names stand for is loaded when they are used
        assert {name for name, _ in imports(code, module)} <= known
        return
    assert room(module) in PLACES, f"{module} belongs to no room: add it to FLOORS or move it"

    assert broken(module, code) == []


def test_no_two_modules_import_each_other_in_a_circle():
    graph = {
        module: {name for name, _ in imports(file.read_text("utf-8"), module) if name in FILES}
        for module, file in FILES.items()
    }

    TopologicalSorter(graph).prepare()  # raises CycleError and names the circle


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("autopeft.budget", "from autopeft.study import Study"),
        ("autopeft.search", "import autopeft.storage.memory"),
        ("autopeft.search", "def f():\n    from autopeft import wiring"),
        ("autopeft.study", "if TYPE_CHECKING:\n    from autopeft.search import search"),
        ("autopeft.strategies.tpe", "from autopeft.evaluators.finetune import FinetuneEvaluator"),
        ("autopeft.strategies.tpe", "import torch.nn"),
        ("autopeft.wiring", "import torch"),
        ("autopeft.evaluators.finetune", "def f():\n    import ray"),
        ("autopeft.report", "from rich.table import Table"),
    ],
)
def test_what_the_house_forbids_is_found(module, code):
    assert len(broken(module, code)) == 1


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("autopeft.study", "from autopeft.budget import Budget\nfrom autopeft.trial import Recipe"),
        ("autopeft.wiring.request", "def f():\n    import torch"),
        ("autopeft.cli.app", "from autopeft import __version__\nimport typer"),
        (
            "autopeft.methods.lora",
            "from autopeft.kernels.lora_linear import lora_linear\nimport torch",
        ),
    ],
)
def test_what_the_house_allows_is_not_found(module, code):
    assert broken(module, code) == []
