"""Search for the best parameter-efficient fine-tuning configuration under a hard budget.

What people's own code asks for lies here, and is loaded with torch when it is first named:

    model = autopeft.apply("plan.json", model)      # methods inside, everything else frozen
    autopeft.save(model, "adapter")                 # adapter.safetensors and plan.json
    model = autopeft.load(model, "adapter")
"""

from typing import Any

__version__ = "0.1.0.dev0"

_LATER = {
    "apply": "production.applying",
    "remove": "production.applying",
    "parameter_groups": "production.applying",
    "choose_by": "production.applying",
    "FollowPlan": "production.following",
    "find_model": "training.model_files",
    "model_for": "production.heads",
    "load": "production.keeping",
    "save": "production.keeping",
    "read_plan": "plan",
    "transfer": "production.transferring",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'autopeft' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"autopeft.{_LATER[name]}"), name)
