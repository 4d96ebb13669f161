"""Paths of this machine, which nobody outside of it is told."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from autopeft.plan import Plan
from autopeft.settings import ServiceSettings
from autopeft.study import DataFiles, Where


class Hidden:
    """Names files by what users know of them.

    A file of a data set is ``dataset_ID/FILE``, one of a root is named by its path below that, and
    of any other only its name is told.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        folder = settings.folder.absolute()
        roots = [Path(root).expanduser().absolute() for root in (*settings.models, *settings.data)]
        known = [folder / "datasets", folder, *roots]
        both = dict.fromkeys(spelled for path in known for spelled in (path, path.resolve()))
        self._roots = sorted((f"{path}/" for path in both), key=len, reverse=True)

    def name(self, path: str) -> str:
        """Name a file or a model; what is no path of this machine stays as it is."""
        if not path.startswith("/"):
            return path
        for root in self._roots:
            if path.startswith(root):
                return path.removeprefix(root)
        return Path(path).name

    def where(self, where: Where) -> Where:
        """Name where model and data are."""
        data = where.data
        files = (data.train, data.validation, data.test)
        train, validation, test = (self.name(file) if file else None for file in files)
        named = DataFiles(train=train or "", validation=validation, test=test)
        return replace(where, model=self.name(where.model), data=named)

    def plan(self, plan: Plan) -> Plan:
        """Name the model and the data of a plan."""
        return replace(plan, where=self.where(plan.where))

    def text(self, text: str) -> str:
        """Take the folders of this machine out of a sentence."""
        for root in self._roots:
            text = text.replace(root, "")
        return text

    def values(self, values: Any) -> Any:
        """Take them out of all texts in JSON values."""
        if isinstance(values, str):
            return self.text(values)
        if isinstance(values, Mapping):
            return {key: self.values(value) for key, value in values.items()}
        if isinstance(values, list | tuple):
            return [self.values(value) for value in values]
        return values
