"""Reading the charts that a tool drew: PNG by zlib alone, SVG by the XML parser."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from xml.etree import ElementTree as ET

SVG = "{http://www.w3.org/2000/svg}"

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Picture:
    """A decoded PNG."""

    width: int
    height: int
    rows: list[bytes]

    def at(self, x: float, y: float) -> Colour:
        """The colour of the pixel that holds a point."""
        start = 3 * int(x)
        red, green, blue = self.rows[int(y)][start : start + 3]
        return red, green, blue

    def count(self, colour: Colour) -> int:
        """How many pixels have exactly this colour."""
        wanted = bytes(colour)
        return sum(
            row[start : start + 3] == wanted for row in self.rows for start in range(0, len(row), 3)
        )

    def box(self, colour: Colour) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of what has this colour; right and bottom are outside."""
        wanted = bytes(colour)
        found = [
            (start // 3, y)
            for y, row in enumerate(self.rows)
            for start in range(0, len(row), 3)
            if row[start : start + 3] == wanted
        ]
        xs, ys = [x for x, _ in found], [y for _, y in found]
        return min(xs), min(ys), max(xs) + 1, max(ys) + 1


def read_png(data: bytes, rows: int | None = None) -> Picture:
    """Decode and check: signature, chunks in order with right sums, filters, and nothing left.

    ``rows``: only so many from the top, to be faster.
    """
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    at, chunks = 8, []
    while at < len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        (crc,) = struct.unpack_from(">I", data, at + 8 + length)
        assert crc == zlib.crc32(kind + body)
        chunks.append((kind, body))
        at += 12 + length
    assert at == len(data)
    assert [kind for kind, _ in chunks] == [b"IHDR", b"IDAT", b"IEND"]
    width, height, *rest = struct.unpack(">IIBBBBB", chunks[0][1])
    assert rest == [8, 2, 0, 0, 0]
    decompressor = zlib.decompressobj()
    raw = decompressor.decompress(chunks[1][1])
    assert decompressor.eof
    assert not decompressor.unused_data
    size = 3 * width
    assert len(raw) == height * (size + 1)
    found: list[bytes] = []
    for y in range(height if rows is None else rows):
        kind, line = raw[y * (size + 1)], raw[y * (size + 1) + 1 : (y + 1) * (size + 1)]
        found.append(_unfiltered(kind, line, found[-1] if found else bytes(size)))
    return Picture(width, height, found)


def _unfiltered(kind: int, line: bytes, above: bytes) -> bytes:
    if kind == 0:
        return line
    if kind == 2:
        if not any(line):
            return above
        return bytes((a + b) & 255 for a, b in zip(line, above, strict=True))
    assert kind == 1
    row = bytearray(line)
    for i in range(3, len(row)):
        row[i] = (row[i] + row[i - 3]) & 255
    return bytes(row)


@dataclass(frozen=True)
class Drawing:
    """A parsed SVG."""

    root: ET.Element

    def all(self, name: str) -> list[ET.Element]:
        """All elements of a name."""
        return list(self.root.iter(SVG + name))

    def texts(self) -> list[str]:
        """What is written, in order."""
        return [item.text or "" for item in self.all("text")]

    def tips(self) -> list[str]:
        """What shapes say of themselves."""
        return [item.text or "" for item in self.all("title")][1:]

    def filled(self, colour: str) -> list[ET.Element]:
        """Rectangles of a colour that say what they are."""
        return [
            item
            for item in self.all("rect")
            if item.get("fill") == colour and item.find(SVG + "title") is not None
        ]


def read_svg(text: str) -> Drawing:
    """Parse and check what every chart has."""
    root = ET.fromstring(text)
    assert root.tag == SVG + "svg"
    assert root.get("role") == "img"
    labels = (root.get("aria-labelledby") or "").split()
    title, desc = list(root)[:2]
    assert (title.tag, desc.tag) == (SVG + "title", SVG + "desc")
    assert labels == [title.get("id"), desc.get("id")]
    ids = [item.get("id") for item in root.iter() if item.get("id")]
    assert len(set(ids)) == len(ids)
    for item in root.iter():
        for name in ("x", "y", "width", "height", "cx", "cy", "r"):
            if item.get(name) is not None:
                assert -100_000 < float(item.get(name) or "") < 100_000
        for name in ("points", "d"):
            assert not {"n", "f"} & set((item.get(name) or "").lower())
        for name in ("width", "height", "r"):
            assert float(item.get(name) or 0) >= 0
    return Drawing(root)
