"""The front matter of a model card, which Hugging Face reads: license, language, library, task, data set, scores."""

from __future__ import annotations

from typing import Any

from captioner.config.differences import yaml_text
from captioner.evaluation.titles import SCORES
from captioner.packaging.card_facts import CardFacts, one_line

METRICS = {key: (title.partition("-")[0].lower(), title) for key, title in SCORES.items()}
"""The type of each metric on Hugging Face (bleu, rouge or cider), and its title."""


def front_matter(facts: CardFacts) -> str:
    """Return the front matter between its two fences."""
    config, options = facts.model.config, facts.options
    tags = ["captioner", "image-captioning", config.model.cell, "numpy"]
    values: dict[str, Any] = {
        "license": options.license,
        "language": [options.language],
        "library_name": "captioner",
        "pipeline_tag": "image-to-text",
        "tags": [*tags, "attention"] if facts.model.model.attends else tags,
    }
    if options.dataset is not None:
        values["datasets"] = [one_line(options.dataset)]
    if facts.scores:
        values["metrics"] = list(dict.fromkeys(kind for kind, _ in METRICS.values()))
        values["model-index"] = [{"name": facts.name, "results": _results(facts)}]
    return f"---\n{yaml_text(values)}---\n"


def _results(facts: CardFacts) -> list[dict[str, Any]]:
    name = facts.dataset
    return [
        {
            "task": {"type": "image-to-text", "name": "Image captioning"},
            "dataset": {"type": name, "name": name, "split": one_line(one.split)},
            "metrics": [
                {"type": kind, "name": title, "value": round(100 * one.scores[key], 1)}
                for key, (kind, title) in METRICS.items()
            ],
        }
        for one in facts.scores
    ]
