"""Methods and spaces that other installed packages bring along."""

from autopeft.search_spaces.method import Method


def installed_methods() -> tuple[Method, ...]:
    """Load the methods of the entry points ``autopeft.methods``."""
    return ()
