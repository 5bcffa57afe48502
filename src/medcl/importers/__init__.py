"""Public data sets as their users download them, turned into dataset folders; one file per data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medcl.registry import Registry

if TYPE_CHECKING:
    from medcl.importers.base import Importer

_HERE = "medcl.importers"

importers: Registry[type[Importer]] = Registry(
    "importer",
    {
        "acdc": f"{_HERE}.acdc",
        "acdc-scribbles": f"{_HERE}.acdc_scribbles",
        "btcv": f"{_HERE}.btcv",
        "chaos": f"{_HERE}.chaos",
        "la2018": f"{_HERE}.la2018",
        "mscmr-scribbles": f"{_HERE}.mscmr_scribbles",
        "mscmrseg": f"{_HERE}.mscmrseg",
        "msd": f"{_HERE}.msd",
        "myops": f"{_HERE}.myops",
    },
)
"""Name -> importer. A package adds its own through the entry point group `medcl.importer`."""

register = importers.register
