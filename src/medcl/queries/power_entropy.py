"""PowerPE: predictive entropy with power noise."""

from __future__ import annotations

from typing import ClassVar

from medcl.queries import queries
from medcl.queries.entropy import Entropy
from medcl.queries.uncertain import Powered


@queries.register("power-entropy")
class PowerEntropy(Powered, Entropy):
    """Places drawn by lot without replacement, with chances as entropy ** beta.

    score = log H + e, e ~ Gumbel(0, 1 / beta) (Kirsch et al., Stochastic Batch Acquisition, TMLR 2023; PowerPE of
    Luth et al., nnActive, arXiv 2511.19183, has beta = 1).
    """

    description: ClassVar[str] = "By lot, with chances as the entropy: less alike than the most uncertain."
