"""MedCL as a whole: weights, schedule, mixes, memory of centres, and each difference of the faithful form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from medcl.augment.mix import beta, inter_mix, intra_mix, random_boxes
from medcl.batch import Batch
from medcl.errors import SettingsError
from medcl.losses.existence import class_existence
from medcl.losses.partial import balanced, faithful_dice, labelled_dice, partial_cross_entropy
from medcl.methods import Network, Task
from medcl.methods.medcl import MedCL
from medcl.methods.medcl.codes import CodeHeads

TERMS = ("partial_ce", "dice", "mixed_partial_ce", "mix_consistency", "existence", "local", "global")
GROUPS = ((1, 2),)
ALWAYS = {"start": 0.0, "ramp": 0.0}


def only(*terms: str, **weights: float) -> dict[str, float]:
    """Weights of 1 for these terms and 0 for all others."""
    return {term: weights.get(term, float(term in terms)) for term in TERMS}


class Recorder:
    """A network that notes what it was shown and answers with logits it was given, or with zeros."""

    def __init__(self, classes: int, answers: tuple[Tensor, ...] = ()) -> None:
        self.classes, self.answers, self.shown = classes, answers, []

    def __call__(self, image: Tensor) -> Tensor:
        self.shown.append(image)
        if len(self.shown) <= len(self.answers):
            return self.answers[len(self.shown) - 1]
        return torch.zeros(image.shape[0], self.classes, *image.shape[2:])


def handle(forward: Callable, method: MedCL, *, classes: int = 3, progress: float = 1.0, seed: int = 0) -> Network:
    task = Task(classes, (), 2)
    return Network(forward, task, method.modules(task), torch.Generator().manual_seed(seed), progress)


# --- seven terms, seven weights ---


@pytest.mark.parametrize("faithful", [False, True])
def test_all_seven_terms_are_named(faithful: bool, make_trial: Callable, batch_for: Callable) -> None:
    trial = make_trial("medcl", groups=GROUPS, faithful=faithful)
    assert set(trial.step(batch_for(trial, 3, (9, 7)))) == set(TERMS)


@pytest.mark.parametrize("faithful", [False, True])
@pytest.mark.parametrize("term", TERMS)
def test_weight_zero_removes_one_term_and_leaves_the_others(
    term: str, faithful: bool, make_trial: Callable, batch_for: Callable
) -> None:
    whole = make_trial("medcl", groups=GROUPS, faithful=faithful)
    without = make_trial("medcl", groups=GROUPS, faithful=faithful, weights={term: 0})
    batch = batch_for(whole, 3, (9, 7))
    losses, fewer = whole.step(batch), without.step(batch)
    assert set(losses) - set(fewer) == {term}
    for name, loss in fewer.items():
        assert torch.equal(loss, losses[name]), name


@pytest.mark.parametrize("term", TERMS)
def test_a_weight_scales_its_term_alone(term: str, make_trial: Callable, batch_for: Callable) -> None:
    whole = make_trial("medcl", groups=GROUPS)
    usual = whole.method.weights.model_dump(by_alias=True)[term]
    tripled = make_trial("medcl", groups=GROUPS, weights={term: 3 * usual})
    batch = batch_for(whole, 3, (9, 7))
    losses, others = whole.step(batch), tripled.step(batch)
    for name in TERMS:
        torch.testing.assert_close(others[name], losses[name] * (3 if name == term else 1))


def test_heads_are_built_only_where_a_code_is_used() -> None:
    task = Task(4, GROUPS, 2)
    assert isinstance(MedCL().modules(task), CodeHeads)
    assert MedCL.parse({"weights": {"local": 0, "global": 0}}).modules(task) is None
    assert MedCL().modules(task).centres.shape == (5, 128)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weights": dict.fromkeys(TERMS, 0), "start": 0}, "all are 0"),
        ({"weights": {**only("mixed_partial_ce")}, "start": 0, "inter_mix": False}, "all are 0"),
        ({"weights": {"partial_ce": 0, "dice": 0}}, "set start to 0"),
        ({"box": [0.9, 0.5]}, "smallest <= largest"),
        ({"box": [0.0, 0.5]}, "smallest <= largest"),
        ({"weights": {"globl": 1}}, "unknown setting 'weights.globl'"),
        ({"temperature": 0}, "temperature"),
    ],
)
def test_settings_that_cannot_work_are_refused(values: dict, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        MedCL.parse(values)


# --- odd cases ---


@pytest.mark.parametrize("faithful", [False, True])
@pytest.mark.parametrize("images", [1, 2, 3, 5])
@pytest.mark.parametrize("groups", [(), ((1, 2, 3),), ((1, 2, 3), (2, 3), (3,))], ids=["none", "one", "overlapping"])
def test_any_batch_size_and_any_groups(
    images: int, groups: tuple, faithful: bool, make_trial: Callable, batch_for: Callable
) -> None:
    trial = make_trial("medcl", classes=4, groups=groups, faithful=faithful)
    losses = trial.step(batch_for(trial, images, (8, 9)))
    assert set(losses) == set(TERMS)
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert all(p.grad is None or p.grad.isfinite().all() for p in trial.parameters().values())


def test_one_view_trains_without_contrast_and_intra_mix(make_trial: Callable, batch_for: Callable) -> None:
    trial = make_trial("medcl", groups=GROUPS, views=1, intra_mix=False, weights={"local": 0})
    batch = batch_for(trial, 3, (9, 7))
    losses = trial.step(batch)
    assert "local" not in losses
    logits = trial.network(batch.image)  # not mixed
    torch.testing.assert_close(losses["partial_ce"], partial_cross_entropy(logits, batch.target))


def test_balance_reaches_both_cross_entropies(make_trial: Callable, batch_for: Callable) -> None:
    trial = make_trial("medcl", groups=GROUPS, balance=1.0, intra_mix=False, consistency_gradient="mixed", **ALWAYS)
    batch = batch_for(trial, 2, (9, 7))
    network = Recorder(3)
    losses = trial.method.step(batch, handle(network, trial.method, seed=3))
    zeros = torch.zeros_like(batch.target)
    torch.testing.assert_close(losses["partial_ce"], partial_cross_entropy(zeros, balanced(batch.target, 1.0)))
    skewed = torch.zeros_like(zeros)
    skewed[:, 1] = 2.0
    answers = (skewed, skewed[:2])
    weighted, plain = (
        trial_of.step(batch, handle(Recorder(3, answers), trial_of, seed=3))["mixed_partial_ce"]
        for trial_of in (trial.method, trial.method.model_copy(update={"balance": 0.0}))
    )
    assert weighted != plain


@pytest.mark.parametrize("settings", [{"intra_mix": True, "weights": {"local": 0}}, {"intra_mix": False}])
def test_one_view_refuses_what_needs_two(make_trial: Callable, settings: dict) -> None:
    with pytest.raises(SettingsError, match=r"need two; set intra_mix to false and weights.local to 0"):
        make_trial("medcl", views=1, **settings)


# --- schedule ---


def test_strokes_alone_at_the_start_then_a_linear_ramp(make_trial: Callable, batch_for: Callable) -> None:
    settings = {"groups": GROUPS, "start": 0.2, "ramp": 0.4}
    batch = batch_for(make_trial("medcl", **settings), 3, (9, 7))
    courses = {p: make_trial("medcl", **settings).step(batch, progress=p) for p in (0.0, 0.19, 0.2, 0.3, 0.4, 0.6, 1.0)}
    assert set(courses[0.0]) == set(courses[0.19]) == {"partial_ce", "dice"}
    full = courses[1.0]
    for progress, share in ((0.2, 0.0), (0.3, 0.25), (0.4, 0.5), (0.6, 1.0)):
        for term in ("mix_consistency", "existence", "local", "global"):
            assert courses[progress][term].item() == pytest.approx(share * full[term].item(), rel=1e-4, abs=1e-7)
        for term in ("partial_ce", "dice", "mixed_partial_ce"):  # these learn from strokes and need no ramp
            assert torch.equal(courses[progress][term], full[term])


def test_nothing_is_mixed_before_the_start(batch_for: Callable, make_trial: Callable) -> None:
    trial = make_trial("medcl", start=0.5)
    batch = batch_for(trial, 2, (8, 8))
    network = Recorder(3)
    trial.method.step(batch, handle(network, trial.method, progress=0.4))
    assert len(network.shown) == 1
    assert torch.equal(network.shown[0], batch.image)


# --- mixes ---


def test_the_default_mixes_images_in_a_share_of_the_steps(batch_for: Callable, make_trial: Callable) -> None:
    trial = make_trial("medcl", views=1, intra_mix=False, mixing=MedCL().mixing, weights={"local": 0})
    assert trial.method.model_copy(update={"code_grid": 32, "code_width": 256, "code_dim": 128}) == MedCL()
    batch = batch_for(trial, 4, (8, 8))
    found = [set(trial.step(batch, seed=seed)) for seed in range(200)]
    always = {"partial_ce", "dice", "existence", "global"}
    mixed = always | {"mixed_partial_ce", "mix_consistency"}
    assert all(names in (always, mixed) for names in found)
    assert sum(names == mixed for names in found) == pytest.approx(200 * 0.25, abs=25)  # four standard deviations


def test_without_mixing_neither_views_nor_images_mix(batch_for: Callable, make_trial: Callable) -> None:
    trial = make_trial("medcl", mixing=0)
    batch, network = batch_for(trial, 2, (8, 8)), Recorder(3)
    trial.method.step(batch, handle(network, trial.method))
    assert len(network.shown) == 1
    assert torch.equal(network.shown[0], batch.image)


@pytest.mark.parametrize("faithful", [False, True])
def test_the_network_sees_the_mixes_of_the_reference(faithful: bool, make_trial: Callable, batch_for: Callable) -> None:
    trial = make_trial("medcl", faithful=faithful, **ALWAYS)
    method = trial.method
    batch = batch_for(trial, 2, (10, 10))
    # Views of an image differ in practice; make them differ here.
    batch = replace(batch, image=batch.image + torch.arange(4.0).reshape(4, 1, 1, 1))
    network = Recorder(3)
    losses = method.step(batch, handle(network, method, seed=7))
    generator = torch.Generator().manual_seed(7)
    torch.rand((), generator=generator)  # whether this step mixes
    box, weight = random_boxes(4, (10, 10), method.box, generator), beta((4,), 0.5, generator)
    other = torch.tensor([1, 0, 3, 2])
    image, target = (intra_mix(v, v[other], box, weight) for v in (batch.image, batch.target))
    torch.testing.assert_close(network.shown[0], image)
    weight = beta((4,), 0.5, generator)
    pairs = 4 if faithful else 2  # 0 with 3 and 1 with 2; the fixed form takes each pair once
    torch.testing.assert_close(network.shown[1], inter_mix(image, weight)[:pairs])
    uniform = torch.zeros(4, 3, 10, 10)
    torch.testing.assert_close(losses["partial_ce"], partial_cross_entropy(uniform, target))
    torch.testing.assert_close(
        losses["mixed_partial_ce"], partial_cross_entropy(uniform[:pairs], inter_mix(target, weight)[:pairs])
    )


@pytest.mark.parametrize(("images", "partners"), [(2, [1, 1, 0, 0]), (4, [3, 3, 2, 2, 1, 1, 0, 0])])
def test_with_an_even_batch_the_partner_is_another_image(images: int, partners: list[int]) -> None:
    of_image = torch.arange(images).repeat_interleave(2).reshape(-1, 1, 1).float()
    assert inter_mix(of_image, torch.zeros(2 * images)).flatten().tolist() == partners


@pytest.mark.parametrize(("switch", "forwards"), [("intra_mix", 2), ("inter_mix", 1)])
def test_each_mix_can_be_switched_off(switch: str, forwards: int, make_trial: Callable, batch_for: Callable) -> None:
    trial = make_trial("medcl", **{switch: False})
    batch, network = batch_for(trial, 2, (8, 8)), Recorder(3)
    batch = replace(batch, image=batch.image + torch.arange(4.0).reshape(4, 1, 1, 1))
    losses = trial.method.step(batch, handle(network, trial.method))
    assert len(network.shown) == forwards
    assert torch.equal(network.shown[0], batch.image) == (switch == "intra_mix")
    assert ("mix_consistency" in losses) == (switch == "intra_mix")


def test_a_place_is_ruled_out_where_both_views_rule_it_out() -> None:
    # One row of four pixels, box over the first two. Inside it only the own view counts.
    method = MedCL.parse({"box": (0.5, 0.5)})
    own, other = torch.tensor([1.0, 0, 1, 1]), torch.tensor([0.0, 0, 1, 0])
    absent = torch.zeros(2, 2, 1, 4)
    absent[0, 1, 0], absent[1, 1, 0] = own, other
    flags = torch.ones(2, 2, dtype=torch.bool)
    batch = Batch(torch.zeros(2, 1, 1, 4), torch.zeros(2, 2, 1, 4), flags, flags, absent, views=2)
    mixed = method._mix_views(batch, torch.Generator().manual_seed(0))
    box = random_boxes(2, (1, 4), (0.5, 0.5), torch.Generator().manual_seed(0))
    for view, (mine, theirs) in enumerate(((own, other), (other, own))):
        expected = torch.where(box[view, 0, 0] > 0, mine, mine * theirs)
        assert mixed.absent[view, 1, 0].tolist() == expected.tolist()
    assert mixed.absent[:, 0].sum() == 0


def test_consistency_moves_the_mixed_prediction_alone_unless_told(make_trial: Callable, batch_for: Callable) -> None:
    for gradient, moved in (("mixed", False), ("both", True)):
        weights = only("partial_ce", "mix_consistency")
        trial = make_trial("medcl", weights=weights, consistency_gradient=gradient, **ALWAYS)
        batch = batch_for(trial, 2, (8, 8))
        plain, mixed = (torch.randn(n, 3, 8, 8, requires_grad=True) for n in (4, 2))
        losses = trial.method.step(batch, handle(Recorder(3, (plain, mixed)), trial.method))
        losses["mix_consistency"].backward()
        assert mixed.grad.abs().sum() > 0
        assert (plain.grad is not None) == moved


# --- centres ---


def codes_step(method: MedCL, heads: CodeHeads, batch: Batch, seed: int = 0) -> Tensor:
    logits = torch.randn(batch.image.shape[0], 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    network = Network(Recorder(3, (logits,)), Task(3, GROUPS, 2), heads, torch.Generator().manual_seed(0), 1.0)
    return method.step(batch, network)["global"]


def test_centres_are_remembered_and_unseen_rows_wait(make_trial: Callable, batch_for: Callable) -> None:
    trial = make_trial("medcl", groups=GROUPS, weights=only("partial_ce", "global"), centre_decay=0.9)
    heads, batch = trial.extra, batch_for(trial, 2, (8, 8))
    present = torch.tensor([[True, True, False]] * 4)
    first = replace(batch, present=present)
    codes_step(trial.method, heads, first)
    assert heads.filled.tolist() == [True, True, False, True]  # the group holds class 1
    assert heads.centres[2].abs().sum() == 0
    before = heads.centres.clone()
    assert not before.requires_grad
    everything = replace(batch, present=torch.ones_like(present))
    codes_step(trial.method, heads, everything, seed=1)
    assert heads.filled.all()
    fresh = make_trial("medcl", groups=GROUPS, weights=only("partial_ce", "global")).extra
    codes_step(trial.method, fresh, everything, seed=1)  # the same batch into an empty memory: its own centres
    torch.testing.assert_close(heads.centres[[0, 1, 3]], 0.9 * before[[0, 1, 3]] + 0.1 * fresh.centres[[0, 1, 3]])
    torch.testing.assert_close(heads.centres[2], fresh.centres[2])


def test_memory_keeps_a_gradient_and_can_be_switched_off(make_trial: Callable, batch_for: Callable) -> None:
    for settings in ({"centre_decay": 0.9}, {"centre_decay": 0.0}, {"faithful": True}):
        trial = make_trial("medcl", groups=GROUPS, weights=only("partial_ce", "global"), **settings)
        batch = batch_for(trial, 2, (8, 8))
        for seed in range(2):
            codes_step(trial.method, trial.extra, batch, seed).backward()
        assert all(p.grad.abs().sum() > 0 for p in trial.extra.anatomy.parameters())
        assert bool(trial.extra.filled.any()) == (settings == {"centre_decay": 0.9})


# --- the faithful form ---


def test_faithful_takes_the_numbers_of_the_reference_unless_told_otherwise() -> None:
    method = MedCL.parse({"faithful": True})
    assert method.box == (0.9, 1.0)
    assert method.alpha == method.temperature == 0.5
    assert method.centre_decay == method.start == method.ramp == 0
    assert method.consistency_gradient == "both"
    assert all(weight == 1 for weight in method.weights.model_dump().values())
    assert MedCL.parse({"faithful": True, "box": [0.5, 0.6]}).box == (0.5, 0.6)


def test_faithful_and_fixed_dice_differ_as_documented(make_trial: Callable, batch_for: Callable) -> None:
    for faithful, dice in ((False, labelled_dice), (True, faithful_dice)):
        trial = make_trial("medcl", faithful=faithful, intra_mix=False)
        batch = batch_for(trial, 2, (8, 8))
        expected = dice(trial.network(batch.image).softmax(dim=1), batch.target)
        torch.testing.assert_close(trial.step(batch)["dice"], expected)


def test_faithful_indicator_is_aligned_for_two_of_64_samples(make_trial: Callable, batch_for: Callable) -> None:
    of_image = torch.eye(32, dtype=torch.bool).repeat_interleave(2, dim=0)  # image k holds "class" k alone
    batch = Batch(*(torch.zeros(64, 1, 1, 1),) * 2, of_image, of_image, torch.zeros(64, 1, 1, 1), views=2)
    aligned = (MedCL._misaligned(batch) == of_image).all(dim=1)
    assert aligned.nonzero().flatten().tolist() == [0, 63]


def test_faithful_existence_knows_no_places(make_trial: Callable, batch_for: Callable) -> None:
    for faithful in (False, True):
        trial = make_trial("medcl", faithful=faithful, intra_mix=False)
        batch = batch_for(trial, 2, (8, 8))
        probabilities = trial.network(batch.image).softmax(dim=1)
        present = batch.present[[0, 2, 0, 2]] if faithful else batch.present
        expected = trial.method.weights.existence * class_existence(
            probabilities, present, None if faithful else batch.absent
        )
        torch.testing.assert_close(trial.step(batch)["existence"], expected)


def test_faithful_centres_use_absent_classes_too_and_repel_parts(make_trial: Callable, batch_for: Callable) -> None:
    trial = make_trial("medcl", groups=GROUPS, faithful=True)
    batch = batch_for(trial, 2, (8, 8))
    assert not batch.present.all()
    assert trial.method._members(batch, list(GROUPS)).all()
    fixed = make_trial("medcl", groups=GROUPS)
    member = fixed.method._members(batch, list(GROUPS))
    assert torch.equal(member[:, :3], batch.present)
    assert torch.equal(member[:, 3], batch.present[:, 1] | batch.present[:, 2])
