"""``MODEL_CARD.md``: what a trained predictor of engagement knows, and what it does not; from its run.

After M. Mitchell et al., "Model cards for model reporting", FAT* 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from adlens import contract
from export.engagement.classes import FIXED
from export.engagement.diagrams import CONFUSION_FILE, RELIABILITY_FILE
from export.engagement.evaluation import SIGNIFICANT, describe
from export.engagement.network import CONTEXT, IMAGE
from export.engagement.story import EngagementStory

CARD_FILE: Final = "MODEL_CARD.md"
_SHOWN: Final = {
    "hour": "hour of the day",
    "weekday": "weekday",
    "caption_length": "length of the caption",
    "hashtags": "number of hashtags",
    "followers": "followers of the account",
    "advertised": "whether it is advertised",
}


def write(story: EngagementStory, folder: Path) -> None:
    """Write the card of ``story`` beside its pictures in ``folder``."""
    parts = [_verdict(story), _reads(story), _judged(story), _data(story), _limits(story)]
    (folder / CARD_FILE).write_text("\n\n".join(parts) + "\n")


def _verdict(story: EngagementStory) -> str:
    found = story.held_out
    told = (
        f"On {found['posts']} posts that it learned nothing from it was right in {found['accuracy']:.1%} of "
        f"cases; always saying the most frequent class would have been in {found['majority']:.1%}. By "
        f"McNemar's exact test on the posts that one of the two gets right and the other does not "
        f"({found['right_alone']} against {found['majority_right_alone']}), one-sided, p = "
        f"{found['p_value']:.2g}; below {SIGNIFICANT} counts as signal."
    )
    lines = ["# How popular a post will be: model card"]
    if not found["signal"]:
        lines.append("# NOT ENOUGH SIGNAL")
        lines.append(
            "**This model knows nothing that always saying the most frequent class does not.** Its answers "
            "mean nothing, and every answer says so. More posts may help (3,000 a class, as the original "
            "task's author advises), more of their context, or other boundaries."
        )
    if story.starter:
        lines.append(
            "**Starter.** Its trunk has seeded weights, or its posts were generated: it says nothing of real "
            "posts."
        )
    if story.training.get("shuffled") is not None:
        lines.append("**Learned from shuffled labels**, to show that nothing is found where nothing is.")
    return "\n\n".join([*lines, told])


def _reads(story: EngagementStory) -> str:
    lines = ["## What it reads"]
    if IMAGE in story.reads:
        lines.append(
            f"* The picture, as a whole, on a square of 224 pixels: {story.backbone} on weights "
            f"`{Path(story.weights).name}`, {_tuned(story.training)}."
        )
    else:
        lines.append("* No picture.")
    learned = story.training["context"]
    if CONTEXT in story.reads and learned:
        lines.append(f"* Of the context: {', '.join(_SHOWN[name] for name in learned)}. Any may be missing.")
    unread = [name for name in contract.POST_FIELDS if name not in learned]
    if CONTEXT in story.reads and unread:
        lines.append(
            f"* Not {', '.join(_SHOWN[name] for name in unread)}: in what it learned from, that was "
            "unknown or always the same. What is given of it changes nothing."
        )
    if CONTEXT not in story.reads:
        lines.append("* No context.")
    return "\n".join([lines[0], "", *lines[1:]])


def _tuned(training: Mapping[str, Any]) -> str:
    epochs = training["fine_tuned_epochs"]
    return f"its last layers fine-tuned for {epochs} epochs" if epochs else "as they are"


def _judged(story: EngagementStory) -> str:
    kept = "fitted again on validation" if story.training["calibration"]["refitted"] else "as learned"
    return "\n".join(
        [
            "## How it was judged",
            "",
            f"Once, on held-out posts ({story.training['split']} split). {_classes(story)}",
            "",
            "```",
            describe(story.held_out),
            "```",
            "",
            *_without_context(story),
            f"Probabilities are {kept}: only what comes true more often, on posts it was not fitted on, is "
            "kept.",
            "",
            f"![confusion]({CONFUSION_FILE})",
            "",
            f"![reliability]({RELIABILITY_FILE})",
        ]
    )


def _without_context(story: EngagementStory) -> list[str]:
    if CONTEXT not in story.reads:
        return []
    found = story.without_context
    verdict = "signal" if found["signal"] else "not enough signal"
    able = IMAGE in story.reads and found["signal"]
    return [
        f"Where nothing is known of a post but its picture: right in {found['accuracy']:.1%} of the same "
        f"posts, p = {found['p_value']:.2g}, log loss {found['score']['log_loss']:.4f} "
        f"({found['base_rates']['log_loss']:.4f} by base rates): {verdict}. Pictures of one account and "
        f"context {'can' if able else 'cannot'} be ranked by it.",
        "",
    ]


def _classes(story: EngagementStory) -> str:
    if story.classes == FIXED:
        low, high = story.boundaries
        return f"A post is low below {low:,.0f} likes and comments, high above {high:,.0f}, else neutral."
    low, high = story.training["quantiles"]
    return (
        f"Each account has its own boundaries, the quantiles {low:.3g} and {high:.3g} of the posts that were "
        "learned from; other accounts have those of all."
    )


def _data(story: EngagementStory) -> str:
    return "\n".join(
        [
            "## What it learned from",
            "",
            f"{story.trained_on}. What was dropped, and why:",
            "",
            "```",
            story.training["cleaning_table"],
            "```",
            "",
            _counts(story.training["counts"]),
        ]
    )


def _counts(counts: Mapping[str, Mapping[str, int]]) -> str:
    labels = contract.ENGAGEMENT_CLASSES
    lines = [f"| posts | {' | '.join(labels)} |", f"|---|{'---:|' * len(labels)}"]
    lines += [
        f"| {part} | {' | '.join(str(each[label]) for label in labels)} |" for part, each in counts.items()
    ]
    return "\n".join(lines)


def _limits(story: EngagementStory) -> str:
    lines = [
        "## Limits",
        "",
        "* It was judged on the accounts that it learned from; of others it says what they would get here.",
        "* What was cleaned away, it has never seen: posts that were much advertised, above all.",
        "* Engagement follows the season, the feed's algorithm and luck: train it again now and then.",
        "* It finds what goes along with engagement, not what causes it.",
        "* McNemar's test takes posts for independent: series, and copies under other names, are not.",
        "* Trying many settings on one held-out part until one has signal finds some by chance.",
        "* Exports often give all posts the followers that the account has today.",
    ]
    if story.training["split"] == "time":
        lines.append("* The time order holds within an account, not between accounts.")
    else:
        lines.append(
            "* Parts were drawn at random: it has learned from posts after those foretold, which flatters."
        )
    return "\n".join(lines)
