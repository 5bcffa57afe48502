"""Describe somebody's folder as a dataset: count what its files hold, ask what the values mean, write `dataset.json`.

Nothing is assumed: what the names and values suggest is a proposal with its reason, and the user answers.
"""

from medcl.data.init.answers import Answers, Question, answer, open_questions, parse_meaning, percent
from medcl.data.init.groups import FileGroup, in_layout, propose_sources
from medcl.data.init.survey import Survey, ValueCount, list_groups, option_of, survey
from medcl.data.init.write import InitReport, init_dataset

__all__ = [
    "Answers",
    "FileGroup",
    "InitReport",
    "Question",
    "Survey",
    "ValueCount",
    "answer",
    "in_layout",
    "init_dataset",
    "list_groups",
    "open_questions",
    "option_of",
    "parse_meaning",
    "percent",
    "propose_sources",
    "survey",
]
