"""A fixture that reads a caption file."""

import pytest

from captioner.data.readers import CaptionRecord, read_captions


@pytest.fixture
def reading(tmp_path):
    """The records and issues of a file with some content, as short strings."""

    def read(content, name="c.csv", **options):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        records = list(read_captions(path, **options))
        return [
            f"{one.image}|{one.text}|{one.split}" if isinstance(one, CaptionRecord) else str(one) for one in records
        ]

    return read
