"""Methods that come through the `peft` library as they are: no slicing, no fused layers."""

from autopeft.search_spaces.method import Method

METHODS: tuple[Method, ...] = ()
