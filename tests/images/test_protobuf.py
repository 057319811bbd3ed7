"""Protocol buffers are encoded as documented."""

import zlib

from captioner.images.protobuf import message


def test_varint_encoding() -> None:
    assert message([(1, 150)]) == bytes.fromhex("089601")  # the example of their documentation
    assert message([(2, "testing")]) == bytes.fromhex("120774657374696e67")
    assert message([(1, [1, 300]), (16, b"")]) == bytes.fromhex("080108ac02820100")
    assert zlib.crc32(message([(3, 1 << 40)])) == zlib.crc32(bytes.fromhex("18808080808020"))
