"""`train`: from a data set and settings to a run folder with a model, a log and a report."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader

from medcl.data.dataset import Dataset
from medcl.data.plan import Plan, make_plan
from medcl.data.raters import how_to_learn, people_of
from medcl.data.store import Store
from medcl.errors import RunError
from medcl.files import check_place, write_json
from medcl.inference.card import pieces_in_words
from medcl.inference.model import save_model
from medcl.inference.sources import SNAPSHOTS
from medcl.methods import Task, learns_from_labels, views_of, walk_of, wants_raters
from medcl.settings import BudgetSettings
from medcl.training.adaptation.sizes import keep_sizes
from medcl.training.checkpoint import load_checkpoint, restore
from medcl.training.configure import RunConfig, build_network, configure, resolve
from medcl.training.features import check_cached, feature_cache
from medcl.training.hardware import Hardware, choose_hardware, is_first_process, keep_buffers
from medcl.training.log import RunLog
from medcl.training.loggers import loggers_for
from medcl.training.module import TrainingModule
from medcl.training.pictures import Painter
from medcl.training.pieces import one_piece
from medcl.training.raters import Rated, build_sampler, choose_raters, open_for_training, prepare_raters
from medcl.training.reach import absence_in_words
from medcl.training.report import write_run_report
from medcl.training.resuming import check_same_data, other_hardware, resumed_config
from medcl.training.sampling import StepBatches, kinds_in_words
from medcl.training.schedule import Clock
from medcl.training.split import Split, choose_split
from medcl.training.supervisor import Progress, Show, Supervisor, also_to_file, say, seed_everything
from medcl.training.validation import clean_batches, forward_in, refresh_statistics, score, validation_cases
from medcl.training.watching import Snapshot, Watch

STATISTICS_BATCHES = 16
"""Batches over which batch normalisation is measured for the averaged weights."""


@dataclass(frozen=True)
class RunResult:
    """What a training leaves.

    Attributes:
        folder: The run folder.
        finished: False after an interruption or a stop by `watch`; `resume` goes on.
        steps: Steps done.
        minutes: Minutes of training.
        scores: Last validation scores of the last weights; empty where nothing could be scored.
        best: Best validation score seen on the way, for orientation; the model is the last one.
        hardware: The choices of device, precision, layout, threads, with reasons.
    """

    folder: Path
    finished: bool
    steps: int
    minutes: float
    scores: dict[str, float] = field(default_factory=dict)
    best: float | None = None
    hardware: tuple[str, ...] = ()

    @property
    def model(self) -> Path:
        """The model folder."""
        return self.folder / "model"


def train(
    dataset: Dataset | Path | str,
    out: Path | str,
    *,
    method: str | Mapping[str, Any] | None = None,
    backbone: str | Mapping[str, Any] | None = None,
    budget: str | BudgetSettings | None = None,
    settings: Mapping[str, Any] | None = None,
    plan: Plan | Path | str | None = None,
    resume: bool = False,
    store: Path | str | None = None,
    show: Show | None = None,
    watch: Watch | None = None,
) -> RunResult:
    """Train a segmentation model from strokes.

    Args:
        dataset: A dataset folder, or an opened one.
        out: The run folder.
        method: Name, or mapping with `name` and settings; default medcl.
        backbone: Name, or mapping with `name` and settings; default unet.
        budget: '60m', '2h', '500steps' or settings.
        settings: Keys of `TrainSettings`; may hold `method` and `backbone` too.
        plan: A plan or its file; default: made from the data.
        resume: Go on with the run in `out`, with the settings it was started with.
        store: Folder for prepared arrays; default: `medcl-store` beside `out`, shared by runs of one parent folder.
        show: Called with progress, in the first process only.
        watch: Called after every step, in the first process only, with what the training would hand on now; True ends
            it there: with a checkpoint, and a model of that moment without a report.

    Returns:
        What the run left.

    Raises:
        RunError: `out` holds a run already, or none to resume; its data or settings changed; training diverged.
        SettingsError: A setting is unknown or out of range.
        DataError: The data cannot be used.
    """
    out = Path(out)
    show = show if show is not None and is_first_process() else (lambda progress: None)
    values = dict(settings or {})
    if method is not None:
        values["method"] = method
    if backbone is not None:
        values["backbone"] = backbone
    if budget is not None:
        # str() so that a bare number meets the sentence that asks for its unit
        chosen = budget if isinstance(budget, BudgetSettings) else BudgetSettings.from_text(str(budget))
        values["budget"] = chosen.model_dump(exclude_none=True)
    config = resumed_config(out, values) if resume else configure(values)
    if not resume and is_first_process() and (out / "run.json").exists():
        raise RunError(
            f"{out}: holds a run already; pass resume (--resume) to go on with it, or choose another folder."
        )
    opened = open_for_training(dataset, config.train)
    _check_before_work(opened, out)
    dense = config.train.dense or learns_from_labels(config.method)
    choose_raters(opened, config.train, dense=dense)
    chosen_plan = _plan(opened, config, plan, out, resume=resume)
    config = resolve(config, chosen_plan)
    check_cached(config)
    hardware = choose_hardware(config.train)
    if not resume and getattr(config.backbone, "weights", None):
        build_network(config, chosen_plan)  # weights that do not fit are refused before the images are prepared
    place = Path(store) if store else out.parent / "medcl-store"

    def tell(case: str, number: int, count: int) -> None:
        say(show, f"preparing {case} ({number} of {count})")

    prepared = Store.prepare(opened, chosen_plan, place, splits=("Tr", "Val"), progress=tell)
    rated = prepare_raters(opened, chosen_plan, place, prepared, config.train, dense=dense, tell=tell)
    if resume:
        check_same_data(out, prepared, rated)
    split = choose_split(opened, prepared, config.train)
    return _Run(out, opened, chosen_plan, prepared, split, config, hardware, show, watch, rated).go(resume=resume)


def _check_before_work(dataset: Dataset, out: Path) -> None:
    """Refuse what could be known before hours of preparing and training."""
    check_place(out)
    if out.resolve() == dataset.folder.resolve():
        raise RunError(f"{out}: expected a folder for the run, got the dataset itself; choose another one.")
    if not any(case.scribble or case.label for case in dataset.cases("Tr")):
        raters = people_of(dataset.folder, "labels")
        if raters:
            raise RunError(
                f"{dataset.folder}: expected a choice among the labels of {', '.join(raters)}, as no case of imagesTr "
                f"has strokes or a label beside theirs. {how_to_learn('labels', len(raters))}."
            )
        raise RunError(
            f"{dataset.folder}: expected strokes or labels in at least one case of imagesTr, got none; "
            "put them into scribblesTr or labelsTr."
        )


def _plan(dataset: Dataset, config: RunConfig, plan: Plan | Path | str | None, out: Path, *, resume: bool) -> Plan:
    if resume:
        return Plan.load(out / "plan.json")
    if isinstance(plan, Plan):
        return plan
    if plan is not None:
        return Plan.load(Path(plan))
    return make_plan(dataset, **dict(config.train.plan))


@dataclass
class _Run:
    """The pieces of one run, and how they work together."""

    out: Path
    dataset: Dataset
    plan: Plan
    store: Store
    split: Split
    config: RunConfig
    hardware: Hardware
    show: Show
    watch: Watch | None = None
    rated: Rated | None = None

    def __post_init__(self) -> None:
        self.show = also_to_file(self.show, self.out / "train.log")

    def go(self, *, resume: bool) -> RunResult:
        config, hardware, plan = self.config, self.hardware, self.plan
        torch.set_num_threads(hardware.threads)
        if hardware.accelerator == "cpu":
            keep_buffers()
        seed_everything(config.train.seed)
        checkpoint = self.out / "checkpoints" / "last.ckpt"
        state = load_checkpoint(checkpoint) if resume and checkpoint.exists() else {}
        told: list[str] = []  # said when there is a log to say it in
        network = build_network(config, plan, weights=not state, tell=told.append)
        groups, latent = tuple(plan.groups.values()), int(getattr(network, "latent", 0))
        task = Task(len(plan.classes), groups, plan.ndim, plan.input_channels, latent)
        self.features = feature_cache(config, network, self.store.path.parent, str(hardware.precision))
        step, seconds = int(state.get("step", 0)), float(state.get("seconds", 0.0))
        clock = Clock(config.train.budget, seconds)  # growing strokes takes its share of the budget
        self.sampler = build_sampler(
            self.rated,
            self.store,
            self.split.training,
            plan,
            batch_size=self._images_per_step(),
            patch=plan.patch,
            oversample=config.train.oversample,
            seed=config.train.seed,
            presence=config.train.presence,
            reach=config.train.reach or 0.0,
            enclosed=bool(config.train.enclosed),
            dense=config.train.dense or learns_from_labels(config.method),
            annotated=self.split.annotated,
            walk=walk_of(config.method),
            everyone=wants_raters(config.method),
        )
        notes = other_hardware(self.out, hardware) if resume else ()
        if is_first_process():
            self._write_run_file()
        learnt = f"cases learnt: {kinds_in_words(self.sampler.kinds)}"
        say(
            self.show,
            *hardware.reasons,
            *notes,
            *told,
            learnt,
            *absence_in_words(config.train.reach, config.train.enclosed, pictures=plan.size[0] == 1),
            *self.split.reasons,
        )
        log = RunLog(self.out / "log.csv", keep_until=step if resume else None, write=is_first_process())
        module = TrainingModule(
            network,
            config.method,
            task,
            config.train,
            patch=plan.patch,
            clock=clock,
            channels_last=hardware.channels_last,
            features=self.features,
        )
        if state:
            restore(module, state)
        supervisor = Supervisor(
            self.out,
            log,
            score=self._scorer(),
            draw=self._painter(),
            show=self.show,
            state=state,
            keep_best=self._keep_best,
            stop=None if self.watch is None else self._watched,
            keep_snapshot=self._keep_snapshot,
        )
        if module.clock.progress(step) < 1:
            self._fit(module, supervisor, step)
        module.clock.stop()
        if supervisor.interrupted:
            message = f"stopped at step {module.done_steps}; everything is saved. Go on with --resume."
            self.show(Progress(module.done_steps, module.clock.progress(module.done_steps), None, message=message))
            return self._result(module, supervisor, finished=False)
        if is_first_process():
            self._finish(module, supervisor)
        return self._result(module, supervisor, finished=not supervisor.stopped)

    def _watched(self, module: TrainingModule, share: float) -> bool:
        """Show the caller this moment; return whether it wants the end."""
        assert self.watch is not None  # the supervisor asks only where somebody watches
        step = module.done_steps
        snapshot = Snapshot(
            step,
            share,
            self.plan,
            self.store,
            copy=module.final_network,
            measure=self._refresh,
            join=lambda forward, most: one_piece(forward, self.sampler, self.plan, most=most),
            write=lambda network, folder, pieces: self._save_model(network, folder, {}, step, pieces=pieces),
        )
        return bool(self.watch(snapshot))

    def _images_per_step(self) -> int:
        """Return the batch size without views, and say so where it cannot be divided by them."""
        wanted, views = self.config.train.batch_size, views_of(self.config.method)
        images = max(1, wanted // views)
        if images * views != wanted:
            say(self.show, f"batch: {images} images in {views} views each, as {wanted} is no multiple of {views}")
        return images

    def _fit(self, module: TrainingModule, supervisor: Supervisor, step: int) -> None:
        config, hardware = self.config, self.hardware
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
        trainer = lightning.Trainer(
            accelerator=hardware.accelerator,
            devices=hardware.devices,
            # Methods may leave parameters unused for a while: MedCL starts with strokes alone.
            strategy="ddp_find_unused_parameters_true" if hardware.devices > 1 else "auto",
            precision=hardware.precision,  # type: ignore[arg-type]
            max_epochs=1,
            min_epochs=0,
            max_steps=-1,
            gradient_clip_val=config.train.optim.gradient_clip or None,
            logger=loggers_for(self.out, config.train),
            callbacks=[supervisor],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            limit_val_batches=0,
            default_root_dir=self.out,
        )
        workers = config.train.workers
        loader: DataLoader[Any] = DataLoader(
            StepBatches(self.sampler, step, rank=trainer.global_rank, repeat=config.train.cached_batches),
            batch_size=None,
            num_workers=workers,
            persistent_workers=workers > 0,
        )
        with supervisor.signals(), warnings.catch_warnings():
            # Lightning advises more loading processes; steps are far slower than loading here.
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            warnings.filterwarnings("ignore", message=".*GPU available but not used.*")
            # The averaged weights are in eval mode on purpose; the other warning is about Lightning's own code.
            warnings.filterwarnings("ignore", message=".*module\\(s\\) in eval mode.*")
            warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")
            trainer.fit(module, loader)

    def _forward(self, network: nn.Module, device: torch.device) -> Any:
        layout = torch.contiguous_format
        if self.hardware.channels_last:
            layout = torch.channels_last if self.plan.ndim == 2 else torch.channels_last_3d
        cached = network if self.features is None else self.features.through(network)
        return forward_in(cached, device, self.hardware.precision, layout)

    def _refresh(self, network: nn.Module) -> Any:
        forward = self._forward(network, next(network.parameters()).device)
        refresh_statistics(network, forward, clean_batches(self.sampler, STATISTICS_BATCHES))
        return forward

    def _scorer(self) -> Any:
        if not self.split.validation:
            return None
        by_id = {case.id: case for split in ("Tr", "Val") for case in self.dataset.cases(split)}
        cases = validation_cases(
            self.store,
            self.split.validation,
            dense=self.split.dense,
            labels=lambda case_id: self.dataset.read_label(by_id[case_id]),
        )

        def scorer(network: nn.Module) -> dict[str, float]:
            return score(self._refresh(network), cases, self.plan)

        return scorer

    def _painter(self) -> Any:
        count = self.config.train.sample_pictures
        if not count:
            return None
        painter = Painter(
            self.out / "pictures", self.store, self.split.validation or self.split.training, self.plan, count
        )

        def draw(network: nn.Module, step: int) -> None:
            forward = self._forward(network, next(network.parameters()).device)
            if not self.split.validation:
                self._refresh(network)
            painter.draw(forward, step)

        return draw

    def _keep_best(self, network: nn.Module, scores: dict[str, float], step: int) -> None:
        self._save_model(network, self.out / "best_model", scores, step)

    def _keep_snapshot(self, network: nn.Module, number: int, step: int) -> None:
        self._refresh(network)
        self._save_model(network, self.out / SNAPSHOTS / f"{number:02d}", {}, step)

    def _save_model(
        self,
        network: nn.Module,
        folder: Path,
        scores: dict[str, float],
        step: int,
        *,
        pieces: Sequence[tuple[int, ...]] = (),
        **facts: Any,
    ) -> None:
        save_model(
            folder,
            network=network,
            backbone=self.config.backbone_name,
            backbone_settings=self.config.backbone.model_dump(mode="json"),
            plan=self.plan,
            method=self.config.method_name,
            settings=self.config.as_dict(),
            metrics={"validation": scores, "validation_on": self.split.words},
            history={
                "steps": step,
                "training_cases": len(self.split.training),
                "learnt_from": self.sampler.kinds,
                **facts,
            },
            one_piece=pieces,
        )

    def _finish(self, module: TrainingModule, supervisor: Supervisor) -> None:
        # Lightning leaves the module on the CPU; batch normalisation is measured where the training ran.
        network = module.final_network().to(self.hardware.device)
        forward = self._refresh(network)
        minutes = round(module.clock.seconds / 60, 2)
        if supervisor.stopped:  # whoever stops it is waiting
            self._save_model(network, self.out / "model", supervisor.scores, module.done_steps, minutes=minutes)
            return
        pieces = one_piece(forward, self.sampler, self.plan)
        words = ", ".join(pieces_in_words(pieces, self.plan))
        if pieces:
            say(
                self.show,
                f"one piece, as the strokes say: {words}; prediction keeps the largest piece of each "
                "(--largest-component none keeps all)",
            )
        self._save_model(
            network, self.out / "model", supervisor.scores, module.done_steps, pieces=pieces, minutes=minutes
        )
        keep_sizes(self.out / "model", forward, self.plan, self.store, self.split.training)
        write_run_report(self.out, self.dataset, self.plan, self.config, self.hardware, self.split, self.sampler.kinds)

    def _write_run_file(self) -> None:
        from medcl.evaluation.provenance import machine, versions

        self.out.mkdir(parents=True, exist_ok=True)
        self.plan.save(self.out / "plan.json")
        write_json(
            self.out / "run.json",
            {
                "dataset": self.dataset.name,
                "digest": self.dataset.digest,
                "prepared": self.store.path.name,
                "raters": None if self.rated is None else self.rated.key,
                "settings": self.config.as_dict(),
                "hardware": list(self.hardware.reasons),
                "training_cases": self.split.training,
                "annotated_cases": self.split.annotated,
                "validation_cases": self.split.validation,
                "validation_on": self.split.words,
                "versions": versions(),
                "machine": machine(),
            },
        )

    def _result(self, module: TrainingModule, supervisor: Supervisor, *, finished: bool) -> RunResult:
        best = supervisor.best if supervisor.best > float("-inf") else None
        return RunResult(
            self.out,
            finished,
            module.done_steps,
            module.clock.seconds / 60,
            supervisor.scores,
            best,
            self.hardware.reasons,
        )
