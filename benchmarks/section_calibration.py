"""What `calibration.json` says, as a section of the results."""

from __future__ import annotations

from typing import Any

_SCORES = ("ece", "ece_foreground", "ece_band", "ece_classwise", "brier", "nll")


def lines(content: dict[str, Any]) -> list[str]:
    """Return the section as lines of markdown."""
    found = ["## Calibration and quality without labels", ""]
    for name, one in content["sets"].items():
        others = ", ".join(one["others"])
        found += [
            f"### {name}: `{one['model']}`, {one['test_cases']} labelled cases that no way saw (other run: {others})",
            "",
            "| way | T near | T far | ECE all | ECE structures | ECE near | ECE by class | Brier | NLL |",
            "|---|---|---|---|---|---|---|---|---|",
        ]
        for way, scores in one["ways"].items():
            bold = "**" if way == content["recommended"] else ""
            numbers = " | ".join(f"{scores[key]:.4f}" for key in _SCORES)
            near = f"{scores['temperature']:.2f}" if scores["kind"] == "temperature" else "per class"
            found.append(f"| {bold}{way}{bold} | {near} | {scores['far']:.2f} | {numbers} |")
        found += [
            "",
            "| probabilities | r, case means | r, structures | expected Dice | true Dice | Dice of the surest half | "
            "volume in its 95 % interval | width / volume |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for way, q in one["quality"].items():
            found.append(
                f"| {way} | {q['r_cases']:.2f} | {q['r_structures']:.2f} | {q['mean_expected']:.3f} | "
                f"{q['mean_true']:.3f} | {q['dice_of_surest_half']:.3f} | {q['volume_in_interval']:.0%} | "
                f"{q['interval_width_share']:.2f} |"
            )
        found.append("")
    return found
