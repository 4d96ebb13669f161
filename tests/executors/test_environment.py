"""Environment variables that hold for a while."""

import os

import pytest

from autopeft.executors.environment import environment


def test_variables_hold_inside_and_are_set_back_also_after_an_error(monkeypatch):
    monkeypatch.setenv("AUTOPEFT_KNOWN", "before")
    variables = {"AUTOPEFT_KNOWN": "inside", "AUTOPEFT_NEW": "inside"}

    with pytest.raises(ValueError, match="stop"), environment(variables):  # noqa: PT012
        assert [os.environ[name] for name in variables] == ["inside", "inside"]
        raise ValueError("stop")

    assert os.environ["AUTOPEFT_KNOWN"] == "before"
    assert "AUTOPEFT_NEW" not in os.environ
