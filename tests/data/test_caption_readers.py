"""Caption files: detection of the format, each format, and validation."""

import json
from pathlib import Path

import pytest

from captioner.data import caption_readers
from captioner.data.caption_readers import (
    MAX_FIELD,
    MAX_RECORD_LINES,
    CaptionFile,
    CaptionRecord,
    Columns,
    coco,
    json_lines,
    karpathy,
    read_captions,
    read_list,
    split_in_name,
    table,
    token_txt,
)
from captioner.data.image_names import image_name
from captioner.errors import DataError

KARPATHY = {"images": [{"filename": "a.jpg", "split": "restval", "sentences": [{"tokens": ["a", "dog"]}]}]}
COCO = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"image_id": 1, "caption": "a dog"}]}


LINES = '{"image": "a.jpg", "caption": "a dog"}\n{"image": "b.jpg", "caption": "a cat"}\n'


@pytest.fixture
def reading(tmp_path):
    """The records and issues of a file with some content, as short strings."""

    def read(content, name="c.csv", **options):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return [
            f"{item.image}|{item.text}|{item.split}" if isinstance(item, CaptionRecord) else str(item)
            for item in read_captions(path, **options)
        ]

    return read


@pytest.fixture
def refusal(reading, tmp_path):
    def read(content, name="c.csv", **options):
        with pytest.raises(DataError) as caught:
            reading(content, name, **options)
        message = str(caught.value)
        assert message.isprintable()
        return message.replace(f"{tmp_path}/", "")

    return read


@pytest.mark.parametrize(("name", "space"), [("captions.txt", ""), ("captions", "\n \n"), ("captions.json", "\n")])
@pytest.mark.parametrize(
    ("content", "split"),
    [
        ("image,caption\na.jpg,a dog\n", None),
        ("image\tcaption\na.jpg\ta dog", None),
        ("a.jpg#0\ta dog\n", None),
        (json.dumps(KARPATHY), "train"),
        (json.dumps(KARPATHY, indent=1), "train"),
        (json.dumps(COCO), None),
        (json.dumps(COCO, indent=1), None),
        (LINES.splitlines()[0], None),
    ],
)
def test_the_format_is_detected_from_the_content(reading, content, split, name, space):
    assert reading(space + content, name) == [f"a.jpg|a dog|{split}"]


