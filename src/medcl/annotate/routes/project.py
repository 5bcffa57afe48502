"""The project: what it is, and its first set-up."""

from __future__ import annotations

from fastapi import APIRouter

from medcl.annotate.context import Author, Here
from medcl.annotate.schemas import Project, Setup

router = APIRouter(prefix="/api", tags=["project"])


@router.get("/project")
def get_project(context: Here, author: Author) -> Project:
    """Classes, channels, states of the cases, the newest model; of a folder that is not set up, the scans found."""
    return context.project(author)


@router.post("/project/setup")
def set_up_project(context: Here, author: Author, answers: Setup) -> Project:
    """Make a data set of a folder of scans by naming the classes. No scan is moved or changed."""
    from medcl.annotate.setting_up import set_up

    with context.setting_up:
        set_up(context, answers)
        with context.database.session() as session:
            context.tell(session, "project", "setup", author=author)
    return context.project(author)
