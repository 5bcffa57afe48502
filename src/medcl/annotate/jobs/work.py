"""One job in a process of its own: `python -m medcl.annotate.jobs.work NUMBER`, started by the worker."""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING

from medcl.annotate.jobs import queue
from medcl.annotate.jobs.processes import identity, open_context
from medcl.annotate.jobs.progress import Beat, Report, Stopped
from medcl.annotate.problems import Refused
from medcl.annotate.schemas import NewJob
from medcl.errors import DataError, MedclError

if TYPE_CHECKING:
    from medcl.annotate.context import Context


def main(arguments: list[str]) -> int:
    """Do the job and write how it ended."""
    return do(open_context(), int(arguments[0]))


def do(context: Context, job: int) -> int:
    """Do a job that is claimed.

    Returns:
        Exit code: 0 where the row says how it ended, also if that was an error of the data.
    """
    with context.database.session() as session:
        row = queue.row_of(session, job)
        if row.state != "running":
            return 0  # cancelled or given up before this process was there
        row.worker = identity()
        asked = NewJob.model_validate(row.asked)
    report = Report(context, job)
    beat = Beat(report)
    beat.start()
    try:
        words = _do(context, report, job, asked)
        report.close()
        queue.end(context, job, "finished", words)
    except Stopped:
        report.close()
        queue.end(context, job, "cancelled", "cancelled; what was learned until then is kept")
    except (MedclError, Refused) as error:
        queue.end(context, job, "crashed", str(error))
    except OSError as error:
        traceback.print_exc()
        what = f" ({error.filename})" if error.filename else ""
        queue.end(context, job, "crashed", f"{error.strerror or error}{what}; check disk and permissions.")
    except Exception as error:
        traceback.print_exc()
        queue.end(context, job, "crashed", f"unexpected error, {type(error).__name__}: {error}"[:600])
        return 1
    finally:
        beat.end()
        context.close()
    return 0


def _do(context: Context, report: Report, job: int, asked: NewJob) -> str:
    if asked.kind == "train":
        from medcl.annotate.jobs.training import train_job

        return train_job(context, report, job, asked)
    return predict_job(context, report, job, asked)


def predict_job(context: Context, report: Report, job: int, asked: NewJob) -> str:
    """Predict cases with the newest model; one that cannot be read does not hold up the others.

    Raises:
        DataError: There is no model yet, or some cases could not be predicted; the others were.
    """
    from sqlalchemy import select

    from medcl.annotate.jobs.predicting import Predictor
    from medcl.annotate.jobs.processes import threads
    from medcl.annotate.jobs.training import newest_model
    from medcl.annotate.state.tables import ModelRow
    from medcl.inference.model import Model
    from medcl.inference.postprocess import unions_of

    folder = newest_model(context)
    if folder is None:
        raise DataError("expected a model to predict with, found none; train first.")
    with context.database.session(write=False) as session:
        name = folder.relative_to(context.state).as_posix()
        number = session.scalar(select(ModelRow.id).where(ModelRow.folder == name).order_by(ModelRow.id.desc()))
    assert number is not None  # `newest_model` found the folder by its row
    report.say("loading the model")
    model = Model.load(folder, engine="torch", threads=threads())
    unions = unions_of("auto", classes=len(model.classes), groups=model.plan.groups, one_piece=model.info.one_piece)
    predictor = Predictor(context, model.plan, model.engine, unions)
    wanted = asked.cases if asked.cases is not None else [case.id for case in context.cases()]
    if asked.first is not None:
        wanted = [asked.first, *(name for name in wanted if name != asked.first)]
    failed = []
    for done, name in enumerate(wanted):
        report.check()
        report.say(f"predicting {name} ({done + 1} of {len(wanted)})")
        try:
            predictor.predict(context.case(name), number, job)
        except (DataError, Refused) as error:  # refused: the case is no longer part of the data set
            failed.append(str(error))
        report.at((done + 1) / len(wanted))
    if failed:
        raise DataError(f"{len(failed)} of {len(wanted)} cases could not be predicted: {' '.join(failed[:3])}")
    return f"predicted {len(wanted)} case{'' if len(wanted) == 1 else 's'}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
