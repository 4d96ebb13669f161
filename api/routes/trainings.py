"""Trainings of plans; ``POST /v1/plans/{id}/train`` begins one."""

from fastapi import APIRouter

from autopeft.api.presenting import PLACES
from autopeft.api.routes.artifacts import add_artifacts
from autopeft.api.routes.events import add_events
from autopeft.api.routes.jobs import add_job_routes
from autopeft.resources.answers import TrainingResource
from autopeft.service.job import Kind

router = APIRouter(prefix=PLACES[Kind.TRAINING], tags=["trainings"])
add_job_routes(router, Kind.TRAINING, TrainingResource)
add_events(router, Kind.TRAINING)
add_artifacts(router, Kind.TRAINING)
