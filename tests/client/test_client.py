"""What importing the client brings along, and what it says where it cannot be used."""

import subprocess
import sys

import pytest

import autopeft.client


def run(code):
    return subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}"], capture_output=True, text=True, check=False
    )


def test_nothing_heavy_is_imported_and_httpx_only_for_a_client():
    done = run(
        "import autopeft.client\nassert 'httpx' not in sys.modules\n"
        "from autopeft.client import AsyncClient, Client\n"
        "print({'torch', 'transformers', 'fastapi', 'sqlalchemy'} & set(sys.modules))"
    )

    assert done.stdout == "set()\n", done.stderr


def test_without_httpx_it_says_what_to_install():
    done = run("sys.modules['httpx'] = None\nfrom autopeft.client import Client")

    assert "the client needs the package httpx: pip install 'autopeft[service]'" in done.stderr


def test_what_is_not_there_is_told():
    with pytest.raises(AttributeError, match="has no attribute 'Server'"):
        autopeft.client.Server  # noqa: B018
