"""Forms are parsed in memory; damaged ones are errors."""

import email.parser
import email.policy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving import BOUNDARY, form

from captioner.serve.upload import MAX_PARTS, Part, boundary_of, parse_form

LIMIT = BOUNDARY.encode()
NAMES = st.text(st.characters(codec="utf-8", exclude_characters='"\r\n%'), min_size=1, max_size=20)


@given(st.binary(max_size=200), NAMES, st.dictionaries(st.sampled_from("abc"), st.text("xyz\r\n-", max_size=9)))
def test_fields_and_files_are_those_of_the_form(content: bytes, name: str, fields: dict[str, str]) -> None:
    if b"--" + LIMIT in content:
        return
    *texts, file = parse_form(form(content, name, **fields), LIMIT)
    assert texts == [Part(key, None, value.encode()) for key, value in fields.items()]
    assert file == Part("photo", name, content)


@given(st.binary(max_size=200).filter(lambda content: b"\r\n" not in content and b"--" not in content))
def test_the_parts_are_those_of_the_standard_library(content: bytes) -> None:
    body = form(content, "a.jpg", beam_width=5)
    head = f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n".encode()
    parsed: Any = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    expected = [part.get_param("name", header="content-disposition") for part in parsed.iter_parts()]
    assert [part.name for part in parse_form(body, LIMIT)] == expected


def test_text_before_the_first_part_is_ignored_and_names_are_unescaped() -> None:
    body = b"preamble\r\n" + form(b"x", "a%22b%0D%0A.jpg")
    assert list(parse_form(body, LIMIT)) == [Part("photo", 'a"b\r\n.jpg', b"x")]


def test_every_truncation_is_an_error() -> None:
    whole = form(b"content", beam_width=5)
    for end in range(len(whole) - len("--\r\n")):
        with pytest.raises(ValueError, match=r"incomplete|missing"):
            list(parse_form(whole[:end], LIMIT))


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"", "boundary is missing"),
        (form(b"x").replace(b'name="photo"; ', b""), "no name"),
        (form(b"x").replace(b"form-data", b"attachment"), "no name"),
        (form(b"x").replace(b"Content", b"X: " + b"y" * 9000 + b"\r\nContent"), "incomplete"),
        (form(b"x", **{f"f{number}": 1 for number in range(MAX_PARTS)}), "more than 40 parts"),
    ],
)
def test_a_damaged_form_is_an_error(body: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        list(parse_form(body, LIMIT))


def test_the_boundary_is_in_the_content_type() -> None:
    assert boundary_of("multipart/form-data; boundary=abc") == b"abc"
    assert boundary_of('Multipart/Form-Data;charset=utf-8; boundary="a b"') == b"a b"
    for header in ("multipart/form-data", "image/jpeg", "", "multipart/form-data; boundary=" + "x" * 71):
        assert boundary_of(header) is None
