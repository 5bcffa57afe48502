"""Optional loggers beside the CSV log, chosen by settings."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from medcl.errors import MissingExtraError, SettingsError
from medcl.settings import TrainSettings


def loggers_for(out: Path, settings: TrainSettings) -> Any:
    """Return Lightning loggers for the services that were asked for, or False for none.

    Raises:
        MissingExtraError: A service's package is not installed.
        SettingsError: The tracking URI cannot be used.
    """
    chosen: list[Any] = []
    if settings.tensorboard:
        if find_spec("tensorboard") is None:
            raise MissingExtraError("tensorboard", "tensorboard", "tensorboard=true")
        from lightning.pytorch.loggers import TensorBoardLogger

        chosen.append(TensorBoardLogger(save_dir=out, name="tensorboard", version=""))
    if settings.mlflow:
        if find_spec("mlflow") is None:
            raise MissingExtraError("mlflow-skinny", "mlflow", "the mlflow setting")
        import mlflow
        from lightning.pytorch.loggers import MLFlowLogger

        try:
            mlflow.MlflowClient(settings.mlflow).search_experiments(max_results=1)
        except mlflow.exceptions.MlflowException as error:
            reason = str(error).split(". ")[0]
            raise SettingsError(f"mlflow: the tracking URI '{settings.mlflow}' cannot be used: {reason}.") from None
        chosen.append(MLFlowLogger(experiment_name="medcl", run_name=out.name, tracking_uri=settings.mlflow))
    return chosen or False
