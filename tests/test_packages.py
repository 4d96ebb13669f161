"""What is installed, and how little of it loads before it is needed."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("autopeft", "search_spaces", "supernet", "storage", "api")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
SETUPTOOLS = PROJECT["tool"]["setuptools"]


def folders() -> set[str]:
    """Name the packages that the folders with Python or YAML files make up."""
    packages = set()
    for room in ROOMS:
        for file in (ROOT / room).rglob("*"):
            if file.suffix in {".py", ".yaml"} and "__pycache__" not in file.parts:
                name = ".".join(file.parent.relative_to(ROOT).parts)
                packages.add(name if room == "autopeft" else f"autopeft.{name}")
    return packages


def loaded_by(code: str, *among: str) -> set[str]:
    """Run code in a process of its own and tell which of these modules it has loaded."""
    tell = "import sys; print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    program = f"import atexit\natexit.register(lambda: exec({tell!r}))\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd="/"
    )
    modules = set(done.stderr.split())
    assert "autopeft" in modules
    return modules & set(among)


def test_the_list_of_packages_is_the_list_of_folders():
    """What is missing from the list is dropped from the wheel without a word."""
    listed = SETUPTOOLS["packages"]

    assert set(listed) == folders()
    assert len(listed) == len(set(listed))


def test_every_folder_at_the_top_is_mapped_into_the_one_name_that_is_installed():
    mapped = SETUPTOOLS["package-dir"]

    assert mapped == {
        "autopeft" if room == "autopeft" else f"autopeft.{room}": room
        for room in ROOMS
        if (ROOT / room).is_dir()
    }


def test_importing_the_package_loads_none_of_the_large_libraries():
    large = ("torch", "ray", "sqlalchemy", "fastapi", "optuna", "pydantic", "transformers", "numpy")

    assert loaded_by("import autopeft", *large) == set()


@pytest.mark.slow
def test_help_is_shown_without_loading_what_searches():
    """Half a second of start-up for Typer and the settings is what it costs already."""
    code = "import sys; sys.argv[1:] = ['--help']; from autopeft.cli.app import main; main()"
    large = ("torch", "transformers", "ray", "sqlalchemy", "optuna", "datasets")

    assert loaded_by(code, *large) == set()


@pytest.mark.slow
def test_a_built_wheel_holds_one_name_with_all_its_data(tmp_path):
    source = tmp_path / "source"  # building leaves folders behind
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    for room in ROOMS:
        if (ROOT / room).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / room, source / room, ignore=ignored)

    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation",
         "--no-index", "--wheel-dir", tmp_path, source],
        check=True, capture_output=True,
    )  # fmt: skip
    [wheel] = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())

    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"autopeft"}
    published = "autopeft/search_spaces/published/unified.yaml"
    data = {"autopeft/py.typed", "autopeft/plan.schema.json", published}
    assert data <= names
    for room in ROOMS:
        prefix = "" if room == "autopeft" else "autopeft/"
        for file in (ROOT / room).rglob("*"):
            if file.suffix in {".py", ".yaml", ".json"} and "__pycache__" not in file.parts:
                assert f"{prefix}{file.relative_to(ROOT)}" in names
