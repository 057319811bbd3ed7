"""Captions and issues of a reader as short strings."""

from captioner.data.readers.records import CaptionRecord


def shown(captions):
    """Each caption as `line image|text|split`, each issue as it is printed."""
    return [
        f"{one.line} {one.image}|{one.text}|{one.split}" if isinstance(one, CaptionRecord) else str(one)
        for one in captions
    ]
