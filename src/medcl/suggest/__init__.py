"""Where to draw next, for a data set and a model: predict what is not annotated, rank, price, write.

The strategies themselves are in `medcl.queries`; this room reads data sets and runs networks for them.
"""

from __future__ import annotations

from medcl.suggest.make import Suggestions, SuggestSettings, suggest

__all__ = ["SuggestSettings", "Suggestions", "suggest"]
