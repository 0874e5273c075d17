"""Makes screenshots small: PNGs of at most 256 colours, chosen by how often they occur (https://www.w3.org/TR/png-3/)."""

import struct
import zlib
from collections import Counter

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def reduce(png):
    """The same picture with a palette. Takes what Chromium makes: 8 bits per channel, RGB or RGBA, not interlaced."""
    size, channels, data = parts(png)
    colours = [pixel for row in rows(size, channels, data) for pixel in zip(row[0::channels], row[1::channels], row[2::channels])]
    palette, index = choose(Counter(colours))
    width, height = size
    out = bytes(index[colour] for colour in colours)
    lines = b"".join(b"\0" + out[at : at + width] for at in range(0, width * height, width))
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    table = bytes(value for colour in palette for value in colour)
    chunks = [(b"IHDR", header), (b"PLTE", table), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b"")]
    return SIGNATURE + b"".join(chunk(kind, content) for kind, content in chunks)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def parts(png):
    """Size, channels and compressed data of a PNG."""
    assert png.startswith(SIGNATURE), "not a PNG"
    at, data, size, channels = len(SIGNATURE), b"", None, 0
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        content = png[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            *size, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", content)
            assert depth == 8 and colour in (2, 6) and not interlaced, "not a PNG as Chromium makes them"
            channels = 3 if colour == 2 else 4
        elif kind == b"IDAT":
            data += content
        at += length + 12
    return size, channels, zlib.decompress(data)


def rows(size, channels, data):
    """The bytes of each row, without the filters that they were stored with."""
    length = size[0] * channels
    above = bytearray(length)
    for number in range(size[1]):
        start = number * (length + 1)
        above = unfilter(data[start], bytearray(data[start + 1 : start + 1 + length]), above, channels)
        yield above


def unfilter(kind, row, above, step):
    left = bytearray(step)
    if kind == 1:
        for at in range(step, len(row)):
            row[at] = (row[at] + row[at - step]) & 255
    elif kind == 2:
        row = bytearray((here + up) & 255 for here, up in zip(row, above))
    elif kind == 3:
        before = left + row
        for at in range(len(row)):
            before[at + step] = row[at] = (row[at] + (before[at] + above[at]) // 2) & 255
    elif kind == 4:
        for at in range(len(row)):
            a, b, c = (row[at - step], above[at], above[at - step]) if at >= step else (0, above[at], 0)
            row[at] = (row[at] + paeth(a, b, c)) & 255
    return row


def paeth(a, b, c):
    near = a + b - c
    to_a, to_b, to_c = abs(near - a), abs(near - b), abs(near - c)
    if to_a <= to_b and to_a <= to_c:
        return a
    return b if to_b <= to_c else c


def choose(counts):
    """At most 256 colours, and which of them stands for each colour."""
    palette = [colour for colour, _ in counts.most_common(256)]
    index = {colour: number for number, colour in enumerate(palette)}
    for colour in counts.keys() - index.keys():
        index[colour] = min(range(len(palette)), key=lambda at: sum((a - b) ** 2 for a, b in zip(palette[at], colour)))
    return palette, index