@pytest.mark.parametrize("name", ["c.jsonl", "c.ndjson", "c.json", "c.txt"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_json_lines_by_any_name(reading, name, end):
    lines = (LINES + '{"image": "b.jpg", "caption": 4}\n').replace("\n", end)
    assert reading(lines, name) == ["a.jpg|a dog|None", "b.jpg|a cat|None", f"{name}:3: caption: expected text, got 4"]


def test_a_table_may_contain_text_of_another_format(reading):
    assert reading("image,caption\na.jpg,Dog #1\tof 2\n") == ["a.jpg|Dog #1\tof 2|None"]
    assert reading('image,caption\n{"image": 1},[\n') == ['{"image": 1}|[|None']


EXPECTED = caption_readers.EXPECTED
REFUSED = {
    b"\xef\xbb\xbf \r\n": f"{EXPECTED}, got an empty file",
    b"%PDF-1.4\n1 \0 obj": f"{EXPECTED}, got a PDF document",
    "a,b".encode("utf-16-le"): f"{EXPECTED}, got a file of an unknown format",
    "image,caption\na,b".encode("utf-16"): f"{EXPECTED}, got UTF-16 text; save it as UTF-8",
    b"[1]\n[2]": "invalid JSON: Extra data: line 2 column 1",
    b"PK\x03\x04\x14\0\x06\0": f"{EXPECTED}, got a ZIP archive or an Office document",
    b'[{"image": "a", "caption": "b"}]': f"{EXPECTED}, got a JSON list",
    b"{}": f"{EXPECTED}, got a JSON object with no keys",
    b'{"a": 1, "\\ud800": 2}': f"{EXPECTED}, got a JSON object with the keys 'a', '\\ud800'",
    b'{"images": {}}': f"{EXPECTED}, got a JSON object with the keys 'images'",
    b'{"images": [}': "invalid JSON: Expecting value: line 1 column 13 (char 12)",
    b'{\n"images": [],\n"images": []}': "invalid JSON: duplicate key 'images'",
    b"[" * 100_000: "invalid JSON: maximum recursion depth exceeded while decoding a JSON array",
}


@pytest.mark.parametrize("content", REFUSED, ids=range(len(REFUSED)))
def test_an_unsupported_format_is_an_error(refusal, content):
    assert refusal(content).startswith(f"c.csv: {REFUSED[content]}")


def test_a_folder_and_a_large_file_are_rejected(refusal, tmp_path, monkeypatch):
    with pytest.raises(DataError, match=r": expected a caption file, got a folder; give a file in it"):
        list(read_captions(tmp_path))
    (tmp_path / "captions.csv").touch()
    with pytest.raises(DataError, match=r", got a folder; did you mean .*captions.csv\?$"):
        list(read_captions(tmp_path))
    monkeypatch.setattr(caption_readers, "LIMIT", 13)
    assert refusal("image,caption\n") == "c.csv: expected a file of at most 13 bytes, got 14"


# --- encodings


def test_a_file_in_another_encoding_is_an_error(refusal):
    table = "image,caption\na.jpg,a dog\nb.jpg,ein Vogel fliegt über Köln\n".encode("cp1252")
    assert refusal(table) == "c.csv:3: expected UTF-8 text, got b'\\xfc'; save the file as UTF-8"


def test_surrogates_in_json(reading):
    assert reading(
        r'{"image": "a", "caption": "\ud83d\ude00 \ud800"}' + "\n" + r'{"image": "b", "caption": "\ud83d\ude00"}'
    ) == ["c.csv:1: caption: expected UTF-8 text, got '\\ud800'", "b|😀|None"]


# --- names


def test_image_names_are_normalized(reading):
    text = "image,caption\nimages\\a.jpg,x\n./images/a.jpg,y\n././b.jpg,z\n../b.jpg,z\nhttp://h/b.jpg,z\n"
    names = [line.partition("|")[0] for line in reading(text)]
    assert names == ["images/a.jpg", "images/a.jpg", "b.jpg", "../b.jpg", "http://h/b.jpg"]
    assert [image_name(name) for name in (".hidden", ".\\\\a", " a ", "./", "/a")] == [".hidden", "a", "a", "./", "/a"]


def test_an_empty_image_name_is_an_issue(reading):
    lines = [json.dumps({"image": name, "caption": "x"}) for name in ("a\0.jpg", "images/", "./", "..\\")]
    assert reading("\n".join(lines), "c.jsonl") == [
        "c.jsonl:1: image: expected a name, got 'a\\x00.jpg'",
        "c.jsonl:2: image: expected a name, got 'images/'",
        "c.jsonl:3: image: expected a name, got './'",
        "c.jsonl:4: image: expected a name, got '../'",
    ]


def test_split_aliases_and_a_split_for_all_captions(reading):
    named = ["train", "restval", "valid", "validation", "dev", "test", "x", "Training", "VAL", "Testing", "X"]
    text = "image,caption,split\n" + "".join(f"{n},x,{split}\n" for n, split in enumerate(named))
    assert [line.split("|")[2] for line in reading(text)] == [
        *("train", "train", "val", "val", "val", "test", "x", "train", "val", "test", "X")
    ]
    assert {line.split("|")[2] for line in reading(text, split="test")} == {"test"}
    assert reading(json.dumps(KARPATHY), split="val") == ["a.jpg|a dog|val"]
    assert reading(text, columns=Columns("caption", "image", "split"))[0] == "x|0|train"


def test_the_coco_split_is_detected_from_the_file_name(reading):
    assert reading(json.dumps(COCO), "captions_val2014.json") == ["a.jpg|a dog|val"]
    assert reading(json.dumps(COCO), "captions_val2014.json", split="train") == ["a.jpg|a dog|train"]
    assert reading(json.dumps(KARPATHY), "captions_val2014.json") == ["a.jpg|a dog|train"]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("captions_train2014.json", "train"),
        ("VAL.json", "val"),
        ("my-test-captions.json", "test"),
        ("coco_restval.json", "train"),
        ("validation.json", "val"),
        ("dev.json", "val"),
        ("train_train2014.json", "train"),
        ("train_and_val.json", None),
        ("trainval.json", None),
        ("latest.json", None),
        ("interval_strain.json", None),
        ("captions.json", None),
    ],
)
def test_the_split_is_detected_from_a_name(name, split):
    assert split_in_name(Path("train/test", name)) == split


