"""The decoding options of a request: the model's own, overridden and checked as on the command line."""

from dataclasses import replace
from pathlib import Path

import pytest

from captioner.inference.load import captioner_of, open_run
from captioner.serve.decoding_options import CAPS, DecodingOptions
from captioner.serve.security import RequestError


def options_of(run: Path, *overrides: str) -> DecodingOptions:
    return DecodingOptions(captioner_of(open_run(run, overrides)))


@pytest.fixture(scope="module")
def options(tiny_run: Path) -> DecodingOptions:
    return options_of(tiny_run, "decode.beam_width=5", "decode.length_penalty=0.7")


def test_options_override_those_of_the_model(options: DecodingOptions) -> None:
    assert options.defaults.beam_width == 5
    assert options.decoding({"beam_width": " ", "seed": ""}) == (options.defaults, (1, False, 0))
    decoding = options.decoding({"n_best": "3", "beam_width": "9", "no_repeat_ngram": "2"})
    assert decoding == (replace(options.defaults, beam_width=9, no_repeat_ngram=2), (3, False, 0))


def test_an_option_that_becomes_ineffective_is_reset_as_on_the_command_line(options: DecodingOptions) -> None:
    assert options.decoding({"beam_width": "1"}).decode.length_penalty == 0
    assert options.decoding({"method": "sampling", "top_k": "5"}).decode.beam_width == 1
    with pytest.raises(RequestError, match=r"^length_penalty: has no effect without method beam and beam_width >= 2 "):
        options.decoding({"beam_width": "1", "length_penalty": "0.5"})


def test_a_conflict_with_an_option_of_the_model(tiny_run: Path) -> None:
    with pytest.raises(RequestError, match=r"^min_length: expected at most max_length$"):
        options_of(tiny_run, "decode.min_length=5").decoding({"max_length": "2"})


def test_caps_are_at_least_the_model_s_own(tiny_run: Path) -> None:
    options = options_of(tiny_run, "decode.max_length=300")
    assert options.decoding({"max_length": "300"}).decode.max_length == 300
    for name, value in (("max_length", 301), ("beam_width", CAPS["beam_width"] + 1)):
        with pytest.raises(RequestError, match=" and <= "):
            options.decoding({name: str(value)})


def test_keywords_need_classes_and_are_shown_on_the_page(options: DecodingOptions, familiar_run: Path) -> None:
    assert not {"keywords", "unfamiliar_below"} & options.options.keys()
    with_classes = options_of(familiar_run)
    assert {"keywords", "unfamiliar_below"} <= with_classes.options.keys()
    texts = ({}, {"keywords": " "}, {"keywords": "0"}, {"keywords": "7"})
    assert [with_classes.decoding(text, for_page=True).options.keywords for text in texts] == [5, 5, 0, 7]
    assert [with_classes.decoding(text).options.keywords for text in texts] == [0, 0, 0, 7]
    assert options.decoding({}, for_page=True).options.keywords == 0
    with pytest.raises(RequestError, match=r"^keywords: unknown option"):
        options.decoding({"keywords": "3"})


def test_consensus_needs_a_reranker(options: DecodingOptions, tiny_run: Path) -> None:
    assert not {"consensus", "guidance"} & set(options.options)
    captioner = captioner_of(open_run(tiny_run, ["decode.beam_width=5", "decode.consensus=2"]))
    assert captioner.reranker is not None, "the index is built from the generated scenes"
    decode = DecodingOptions(captioner).decoding({"consensus": "4", "guidance": "2"}).decode
    assert (decode.consensus, decode.guidance) == (4, 2)
    assert captioner.with_decoding(decode).reranker is captioner.reranker
    assert captioner.with_decoding(replace(decode, consensus=0)).reranker is None


def test_every_field_shows_the_value_of_the_model(options: DecodingOptions) -> None:
    fields = {field.name: field for field in options.fields()}
    assert list(fields) == [name for name in options.options if name != "attention"]
    assert (fields["beam_width"].default, fields["length_penalty"].default) == ("5", "0.7")
    assert fields["top_k"].default == "null"
    assert fields["method"].choices == ("beam", "sampling")
    assert fields["suppress_unk"].choices == ("true", "false")
