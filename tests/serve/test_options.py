"""The decoding options of a request: the model's own, overridden and checked as on the command line."""

import dataclasses
from pathlib import Path

import pytest

from captioner.captioning.captioner import Captioner
from captioner.captioning.load import open_run
from captioner.config.overrides import override, read_overrides
from captioner.errors import ConfigError, UsageError
from captioner.serve.app import CAPS, RequestOptions, in_words_of_request


def options_of(run: Path, *overrides: str) -> RequestOptions:
    return RequestOptions(Captioner(open_run(run, read_overrides(overrides))))


@pytest.fixture(scope="module")
def options(tiny_run: Path) -> RequestOptions:
    return options_of(tiny_run, "decode.beam_width=5", "decode.length_penalty=0.7")


def test_options_override_those_of_the_model(options: RequestOptions) -> None:
    assert options.own.decode.beam_width == 5
    assert options.read({"beam_width": " ", "seed": ""}) == {}
    read = options.read({"n_best": "3", "beam_width": "9", "no_repeat_ngram": "2"})
    assert read == {"caption.n_best": 3, "decode.beam_width": 9, "decode.no_repeat_ngram": 2}


def test_an_option_that_becomes_ineffective_is_reset_as_on_the_command_line(options: RequestOptions) -> None:
    assert override(options.own, options.read({"beam_width": "1"})).decode.length_penalty == 0
    wide = options.read({"n_best": "2", "beam_width": "1", "length_penalty": "3"})
    assert override(options.own, wide).decode.length_penalty == 3, "the beam is widened"
    assert override(options.own, options.read({"method": "sampling", "top_k": "5"})).decode.beam_width == 1


def test_problems_name_options_as_requests_do(tiny_run: Path) -> None:
    values = {"decode.beam_width": 1, "decode.length_penalty": 0.5}
    with pytest.raises(ConfigError) as caught:
        Captioner(open_run(tiny_run)).with_options(values, dict.fromkeys(values, ""))
    assert in_words_of_request(caught.value).startswith("length_penalty: has no effect without method beam and ")


def test_caps_are_at_least_the_model_s_own(tiny_run: Path) -> None:
    options = options_of(tiny_run, "decode.max_length=300")
    assert options.read({"max_length": "300"}) == {"decode.max_length": 300}
    for name, value in (("max_length", 301), ("beam_width", CAPS["decode.beam_width"] + 1)):
        with pytest.raises(ConfigError, match=" and <= "):
            options.read({name: str(value)})


def test_options_without_effect_on_a_model_are_absent(options: RequestOptions, familiar_run: Path) -> None:
    assert not {"labels", "unfamiliar_below", "attention"} & options.table.keys()
    assert options_of(familiar_run).read({"labels": "7"}) == {"caption.labels": 7}
    with pytest.raises(UsageError, match=r"^labels: not an option of this model"):
        options.read({"labels": "3"})
    of_summary = {"similarity_weight", "guidance_weight", "uncertain_below", "keywords_above"}
    assert of_summary < options.table.keys()
    loaded = dataclasses.replace(open_run(familiar_run), summary=None)
    assert not {*of_summary, "unfamiliar_below"} & RequestOptions(Captioner(loaded)).table.keys()


def test_every_field_shows_the_value_of_the_model_and_the_bounds(options: RequestOptions) -> None:
    fields = {field.name: field for field in options.fields()}
    assert list(fields) == list(options.table)
    assert (fields["beam_width"].own, fields["length_penalty"].own, fields["top_k"].own) == ("5", "0.7", "null")
    assert fields["method"].choices == ("beam", "sampling")
    assert fields["suppress_unk"].choices == ("true", "false")
    assert fields["beam_width"].attributes == {"type": "number", "step": 1, "min": 1, "max": 100}