def test_image_lists_are_read(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"\xef\xbb\xbfa.jpg\r\n\n  b\x0bc.jpg \r./d.jpg\nimages\\e.jpg")
    assert read_list(path) == ["a.jpg", "b\x0bc.jpg", "d.jpg", "images/e.jpg"]
    path.write_bytes(b"a\n\xe9.jpg\n")
    with pytest.raises(DataError, match=r"list.txt: expected UTF-8 text, got b'\\xe9' at byte 2 of a file"):
        read_list(path)


def shown(captions):
    """Each caption as `line image|text|split`, each issue as it is printed."""
    return [
        f"{item.line} {item.image}|{item.text}|{item.split}" if isinstance(item, CaptionRecord) else str(item)
        for item in captions
    ]


COLUMNS = Columns()


def rows(text, columns=COLUMNS):
    return shown(table(CaptionFile(Path("c.csv"), text, columns=columns)))


def table_refusal(text, columns=COLUMNS):
    with pytest.raises(DataError) as caught:
        rows(text, columns)
    message = str(caught.value)
    assert message.isprintable()
    return message


@pytest.mark.parametrize("delimiter", [",", "\t", ";", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
def test_all_separators_and_line_ends_are_read(delimiter, end, last):
    lines = [["image", "caption", "split"], ["a.jpg", " A dog ", "train"], ["b.jpg", '"A, cat; a\t|"', ""]]
    text = end.join(map(delimiter.join, lines)) + (end if last else "")
    assert rows(text) == ["c.csv:2 a.jpg|A dog|train", "c.csv:3 b.jpg|A, cat; a\t||None"]


def test_blanks_before_the_header_take_linear_time():
    """Searched for a letter from every one of them, they took hours."""
    assert rows(" \t" * (1 << 18) + "\n\n image,caption\na,x\n") == ["c.csv:4 a|x|None"]


def test_columns_may_have_any_order_and_name():
    text = "n, text ,file,n,set\n1,A dog,a.jpg,2,val\n"
    assert rows(text, Columns("file", "text", "set")) == ["c.csv:2 a.jpg|A dog|val"]
    assert rows(text.replace("set", "split"), Columns("file", "text")) == ["c.csv:2 a.jpg|A dog|val"]
    assert rows("both\nA dog\n", Columns("both", "both")) == ["c.csv:2 A dog|A dog|None"]


def test_header_case_matters_only_for_ambiguous_columns():
    assert rows("Image,CAPTION,Split\na,x,val\n") == ["c.csv:2 a|x|val"]
    assert rows("Photo,caption\na,x\n", Columns("photo")) == ["c.csv:2 a|x|None"]
    assert rows("Image,image,caption\nb,a,x\n") == ["c.csv:2 a|x|None"]
    assert table_refusal("Image,IMAGE,caption\n") == (
        "c.csv:1: expected the column image once, got 'Image,IMAGE,caption'; rename the others"
    )


def test_quoted_fields_and_line_numbers():
    text = 'image,caption\n\na,"one\r\ntwo\n\n""three"", four"\n , \nb,x\nc\nd,"y\n"\ne,z'
    assert rows(text) == [
        'c.csv:3 a|one\r\ntwo\n\n"three", four|None',
        "c.csv:8 b|x|None",
        "c.csv:9: expected 2 columns, got 1; quote captions that contain ','",
        "c.csv:10 d|y|None",
        "c.csv:12 e|z|None",
    ]


CSV_ISSUES = {
    "a,b,c": "expected 2 columns, got 3; quote captions that contain ','",
    ",b": "image: expected text, got nothing",
    "a, \t": "caption: expected text, got ' \\t'",
    'a,"b" c': "invalid CSV: ",
    'a,"b': "invalid CSV: ",
    "a," + "b" * (MAX_FIELD + 1): f"invalid CSV: field larger than field limit ({MAX_FIELD})",
}


@pytest.mark.parametrize("row", CSV_ISSUES, ids=range(len(CSV_ISSUES)))
def test_an_invalid_row_is_an_issue(row):
    first, issue, last = rows(f"image,caption\nx,y\n{row}\nz,z\n")
    assert (first, last) == ("c.csv:2 x|y|None", "c.csv:4 z|z|None")
    assert issue.startswith(f"c.csv:3: {CSV_ISSUES[row]}")


def test_an_unclosed_quote_does_not_hide_later_lines():
    text = "image,caption\n" + "".join(f'{n},"dog {n}\n' if n in (3, 6) else f'{n},"dog"\n' for n in range(9))
    got = rows(text)
    assert [line for line in got if "invalid CSV" not in line] == [
        f"c.csv:{n + 2} {n}|dog|None" for n in (0, 1, 2, 4, 5, 7, 8)
    ]
    assert [line[:21] for line in got if "invalid CSV" in line] == ["c.csv:5: invalid CSV:", "c.csv:8: invalid CSV:"]


def test_unclosed_quotes_take_linear_time(monkeypatch):
    """In `a","` a quote is open at the end of the line, whether one was open at its beginning or not."""
    read = []
    reader = caption_readers.csv.reader

    def counting(lines, **options):
        return reader((read.append(line) or line for line in lines), **options)

    monkeypatch.setattr(caption_readers.csv, "reader", counting)
    assert len(rows("image,caption\n" + 'a","\n' * 1000)) == 1000
    assert len(read) < 1000 * (MAX_RECORD_LINES + 1)


def test_a_record_has_a_maximum_number_of_lines():
    """Lines beyond the limit are reported one by one."""
    for count in (MAX_RECORD_LINES, MAX_RECORD_LINES + 1):
        lines = "\n".join(["x"] * count)
        got = rows(f'image,caption\na,"{lines}"\nb,y\n')
        assert got[-1] == f"c.csv:{count + 2} b|y|None"
        assert len(got) == (2 if count == MAX_RECORD_LINES else count + 1)


def test_a_field_may_be_long_and_contain_nul():
    (record,) = table(CaptionFile(Path("c.csv"), f"image,caption\na\0b,{'x' * MAX_FIELD}\n"))
    assert isinstance(record, CaptionRecord)
    assert (record.image, len(record.text)) == ("a\0b", MAX_FIELD)


def test_blank_lines_before_the_header_are_counted():
    assert rows("\r\n\r\nimage;caption\r\na;b") == ["c.csv:4 a|b|None"]
    assert table_refusal("\n\na;b").startswith("c.csv:3: expected a header")


HEADERS = {
    "img,cap\r\na,b": "c.csv:1: expected a header with the columns image and caption, got 'img,cap'; rename yours, ",
    "a.jpg;b": "c.csv:1: expected a header with the columns image and caption, got 'a.jpg;b'; before "
    "this caption, add a line 'image;caption'",
    '"image': "c.csv:1: expected a header with the columns image and caption, got '\"image'",
    "split,image,caption,split\n": "c.csv:1: expected the column split once, got 'split,image,caption,split'; rename ",
}


@pytest.mark.parametrize("text", HEADERS, ids=range(len(HEADERS)))
def test_a_header_without_the_columns_is_rejected(text):
    assert table_refusal(text).startswith(HEADERS[text])


def test_a_named_split_column_must_exist():
    columns = "image and caption and set"
    assert columns in table_refusal("image,caption\na,b\n", Columns(split="set"))


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_flickr_tokens_are_read(end):
    lines = [
        "a.jpg#0\tA dog .",
        "",
        "a#1.jpg#12\tA\tcat \u2028 .",
        "b.jpg\tA cow",
        "c.jpg#x\tA cow",
        "#1\tcow",
        "d.jpg#3\t ",
    ]
    assert shown(token_txt(CaptionFile(Path("t.txt"), end.join(lines) + end))) == [
        "t.txt:1 a.jpg|A dog .|None",
        "t.txt:3 a#1.jpg|A\tcat \u2028 .|None",
        "t.txt:4: expected IMAGE#NUMBER, a tab and a caption, got 'b.jpg\\tA cow'",
        "t.txt:5: expected IMAGE#NUMBER, a tab and a caption, got 'c.jpg#x\\tA cow'",
        "t.txt:6: expected IMAGE#NUMBER, a tab and a caption, got '#1\\tcow'",
        "t.txt:7: caption: expected text, got ' '",
    ]


# --- JSON lines


def objects(*lines, columns=COLUMNS):
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    return shown(json_lines(CaptionFile(Path("c.jsonl"), "\n".join(texts), columns=columns)))


def test_json_lines_are_read():
    assert objects({"image": " a ", "caption": " A dog "}, "", {"image": "b", "caption": "x", "split": "val"}) == [
        "c.jsonl:1 a|A dog|None", "c.jsonl:3 b|x|val"
    ]  # fmt: skip
    assert objects({"f": "a", "t": "x", "s": "q"}, columns=Columns("f", "t", "s")) == ["c.jsonl:1 a|x|q"]


JSON_FLAWS = {
    '{"image": "a"': "invalid JSON: Expecting ',' delimiter: line 1 column 14 (char 13)",
    '{"image": "a", "image": "b", "caption": "x"}': "invalid JSON: duplicate key 'image'",
    '["a", "x"]': "expected an object with image and caption, got ['a', 'x']",
    '{"image": "a"}': "caption: expected text, got nothing",
    '{"image": 7, "caption": "x"}': "image: expected text, got 7",
    '{"image": "a", "caption": []}': "caption: expected text, got []",
    '{"image": "a", "caption": ["x", "y"]}': "caption: expected text, got ['x', 'y']",
    '{"image": "a", "caption": "x", "split": 1}': "split: expected a name, got 1",
    '{"image": "a", "caption": ' + "9" * 5000 + "}": "invalid JSON: Exceeds the limit ",
    '{"image": "a", "caption": ' + "[" * 100_000: "invalid JSON: maximum recursion depth ",
    '{"image": "a", "caption": ' + "9" * 4000 + "}": "caption: expected text, got " + "9" * 38 + "..." + "9" * 19,
}


@pytest.mark.parametrize("line", JSON_FLAWS, ids=range(len(JSON_FLAWS)))
def test_an_invalid_json_line_is_an_issue(line):
    before, issue, after = objects({"image": "x", "caption": "y"}, line, {"image": "z", "caption": "z"})
    assert (before, after) == ("c.jsonl:1 x|y|None", "c.jsonl:3 z|z|None")
    assert issue.startswith(f"c.jsonl:2: {JSON_FLAWS[line]}")


DEEP = 1 << 70


def described(captions):
    return [
        f"{item.line} {item.image}|{item.text}|{item.split}|{item.words}"
        if isinstance(item, CaptionRecord)
        else str(item)
        for item in captions
    ]


# --- Karpathy


def image(**more):
    return {"filename": "a.jpg", "split": "train", "sentences": [{"tokens": ["a", "dog"], "raw": "A dog."}], **more}


def read_karpathy(*images):
    return described(karpathy(CaptionFile(Path("d.json"), "", {"images": list(images), "dataset": "flickr8k"})))


def test_karpathy_images_are_read():
    two = [{"raw": " A cat! ", "sentid": 3}, {"tokens": ["two", "Cats"], "raw": " "}, {"tokens": [], "raw": "Cats"}]
    got = read_karpathy(
        image(sentids=[0]),
        image(filename=" b.jpg ", filepath="val2014/", split=" restval ", sentences=two),
        image(filename="c.jpg", split=None),
    )
    assert got == [
        "d.json: images[0].sentences[0] a.jpg|A dog.|train|a dog",
        "d.json: images[1].sentences[0] val2014/b.jpg|A cat!|restval|None",
        "d.json: images[1].sentences[1] val2014/b.jpg|two Cats|restval|two Cats",
        "d.json: images[1].sentences[2] val2014/b.jpg|Cats|restval|None",
        "d.json: images[2].sentences[0] c.jpg|A dog.|None|a dog",
    ]


def test_a_second_image_of_a_name_is_an_issue():
    """Its captions may be those of another photograph."""
    problem = "images[1]: ./a.jpg: a second image of this name; skipped"
    assert read_karpathy(image(), image(filename="./a.jpg"))[1] == f"d.json: {problem}"
    assert f"c_val.json: {problem.replace('./', '')}" in read_coco(
        [A, {"id": 1, "file_name": "./a.jpg"}], [annotated(9)]
    )


NOT_TOKENS = ["a dog", ["a dog"], ["a", ""], ["a", 1], ["\x07"], ["\ud800"], {"a": 1}, [["a"]]]
KARPATHY_ISSUES = [
    *((bad, ": expected an object with a filename, got ") for bad in (None, {"split": "train"}, 3)),
    (image(split=5), ".sentences[0]: split: expected a name, got 5"),
    *((image(sentences=bad), ": expected a list of sentences, got ") for bad in (None, [], {"raw": "x"})),
    (image(sentences=["A dog"]), ".sentences[0]: expected raw text or tokens, got 'A dog'"),
    *((image(sentences=[{"raw": bad}]), f".sentences[0]: caption: expected text, got {bad!r}") for bad in (" ", 4)),
    *((image(sentences=[{"raw": "x", "tokens": bad}]), ".sentences[0]: tokens: expected a list of words, got ")
      for bad in NOT_TOKENS),
]  # fmt: skip


@pytest.mark.parametrize(("bad", "problem"), KARPATHY_ISSUES, ids=range(len(KARPATHY_ISSUES)))
def test_an_invalid_image_is_an_issue(bad, problem):
    first, issue, last = read_karpathy(image(filename="y.jpg"), bad, image(filename="z.jpg"))
    assert first.startswith("d.json: images[0].sentences[0] y.jpg|")
    assert issue.startswith(f"d.json: images[1]{problem}")
    assert last == "d.json: images[2].sentences[0] z.jpg|A dog.|train|a dog"


# --- COCO


def read_coco(images, annotations, name="c_val.json"):
    return described(coco(CaptionFile(Path(name), "", {"images": images, "annotations": annotations})))


A, B = {"id": 9, "file_name": "a.jpg"}, {"id": 4, "file_name": " b.jpg "}


def annotated(number, text="A dog"):
    return {"image_id": number, "caption": text, "id": 1}


def test_coco_annotations_are_read():
    assert read_coco([A, B], [annotated(4), annotated(9, "\nA cat. "), annotated(4, "Two")]) == [
        "c_val.json: annotations[0] b.jpg|A dog|val|None",
        "c_val.json: annotations[1] a.jpg|A cat.|val|None",
        "c_val.json: annotations[2] b.jpg|Two|val|None",
    ]
    assert read_coco([A], [annotated(9)], "c.json") == ["c.json: annotations[0] a.jpg|A dog|None|None"]


@pytest.mark.parametrize(
    ("annotation", "problem"),
    [
        ("x", "expected an object with a caption, got 'x'"),
        (annotated(9, ""), "caption: expected text, got nothing"),
        (annotated(9, 3), "caption: expected text, got 3"),
        *((annotated(number), "image_id: expected the id of an image, got ") for number in (5, 9.0, True, [9], DEEP)),
        ({"caption": "x"}, "image_id: expected the id of an image, got None"),
    ],
)
def test_an_invalid_annotation_is_an_issue(annotation, problem):
    first, issue, last = read_coco([A, {"id": 1, "file_name": "one"}], [annotated(9), annotation, annotated(1)])
    assert first == "c_val.json: annotations[0] a.jpg|A dog|val|None"
    assert issue.startswith(f"c_val.json: annotations[1]: {problem}")
    assert last == "c_val.json: annotations[2] one|A dog|val|None"


@pytest.mark.parametrize(
    ("bad", "problem"),
    [
        *((bad, f"expected an object with an id and a file_name, got {bad}")
          for bad in ({"id": True, "file_name": "t"}, {"id": "7", "file_name": "t"}, {"id": 7}, [7])),
        ({"id": 9, "file_name": "other"}, "duplicate id 9"),
        ({"id": 7, "file_name": "mute.jpg"}, "mute.jpg: has no caption"),
    ],
)  # fmt: skip
def test_an_invalid_coco_image_is_an_issue(bad, problem):
    got = read_coco([A, bad], [annotated(9)])
    assert f"c_val.json: images[1]: {problem}" in got
    assert [line for line in got if "|" in line] == ["c_val.json: annotations[0] a.jpg|A dog|val|None"]
    assert len(got) == 2


def test_a_byte_order_mark_within_a_file_is_an_issue(reading):
    """Of tables that were joined."""
    table = "image,caption\na.jpg,a dog\n\ufeffb.jpg,a cat\n"
    expected = ["a.jpg|a dog|None", "c.csv:3: image: expected a name, got '\\ufeffb.jpg'; skipped"]
    assert [each.split("; skipped")[0] for each in reading(table)] == [each.split("; skipped")[0] for each in expected]
