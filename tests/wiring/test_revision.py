"""Which code ran, read from what git keeps, without git."""

import pytest

from autopeft import __version__
from autopeft.wiring.revision import code_revision

COMMIT = "57aafdd0" * 5


@pytest.fixture
def root(tmp_path):
    (tmp_path / "autopeft").mkdir()
    return tmp_path


def write(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def test_an_installed_package_is_named_by_its_version(root):
    assert code_revision(root / "autopeft") == f"autopeft {__version__}"


def test_a_checkout_is_named_by_the_commit_of_its_branch(root):
    write(root / ".git" / "HEAD", "ref: refs/heads/main\n")
    write(root / ".git" / "refs" / "heads" / "main", f"{COMMIT}\n")

    assert code_revision(root / "autopeft") == f"git {COMMIT}"


def test_a_packed_branch_is_found(root):
    write(root / ".git" / "HEAD", "ref: refs/heads/main\n")
    write(root / ".git" / "packed-refs", f"# pack-refs\n{COMMIT} refs/heads/main\n")

    assert code_revision(root / "autopeft") == f"git {COMMIT}"


def test_a_commit_without_a_branch_is_found(root):
    write(root / ".git" / "HEAD", f"{COMMIT}\n")

    assert code_revision(root / "autopeft") == f"git {COMMIT}"


def test_a_worktree_is_followed_to_its_repository(root):
    own = root / "other" / "worktrees" / "mine"
    write(root / ".git", f"gitdir: {own}\n")
    write(own / "HEAD", "ref: refs/heads/main\n")
    write(own / "commondir", "../..\n")
    write(root / "other" / "refs" / "heads" / "main", f"{COMMIT}\n")

    assert code_revision(root / "autopeft") == f"git {COMMIT}"


def test_a_repository_without_a_commit_is_named_by_the_version(root):
    write(root / ".git" / "HEAD", "ref: refs/heads/main\n")

    assert code_revision(root / "autopeft") == f"autopeft {__version__}"
