"""PowerBALD: mutual information with power noise."""

from __future__ import annotations

from typing import ClassVar

from medcl.queries import queries
from medcl.queries.bald import Bald
from medcl.queries.uncertain import Powered


@queries.register("power-bald")
class PowerBald(Powered, Bald):
    """Places drawn by lot without replacement, with chances as mutual information ** beta.

    score = log I + e, e ~ Gumbel(0, 1 / beta) (PowerBALD: Kirsch et al., Stochastic Batch Acquisition, TMLR 2023).
    """

    description: ClassVar[str] = "By lot, with chances as the disagreement: less alike than the most disputed."
