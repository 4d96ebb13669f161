"""What a user did not ask for and should know of, before anything is trained."""

from typing import TYPE_CHECKING

from autopeft.backbone import Backbone
from autopeft.cli.console import note
from autopeft.report import by_structure
from autopeft.study import Task

if TYPE_CHECKING:
    from autopeft.wiring.request import Request


def note_surprises(request: "Request", backbone: Backbone, task: Task) -> None:
    """Say how the sites are known where no file names them, and where prompts shorten texts."""
    if by_structure(backbone):
        note(
            f"no architecture file names {backbone.architecture}: its sites were found by its "
            f"structure; see them with: autopeft backbone {request.model}"
        )
    if task.max_length < request.max_length:
        note(
            f"texts are cut to {task.max_length} tokens instead of {request.max_length}, so that "
            "the prompts before them have positions too"
        )
