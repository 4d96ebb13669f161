"""Methods that weigh others against one another."""

from autopeft.search_spaces.method import Method

METHODS: tuple[Method, ...] = ()
