"""A run store for commands that look at many runs and make none: each folder is opened once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from oshp_lite.engine.runs import Run, RunStore
from oshp_lite.errors import UserError


@dataclass
class OpenedOnce(RunStore):
    """A store that remembers what it has opened, damaged runs too; what changes on disk meanwhile is not seen."""

    _opened: dict[Path, Run | UserError | None] = field(default_factory=dict, repr=False)

    def _open(self, folder: Path) -> Run | None:
        if folder not in self._opened:
            try:
                self._opened[folder] = super()._open(folder)
            except UserError as error:
                self._opened[folder] = error
        run = self._opened[folder]
        if isinstance(run, UserError):
            raise run
        return run
