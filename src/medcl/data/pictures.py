"""PNG, JPEG and TIFF: what the file's own structure says that SimpleITK does not tell.

SimpleITK expands colour tables to colours (an indexed label map would lose its integers), reads odd TIFF layouts
through an 8-bit copy, and returns half of a cut JPEG or TIFF. Each is found here, before the pixels are read.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from medcl.errors import DataError

_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF_SIZES = {1: 1, 3: 2, 4: 4, 5: 8, 6: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}  # bytes per value by type code
_TIFF_WHOLE = {1: "B", 3: "H", 4: "I"}  # the types of the tags that are looked at
_MOST_PAGES = 100_000


@dataclass(frozen=True)
class Picture:
    """What the structure of a picture says.

    Attributes:
        channels: Numbers per pixel as SimpleITK returns them, an alpha channel included.
        alpha: Whether the last of them is transparency.
        palette: Whether pixels are indices into a colour table.
        index_step: What SimpleITK multiplies indices with when they are read as grey values.
    """

    channels: int
    alpha: bool = False
    palette: bool = False
    index_step: int = 1


def look_at_png(path: Path) -> Picture:
    """Walk the chunks of a PNG file and verify their checksums.

    Raises:
        DataError: Not PNG, cut short or damaged, or grey with an alpha channel, which SimpleITK cannot read.
    """
    chunks = list(_png_chunks(path))
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13 or chunks[-1][0] != b"IEND":
        raise DataError(f"{path}: the PNG file is cut short or its parts are out of order; copy or export it again.")
    depth, colour = chunks[0][1][8:10]
    if colour == 4:
        raise DataError(f"{path}: expected grey or RGB, got grey with transparency; save it without transparency.")
    transparent = any(kind == b"tRNS" for kind, _ in chunks)
    if colour == 3:
        return Picture(4 if transparent else 3, transparent, True, 255 // (2 ** min(depth, 8) - 1))
    if colour == 0:
        return Picture(1)
    return Picture(4, True) if colour == 6 or transparent else Picture(3)


def png_without(path: Path, target: Path, *, as_grey: bool) -> None:
    """Copy a PNG file without its transparency chunk and, as grey values, without its colour table.

    Args:
        path: A file that `look_at_png` has seen.
        target: Where to put the copy.
        as_grey: Declare indices into the colour table to be grey values.
    """
    drop = (b"tRNS", b"PLTE", b"hIST", b"bKGD", b"sBIT") if as_grey else (b"tRNS",)
    with target.open("wb") as file:
        file.write(_PNG)
        for kind, data in _png_chunks(path):
            if kind in drop:
                continue
            if kind == b"IHDR" and as_grey:
                data = data[:9] + b"\0" + data[10:]
            file.write(struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)))


def has_transparency_key(path: Path) -> bool:
    """Say whether a grey PNG names one grey value as transparent; SimpleITK cannot read such a file."""
    chunks = dict(_png_chunks(path))
    return b"tRNS" in chunks and chunks[b"IHDR"][9] == 0


def look_at_jpeg(path: Path) -> Picture:
    """Walk the segments of a JPEG file up to its frame, and look for its end.

    Raises:
        DataError: Not JPEG, cut short, or with four colour channels.
    """
    data = path.read_bytes()
    if data[:3] != b"\xff\xd8\xff":
        raise DataError(f"{path}: expected a JPEG file as the ending says, got something else.")
    position, channels = 2, 0
    while position + 9 < len(data) and data[position] == 0xFF and data[position + 1] != 0xDA:
        marker = data[position + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            channels = data[position + 9]
        position += 1 if marker == 0xFF else 2 + struct.unpack_from(">H", data, position + 2)[0]
    if channels not in (1, 3):
        raise DataError(f"{path}: expected a JPEG of 1 or 3 channels, got {channels}; save it as grey or RGB.")
    if data.find(b"\xff\xd9", position) < 0:
        raise DataError(f"{path}: the JPEG file is cut short; copy or export it again.")
    return Picture(channels)


def look_at_tiff(path: Path) -> Picture:
    """Walk the pages of a TIFF file.

    Raises:
        DataError: Not TIFF, cut short, pages that differ, or a layout that SimpleITK reads with loss.
    """
    with path.open("rb") as stream:
        pages = [tags for tags, _ in _tiff_pages(path, stream.read())]
    if not pages:
        raise DataError(f"{path}: expected at least one page, found none; the TIFF file is damaged.")
    kinds = {tags.get(254) for tags in pages}
    if len(kinds) > 1 or not kinds <= {None, (0,), (2,)} or any(255 in tags for tags in pages):
        # SimpleITK counts such pages one way and reads them another, past its memory
        raise DataError(f"{path}: expected plain pages, got thumbnails or masks among them; save the pages alone.")
    layouts = {tuple(tags.get(tag) for tag in (256, 257, 258, 262, 277, 284, 338, 339)) for tags in pages}
    if len(layouts) > 1:
        raise DataError(f"{path}: expected pages of one size and kind, got {len(layouts)} kinds; save them one by one.")
    tags = pages[0]
    channels = tags.get(277, (1,))[0]
    bits, colour = set(tags.get(258, (1,))), tags.get(262, (1,))[0]
    if (channels > 1 and tags.get(284, (1,))[0] != 1) or channels not in (1, 3, 4) or colour not in (0, 1, 2, 3):
        raise DataError(
            f"{path}: expected grey or RGB with the channels of a pixel side by side, got {channels} channels of TIFF "
            f"colour kind {colour}; save it as grey or RGB, or one file per channel."
        )
    if colour == 3:
        if bits != {8}:
            raise DataError(f"{path}: expected 8 bits per index into the colour table, got {sorted(bits)}.")
        return Picture(1, False, True)
    if len(bits) != 1 or not bits <= {8, 16, 32}:
        raise DataError(f"{path}: expected 8, 16 or 32 bits per number, got {sorted(bits)}; save it so, or as NIfTI.")
    if colour == 0:
        raise DataError(f"{path}: expected grey values where 0 is black, got 0 as white; invert it and save it again.")
    return Picture(channels, channels == 4 and colour == 2 and tags.get(338, (0,))[0] in (1, 2))


def tiff_as_grey(path: Path, target: Path) -> None:
    """Copy a TIFF file and declare indices into its colour table to be grey values."""
    data = bytearray(path.read_bytes())
    order = "<" if data[:2] == b"II" else ">"
    for _, places in list(_tiff_pages(path, bytes(data))):
        struct.pack_into(order + "H", data, places[262], 1)
        if 320 in places:  # the colour table: turned into a tag that nobody knows, as entries must stay in place
            struct.pack_into(order + "H", data, places[320] - 8, 65000)
    target.write_bytes(data)


def _png_chunks(path: Path) -> Iterator[tuple[bytes, bytes]]:
    with path.open("rb") as stream:
        if stream.read(8) != _PNG:
            raise DataError(f"{path}: expected a PNG file as the ending says, got something else.")
        while len(start := stream.read(8)) == 8:
            length, kind = struct.unpack(">I4s", start)
            body = stream.read(length + 4) if length <= path.stat().st_size else b""
            if len(body) < length + 4 or struct.unpack(">I", body[-4:])[0] != zlib.crc32(kind + body[:-4]):
                raise DataError(f"{path}: the PNG file is damaged or cut short; copy or export it again.")
            yield kind, body[:-4]
            if kind == b"IEND":
                return


def _tiff_pages(path: Path, data: bytes) -> Iterator[tuple[dict[int, tuple[int, ...]], dict[int, int]]]:
    """Give the integer tags of each page, and where in the file each tag's value stands."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    try:
        if order is None or struct.unpack_from(order + "H", data, 2)[0] != 42:
            raise DataError(f"{path}: expected a TIFF file (not BigTIFF) as the ending says, got something else.")
        (position,) = struct.unpack_from(order + "I", data, 4)
        for _ in range(_MOST_PAGES):
            if not position:
                return
            (count,) = struct.unpack_from(order + "H", data, position)
            tags: dict[int, tuple[int, ...]] = {}
            places: dict[int, int] = {}
            for entry in range(position + 2, position + 2 + 12 * count, 12):
                tag, kind, length = struct.unpack_from(order + "HHI", data, entry)
                places[tag] = entry + 8
                size = length * _TIFF_SIZES.get(kind, 1)
                at = entry + 8 if size <= 4 else struct.unpack_from(order + "I", data, entry + 8)[0]
                if at + size > len(data):
                    raise struct.error
                if tag in _NEEDED and kind in _TIFF_WHOLE and length:
                    tags[tag] = struct.unpack_from(f"{order}{length}{_TIFF_WHOLE[kind]}", data, at)
            for first, size in zip(_strips(tags, 273, 324), _strips(tags, 279, 325), strict=False):
                if first + size > len(data):
                    raise struct.error
            yield tags, places
            (position,) = struct.unpack_from(order + "I", data, position + 2 + 12 * count)
        raise DataError(f"{path}: expected at most {_MOST_PAGES} pages; the TIFF file is damaged.")
    except struct.error:
        raise DataError(f"{path}: the TIFF file is cut short or damaged; copy or export it again.") from None


_NEEDED = frozenset((254, 255, 256, 257, 258, 262, 273, 277, 279, 284, 324, 325, 338, 339))


def _strips(tags: dict[int, tuple[int, ...]], strip: int, tile: int) -> tuple[int, ...]:
    return tags.get(strip) or tags.get(tile) or ()
