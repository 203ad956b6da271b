"""Where XMP stands in PNG, JPEG and WebP files, and which of their bytes are the picture.

Reference: Adobe's XMP specification, part 3 (storage in files); TC260-PG-20259A names the same
places.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from sdbatch.labels.aigc import BadLabel

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_XMP = b"XML:com.adobe.xmp\0\0\0\0\0"
"""An international text chunk's keyword, uncompressed, without language and translation."""
_PNG_PICTURE = (b"IHDR", b"PLTE", b"tRNS", b"IDAT")

_JPEG = b"\xff\xd8"
_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_JPEG_MOST = 65533
"""Bytes of a segment."""
_APP0, _APP1, _APP15, _COMMENT, _SCAN = 0xE0, 0xE1, 0xEF, 0xFE, 0xDA

_WEBP_PICTURE = (b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF")
_WEBP_HAS_XMP = 0x04


def with_xmp(data: bytes, packet: bytes) -> bytes:
    """The file with an XMP packet in it; the picture stays as it was encoded.

    Args:
        data: a PNG, JPEG or WebP file without XMP; a WebP file with EXIF or another extension.
        packet: UTF-8.

    Raises:
        BadLabel: not such a file, or the packet is too long for it.
    """
    if data.startswith(_PNG):
        head = len(_PNG) + 25  # after IHDR
        return data[:head] + _png_chunk(b"iTXt", _PNG_XMP + packet) + data[head:]
    if data.startswith(_JPEG):
        content = _JPEG_XMP + packet
        if len(content) > _JPEG_MOST:
            raise BadLabel(f"XMP of {len(packet)} bytes does not fit into a JPEG segment")
        place = 2
        for marker, start, end in _jpeg_segments(data):
            if marker not in (_APP0, _APP1):
                place = start
                break
            place = end
        segment = struct.pack(">BBH", 0xFF, _APP1, len(content) + 2) + content
        return data[:place] + segment + data[place:]
    if data[:4] == b"RIFF" and data[8:16] == b"WEBPVP8X":
        odd = b"\0" * (len(packet) % 2)
        whole = data + b"XMP " + struct.pack("<I", len(packet)) + packet + odd
        flags = bytes([whole[20] | _WEBP_HAS_XMP])
        return b"RIFF" + struct.pack("<I", len(whole) - 8) + whole[8:20] + flags + whole[21:]
    raise BadLabel("expected a PNG, JPEG or extended WebP file")


def xmp(data: bytes) -> bytes:
    """The XMP packet of a file.

    Raises:
        BadLabel: not such a file, or no XMP in it.
    """
    for kind, part in _parts(data):
        if kind == b"iTXt" and part.startswith(_PNG_XMP):
            return part[len(_PNG_XMP) :]
        if kind == _APP1 and part.startswith(_JPEG_XMP):
            return part[len(_JPEG_XMP) :]
        if kind == b"XMP ":
            return part
    raise BadLabel("no XMP in the file")


def picture_data(data: bytes) -> Iterator[bytes]:
    """The bytes that make the picture, and none of the metadata.

    PNG: the contents of IHDR, PLTE, tRNS and IDAT chunks; WebP: those of VP8, VP8L, ALPH and of
    animation chunks; JPEG: contents of all segments but APPn and comments, and the scans.

    Raises:
        BadLabel: not such a file.
    """
    for kind, part in _parts(data):
        if isinstance(kind, int):
            if not _APP0 <= kind <= _APP15 and kind != _COMMENT:
                yield part
        elif kind in (*_PNG_PICTURE, *_WEBP_PICTURE):
            yield part


def _parts(data: bytes) -> Iterator[tuple[bytes | int, bytes]]:
    """Chunks or segments: their name or marker, and their content."""
    if data.startswith(_PNG):
        return _chunks(data, len(_PNG), ">I4s", after=4)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _chunks(data, 12, "<4sI", after=0)
    if data.startswith(_JPEG):
        return ((marker, data[start + 4 : end]) for marker, start, end in _jpeg_segments(data))
    raise BadLabel("expected a PNG, JPEG or WebP file")


def _chunks(data: bytes, place: int, head: str, after: int) -> Iterator[tuple[bytes, bytes]]:
    """PNG's chunks (a checksum after each) or RIFF's (of even length)."""
    while place + 8 <= len(data):
        one, other = struct.unpack_from(head, data, place)
        name, size = (other, one) if head == ">I4s" else (one, other)
        yield name, data[place + 8 : place + 8 + size]
        place += 8 + size + (after or size % 2)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each segment; the last is the scans, to the end of the file."""
    place = 2
    while place + 4 <= len(data):
        if data[place] != 0xFF:
            raise BadLabel("JPEG: expected a marker")
        marker, size = data[place + 1], struct.unpack_from(">H", data, place + 2)[0]
        end = len(data) if marker == _SCAN else place + 2 + size
        yield marker, place, end
        place = end


def _png_chunk(name: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(name + content)
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)
