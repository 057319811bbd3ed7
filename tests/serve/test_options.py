"""The decoding options of a request: the model's own, overridden and checked as on the command line."""

from dataclasses import replace
from pathlib import Path

import pytest

from captioner.errors import ConfigError
from captioner.inference.load import captioner_of, open_run
from captioner.serve.options import CAPS, DecodingOptions


def options_of(run: Path, *overrides: str) -> DecodingOptions:
    return DecodingOptions(captioner_of(open_run(run, overrides)))


@pytest.fixture(scope="module")
def options(tiny_run: Path) -> DecodingOptions:
    return options_of(tiny_run, "decode.beam_width=5", "decode.length_penalty=0.7")


def test_options_override_those_of_the_model(options: DecodingOptions) -> None:
    assert options.own.beam_width == 5
    assert options.read({"beam_width": " ", "seed": ""}) == (options.own, (1, False, 0))
    decoding = options.read({"n_best": "3", "beam_width": "9", "no_repeat_ngram": "2"})
    assert decoding == (replace(options.own, beam_width=9, no_repeat_ngram=2), (3, False, 0))


def test_an_option_that_becomes_ineffective_is_reset_as_on_the_command_line(options: DecodingOptions) -> None:
    assert options.read({"beam_width": "1"})[0].length_penalty == 0
    assert options.read({"method": "sampling", "top_k": "5"})[0].beam_width == 1
    with pytest.raises(ConfigError, match=r"decode.length_penalty: has no effect without decode.method beam "):
        options.read({"beam_width": "1", "length_penalty": "0.5"})


def test_caps_are_at_least_the_model_s_own(tiny_run: Path) -> None:
    options = options_of(tiny_run, "decode.max_length=300")
    assert options.read({"max_length": "300"})[0].max_length == 300
    for name, value in (("max_length", 301), ("beam_width", CAPS["beam_width"] + 1)):
        with pytest.raises(ConfigError, match=" and <= "):
            options.read({name: str(value)})


def test_options_without_effect_on_a_model_are_absent(options: DecodingOptions, familiar_run: Path) -> None:
    assert not {"keywords", "consensus", "guidance", "unfamiliar_below", "attention"} & options.table.keys()
    assert options_of(familiar_run).read({"keywords": "7"})[1].keywords == 7
    with pytest.raises(ConfigError, match=r"^keywords: not an option of this model"):
        options.read({"keywords": "3"})


def test_consensus_needs_a_reranker(tiny_run: Path) -> None:
    captioner = captioner_of(open_run(tiny_run, ["decode.beam_width=5", "decode.consensus=2"]))
    assert captioner.reranker is not None, "the index is built from the generated scenes"
    decode, _ = DecodingOptions(captioner).read({"consensus": "4", "guidance": "2"})
    assert (decode.consensus, decode.guidance) == (4, 2)
    assert captioner.with_decoding(decode).reranker is captioner.reranker
    assert captioner.with_decoding(replace(decode, consensus=0)).reranker is None


def test_every_field_shows_the_value_of_the_model_and_the_bounds(options: DecodingOptions) -> None:
    fields = {field.name: field for field in options.fields()}
    assert list(fields) == list(options.table)
    assert (fields["beam_width"].own, fields["length_penalty"].own, fields["top_k"].own) == ("5", "0.7", "null")
    assert fields["method"].choices == ("beam", "sampling")
    assert fields["suppress_unk"].choices == ("true", "false")
    assert fields["beam_width"].attributes == {"type": "number", "step": 1, "min": 1, "max": 100}
