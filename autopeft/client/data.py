"""The calls around data sets."""

from pathlib import Path
from uuid import uuid4

from autopeft.client.calls import Call, get, paged
from autopeft.client.methods import Group, Way, calling
from autopeft.resources.answers import DatasetResource, Listed

_DATASET = "/v1/datasets/{id}"


class Datasets(Group[Way]):
    """Data that was uploaded: ``client.datasets``."""

    @calling
    def upload(
        self, file: Path, *, sha256: str | None = None, once: str | None = None
    ) -> Call[DatasetResource]:
        """Upload a file; it is read bit by bit, however large it is.

        With ``sha256``, its digest, the service refuses what was changed on the way. It then reads
        the file: the data set is usable when its state is ``ready``.
        """
        return Call(
            method="POST", path="/v1/datasets", answer=DatasetResource, upload=file,
            form={"sha256": sha256} if sha256 else {}, once=once or uuid4().hex,
        )  # fmt: skip

    @calling
    def get(self, dataset: str) -> Call[DatasetResource]:
        """Find a data set."""
        return get(_DATASET, DatasetResource, id=dataset)

    @calling
    def list(
        self, *, limit: int | None = None, after: str | None = None
    ) -> Call[Listed[DatasetResource]]:
        """List a page of data sets, the newest first."""
        return get("/v1/datasets", Listed[DatasetResource], *paged(limit, after))

    @calling
    def delete(self, dataset: str) -> Call[None]:
        """Delete a data set that no job needs any more."""
        return Call(method="DELETE", path=_DATASET, answer=type(None), at={"id": dataset})
