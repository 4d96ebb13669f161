"""The door for other packages: what fits comes in, what does not is named and left outside."""

import sys
from textwrap import dedent

import pytest

from autopeft.search_spaces.plugins import found_methods, found_spaces
from autopeft.search_spaces.written.reading import parse_space

RECORD = """
    from autopeft.search_spaces.method import Cost, Method, Rates

    def method(name, attach="json:loads"):
        return Method(
            name=name, family="additive", summary="", paper="", places=("ffn.input",), size="rank",
            identity=True, rates=Rates(low=1e-4, default=1e-3, high=1e-2),
            cost=lambda backbone, site: Cost(unit=1), attach=attach,
        )
"""
SPACE = """
    name: {name}
    groups:
      - slots: [lora@attention.query]
        sizes: [0, 4]
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Put a package on the path that announces what it is told to, and tidy up its modules."""
    monkeypatch.syspath_prepend(tmp_path)
    names = []

    def make(name, code, *, group="autopeft.methods", object_name="OFFER"):
        module = name.replace("-", "_")
        names.append(module)
        (tmp_path / f"{module}.py").write_text(dedent(code), "utf-8")
        folder = tmp_path / f"{module}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[{group}]\noffer = {module}:{object_name}\n")

    yield make
    for name in names:
        sys.modules.pop(name, None)


def offering(line):
    return dedent(RECORD) + line


def test_without_plug_ins_nothing_is_found():
    assert found_methods({"lora"}).problems == ()
    assert found_spaces(parse_space, {"lora"}).problems == ()


def test_a_method_of_another_package_is_found_with_its_package(package):
    package("some-plug", offering('OFFER = method("some")'))

    found = found_methods({"lora"})

    assert list(found.methods) == ["some"]
    assert found.packages == {"some": "some-plug"}
    assert found.problems == ()


def test_a_package_may_offer_several_methods(package):
    package("two-plug", offering('OFFER = (method("one"), method("two"))'))

    assert list(found_methods(()).methods) == ["one", "two"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('OFFER = method("lora")', "there is a method 'lora' already; choose another name"),
        ('OFFER = (method("a"), method("a"))', "there is a method 'a' already"),
        ('OFFER = "lora"', "it is a str, not a Method or a tuple of them"),
        ('OFFER = method("Big Name")', "the name 'Big Name' must be lower-case letters"),
        ('OFFER = method("a", "nowhere.at_all:f")', "attach of 'a' must be 'module:function'"),
        ('OFFER = method("a", "json")', "'module:function', not 'json'"),
        ("import nothing_like_it", "loading bad_plug:OFFER failed with ModuleNotFoundError"),
        ("1 / 0", "failed with ZeroDivisionError: division by zero"),
        ("", "failed with AttributeError"),
    ],
)
def test_a_plug_in_that_cannot_be_used_is_left_out_and_named(package, line, problem):
    """The others work on."""
    package("bad-plug", offering(line))
    package("good-plug", offering('OFFER = method("good")'))

    found = found_methods({"lora"})

    assert list(found.methods) == ["good"]
    [said] = found.problems
    assert said.startswith("the plug-in 'offer' of the package 'bad-plug' is left out: ")
    assert problem in said
    assert said.endswith("; mend or uninstall the package")


def test_of_two_packages_with_the_same_method_the_first_by_name_stands(package):
    package("b-plug", offering('OFFER = method("same")'))
    package("a-plug", offering('OFFER = method("same")'))

    found = found_methods(())

    assert found.packages == {"same": "a-plug"}
    assert "'b-plug'" in found.problems[0]


RESOURCE = """
from importlib.resources import files
OFFER = files("autopeft.search_spaces.published") / FILE
"""


@pytest.mark.parametrize(
    ("offer", "name"),
    [
        ('OFFER = """{text}"""', "mine"),
        ('from pathlib import Path\nOFFER = Path(__file__).with_name("space.yaml")', "mine"),
        (RESOURCE, "lora"),
    ],
    ids=["text", "path", "resource"],
)
def test_a_space_is_a_text_a_path_or_a_resource(package, tmp_path, offer, name):
    text = dedent(SPACE).format(name="mine")
    (tmp_path / "space.yaml").write_text(text, "utf-8")
    code = f"FILE = 'lora.yaml'\n{offer.format(text=text)}"
    package("space-plug", code, group="autopeft.spaces")

    found = found_spaces(parse_space, ())

    assert [space.name for space in found.spaces] == [name]
    assert found.problems == ()


@pytest.mark.parametrize(
    ("offer", "problem"),
    [
        ('OFFER = "name: [unclosed"', "it cannot be read: the space 'offer' is no YAML"),
        ('OFFER = "name: x"', "it cannot be read: the space 'offer', line 1: a space must have"),
        ('from pathlib import Path\nOFFER = Path("/nowhere.yaml")', "it cannot be read: [Errno 2]"),
        ("OFFER = 7", "it cannot be read: 'int' object has no attribute 'read_text'"),
        (f'OFFER = """{dedent(SPACE).format(name="lora")}"""', "there is a space 'lora' already"),
        ("1 / 0", "failed with ZeroDivisionError"),
    ],
)
def test_a_space_that_cannot_be_used_is_left_out_and_named(package, offer, problem):
    package("bad-plug", offer, group="autopeft.spaces")

    found = found_spaces(parse_space, {"lora"})

    assert found.spaces == ()
    assert "of the package 'bad-plug' is left out" in found.problems[0]
    assert problem in found.problems[0]


def test_what_is_wrong_in_our_own_parser_is_not_blamed_on_a_plug_in(package):
    package("space-plug", 'OFFER = "a"', group="autopeft.spaces")

    def parse(*_words):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        found_spaces(parse, ())
