"""What may be named in a request: spaces, methods, strategies, models."""

from fastapi import APIRouter

from autopeft.api.dependencies import Reader, SettingsDep
from autopeft.api.problems import documented
from autopeft.resources.answers import Listed
from autopeft.resources.catalog import (
    MethodResource,
    ModelList,
    ModelResource,
    SpaceResource,
    StrategyResource,
)
from autopeft.search_spaces.catalog import METHODS
from autopeft.search_spaces.written.reading import known_spaces
from autopeft.wiring.allowed import PACKAGE, models_listed
from autopeft.wiring.described import method_document, space_document, strategy_document
from autopeft.wiring.strategies import STRATEGIES

router = APIRouter(prefix="/v1", tags=["catalog"])


@router.get("/spaces", operation_id="list_spaces", responses=documented())
def spaces(_caller: Reader) -> Listed[SpaceResource]:
    """List the search spaces."""
    data = [SpaceResource.model_validate(space_document(space)) for space in known_spaces()]
    return Listed(data=data, has_more=False)


@router.get("/methods", operation_id="list_methods", responses=documented())
def methods(_caller: Reader) -> Listed[MethodResource]:
    """List the methods that spaces are made of, the user's own (`space_yaml`) too."""
    data = [MethodResource.model_validate(method_document(each)) for each in METHODS.values()]
    return Listed(data=data, has_more=False)


@router.get("/strategies", operation_id="list_strategies", responses=documented())
def strategies(_caller: Reader) -> Listed[StrategyResource]:
    """List the strategies with their options."""
    data = [StrategyResource.model_validate(strategy_document(name)) for name in STRATEGIES]
    return Listed(data=data, has_more=False)


@router.get("/models", operation_id="list_models", responses=documented())
def models(_caller: Reader, settings: SettingsDep) -> ModelList:
    """List the models: installed packages, folders of this service, and whether the hub is open."""
    data = [
        ModelResource(name=name, source="package" if name.startswith(PACKAGE) else "folder")
        for name in models_listed(settings)
    ]
    return ModelList(data=data, hub=settings.hub)
