from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from medcl.evaluation import evaluate
from medcl.evaluation.blocks import Curve, Facts, Gallery, Legend, Picture, Section, Table, Text
from medcl.evaluation.pictures import Slice, picture
from medcl.evaluation.plots import box_plot, line_plot
from medcl.evaluation.report import flatten, render, write_report
from medcl.evaluation.results import EvaluationResult, Finding

VOID = {"meta", "link", "img", "br", "path", "use", "rect"}


class Page(HTMLParser):
    """Collects what a test asks about; fails on tags that do not close in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def result() -> EvaluationResult:
    label = np.zeros((2, 12, 12), int)
    label[:, 2:8, 2:8] = 1
    label[0, 3:6, 3:6] = 2
    cases = {f"case{k}": np.roll(label, k, axis=2) for k in range(3)}
    names = ["background", "<b>heart</b>", "$x_1$ & co"]
    return evaluate(cases, {**dict.fromkeys(cases, label), "<img src=x>": label}, classes=names, spacing_mm=(5, 1, 1))


def make(result: EvaluationResult | None, **more: object) -> str:
    arguments = {"title": "Title", "settings": {"seed": 0}, "versions": {"medcl": "0"}, **more}
    return render(result, **arguments)  # type: ignore[arg-type]


def test_names_are_data_and_never_markup(result: EvaluationResult) -> None:
    html = make(result, title="<script>alert(1)</script>")
    assert "<b>heart" not in html
    assert "<img src=x" not in html
    assert "<script>alert" not in html
    words = " ".join(Page(html).words)
    assert "<b>heart</b>" in words
    assert "$x_1$ & co" in words  # a dollar in a name is no formula either


def test_nothing_outside_is_referred_to(result: EvaluationResult) -> None:
    html = make(result, curves=[Curve("c", "x", "y", {"a": ([0, 1], [0, 1])})])
    assert not re.findall(r'(?:src|href)="(?!#|data:)[^"]*"', html)
    assert not re.findall(r"url\((?!#)[^)]*\)|@import", html)
    assert "default-src 'none'" in html


def test_identifiers_are_unique_and_used_ones_exist(result: EvaluationResult) -> None:
    page = Page(make(result, curves=[Curve("c", "x", "y", {"a": ([0, 1], [0, 1])}, note="n")] * 1))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = {attributes[key][1:] for _, attributes in page.tags for key in ("href", "xlink:href") if key in attributes}
    assert {name for name in wanted if name and not name.startswith("ata:")} <= set(ids)


def test_tables_and_drawings_can_be_read_without_eyes(result: EvaluationResult) -> None:
    page = Page(make(result))
    tables = len(page.all("table"))
    assert tables == len(page.all("caption")) > 3
    assert all(attributes.get("scope") in ("row", "col") for attributes in page.all("th"))
    drawings = [attributes for attributes in page.all("div") if attributes.get("role") == "img"]
    assert len(drawings) == len(page.all("svg")) == 7
    assert all(len(attributes["aria-label"]) > 20 for attributes in drawings)


def test_numbers_of_the_summary_are_on_the_page(result: EvaluationResult) -> None:
    words = " ".join(Page(make(result)).words)
    row = result.get()
    for value in (row.mean, row.low, row.high):
        assert f"{value:.3f}" in words
    assert "The means lack the cases listed as errors." in words
    assert "the label has no prediction" in words


def test_one_case_says_that_there_is_no_interval() -> None:
    label = np.pad(np.ones((1, 3, 3), int), ((0, 0), (2, 2), (2, 2)))
    html = make(evaluate(label, label, spacing_mm=(1, 1, 1)))
    assert "no interval: fewer than two cases" in html
    assert "One case gives no interval" in html


def test_undefined_values_are_dashes_with_their_number() -> None:
    label = np.pad(np.ones((1, 3, 3), int), ((0, 0), (2, 2), (2, 2)))
    html = make(evaluate({"a": label, "b": 0 * label}, {"a": label, "b": label}, spacing_mm=(1, 1, 1)))
    assert "1 of 2" in html
    assert "nan" not in " ".join(Page(html).words).split()


def test_a_training_run_reports_without_scores() -> None:
    curves = [
        Curve("Losses", "step", "loss", {"partial CE": ([0, 1, 2], [1.0, 0.5, 0.2]), "Dice": ([0, 1, 2], [1, 1, 1])}),
        Curve("Validation", "minutes", "Dice", {"heart": ([], [])}, y_range=(0, 1)),
    ]
    png = picture(Slice(np.ones((8, 8), int)), show="label")
    sections = [
        Section("Samples", [Legend({"heart": "#56b4e9"}), Gallery([Picture(png, "a sample")], "Step 100", columns=1)]),
        Section("Strokes", [Text("Few.", "warning"), Table("t", ["case", "n"], [["a", 1], ["b", None]], folded=True)]),
        Section("More", [Facts({"a": 1})], intro="intro", folded=True),
    ]
    html = make(None, curves=curves, extra_sections=sections, subtitle="sub", settings={"optim": {"lr": 0.1}})
    page = Page(html)
    words = " ".join(page.words)
    for text in ("Over time", "Samples", "Step 100", "Few.", "optim.lr", "intro", "sub"):
        assert text in words
    assert "Cases scored" not in words
    assert [attributes["alt"] for attributes in page.all("img")] == ["a sample"]
    assert "partial CE from 1 to 0.2" in html
    assert "no values yet" in html


def test_findings_without_errors_do_not_warn(result: EvaluationResult) -> None:
    calm = EvaluationResult(result.classes, result.scores, result.summary, [Finding("note", "", "as it is.")])
    html = make(calm)
    assert "as it is." in html
    assert "The means lack" not in html


def test_it_is_written_whole(tmp_path: Path) -> None:
    write_report(tmp_path / "deep/report.html", None, title="T", settings={}, versions={})
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["report.html"]
    assert (tmp_path / "deep/report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_nested_settings_are_flat() -> None:
    assert flatten({"a": {"b": 1, "c": {"d": 2}}, "e": 3}) == {"a.b": 1, "a.c.d": 2, "e": 3}


def test_drawings_take_their_colours_from_the_page_and_are_repeatable() -> None:
    curve = Curve("t", "x", "y", {"a": ([0, 1], [0.1, 1]), "b": ([0, 1], [1, float("nan")])}, log_y=True)
    svg = line_plot(curve)
    assert svg == line_plot(curve)
    assert "var(--series-1)" in svg
    assert "var(--ink)" in svg
    assert not re.findall(r"#0102\w\w", svg)
    assert not re.search(r"<svg[^>]* (width|height)=", svg)


def test_odd_names_are_drawn_as_they_are() -> None:
    names = ["_hidden", "$\\bad{$", "心臓", "a<b&c"]
    svg = line_plot(Curve("t", "x", "y", {name: ([0, 1], [0, 1]) for name in names}))
    for name in ("_hidden", "$\\bad{$", "心臓", "a&lt;b&amp;c"):
        assert f"{name}<" in svg


def test_a_legend_of_long_names_stays_inside_the_drawing() -> None:
    names = [f"stroke_recall/structure number {number}" for number in range(5)]
    svg = line_plot(Curve("t", "x", "y", {name: ([0, 1], [0, 1]) for name in names}))
    width = float(re.search(r'viewBox="0 0 ([\d.]+) ', svg)[1])  # type: ignore[index]
    starts = [float(x) for x in re.findall(r'<text [^>]* x="([\d.]+)"[^>]*>stroke_recall', svg)]
    assert len(starts) == 5
    assert max(starts) + 5 * len(names[0]) < width


def test_a_group_without_values_keeps_its_row() -> None:
    svg = box_plot({"a": [0.1, 0.2, 0.3], "empty": [float("nan")]}, "Dice", (0, 1))
    assert ">empty<" in svg
