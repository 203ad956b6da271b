"""Where the members of an uncompressed zip archive lie, without reading them.

`zipfile` would read a directory of any size and believe it. Here every member must be stored as it
is, lie inside the file, agree with the header before it, and share no byte with another.
Format: https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT, sections 4.3 and 4.5.3.
"""

from __future__ import annotations

import struct
from itertools import pairwise

from sdbatch.weights.files.file_window import FileWindow, Malformed, shown

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQ2H2I4Q")
_IN_EXTRA = 0xFFFFFFFF  # the number stands in the extra field, as 64 bits
_ENCRYPTED, _SIZES_FOLLOW = 0x1, 0x8
_MAX_MEMBERS = 100_000
_MAX_DIRECTORY = 16 << 20
_ENTRY = 600  # bytes in memory


def zip_members(window: FileWindow) -> dict[str, tuple[int, int] | None]:
    """Name -> first byte and end of each member's content; None where that is compressed.

    Raises:
        Malformed: the archive is truncated, encrypted or contradicts itself.
    """
    count, start, size = _directory(window)
    if count > _MAX_MEMBERS or size > _MAX_DIRECTORY:
        raise Malformed(f"a zip archive of {count} members; expected at most {_MAX_MEMBERS}")
    window.charge(size)
    directory = window.read(start, size)
    members, headers = {}, []
    position = 0
    for _ in range(count):
        name, header, end, content, position = _member(window, directory, position)
        if name in members:
            raise Malformed(f"{shown(name)}: the zip archive has two members of that name")
        window.charge(_ENTRY + 4 * len(name))
        members[name] = content
        headers.append((header, end, name))
    headers = [*sorted(headers), (start, start, "")]
    for (_, end, name), (following, _, _) in pairwise(headers):
        if end > following:
            raise Malformed(f"{shown(name)}: overlaps what follows it in the zip archive")
    return members


def _directory(window: FileWindow) -> tuple[int, int, int]:
    """Number of members, and first byte and size of the central directory."""
    tail_size = min(window.size, _END.size + 0xFFFF)  # a comment may follow
    tail = window.read(window.size - tail_size, tail_size)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or at + _END.size > len(tail):
        raise Malformed("truncated: a zip archive without its directory, which stands at the end")
    _, disk, first_disk, here, count, size, start, _ = _END.unpack_from(tail, at)
    end = window.size - tail_size + at
    if 0xFFFF in (here, count) or _IN_EXTRA in (size, start):
        if end < _LOCATOR.size:
            raise Malformed("a zip archive with a malformed directory")
        mark, disk, where, _ = _LOCATOR.unpack(window.read(end - _LOCATOR.size, _LOCATOR.size))
        if mark != b"PK\6\7" or where > window.size - _END64.size:
            raise Malformed("a zip archive with a malformed directory")
        end = where
        mark, _, _, _, disk, first_disk, here, count, size, start = _END64.unpack(
            window.read(where, _END64.size)
        )
        if mark != b"PK\6\6":
            raise Malformed("a zip archive with a malformed directory")
    if disk or first_disk or here != count:
        raise Malformed("a part of a zip archive in several parts")
    if start + size > end:
        raise Malformed("a zip archive with a malformed directory")
    return count, start, size


def _member(
    window: FileWindow, directory: bytes, position: int
) -> tuple[str, int, int, tuple[int, int] | None, int]:
    """Name, first byte of the header, end, content if it is stored; the next entry's position."""
    if position + _CENTRAL.size > len(directory):
        raise Malformed("a zip archive with a malformed directory")
    fields = _CENTRAL.unpack_from(directory, position)
    mark, _, _, flags, method, _, _, _, packed, size, *lengths, _, _, _, header = fields
    name_end = position + _CENTRAL.size + lengths[0]
    extra_end = name_end + lengths[1]
    following = extra_end + lengths[2]
    if mark != b"PK\1\2" or following > len(directory):
        raise Malformed("a zip archive with a malformed directory")
    raw_name = directory[position + _CENTRAL.size : name_end]
    name = raw_name.decode("utf-8", "replace")
    size, packed, header = _large(directory[name_end:extra_end], size, packed, header)
    if flags & _ENCRYPTED:
        raise Malformed(f"{shown(name)}: encrypted; expected a plain zip archive")
    if not method and packed != size:
        raise Malformed("a zip archive with a malformed directory")
    start = _content_start(window, header, raw_name, method, packed, size)
    content = None if method else (start, start + size)
    return name, header, start + packed, content, following


def _large(extra: bytes, *numbers: int) -> list[int]:
    """The numbers, those that did not fit into 32 bits taken from the extra field."""
    position = 0
    while position + 4 <= len(extra):
        kind, size = struct.unpack_from("<2H", extra, position)
        position += 4
        if kind == 1:
            size = min(size, len(extra) - position) // 8 * 8
            wide = struct.iter_unpack("<Q", extra[position : position + size])
            return [next(wide, (n,))[0] if n == _IN_EXTRA else n for n in numbers]
        position += size
    return list(numbers)


def _content_start(
    window: FileWindow, header: int, raw_name: bytes, method: int, packed: int, size: int
) -> int:
    """Where a member's content begins, if the header before it says the same as the directory."""
    name = shown(raw_name.decode("utf-8", "replace"))
    if header + _LOCAL.size > window.size:
        raise Malformed(f"truncated: {name} should begin at byte {header}")
    fields = _LOCAL.unpack(window.read(header, _LOCAL.size))
    mark, _, flags, found_method, _, _, _, *sizes, name_length, extra_length = fields
    name_start = header + _LOCAL.size
    start = name_start + name_length + extra_length
    if start + packed > window.size:
        raise Malformed(f"truncated: {name} should end at byte {start + packed}")
    wide = _IN_EXTRA in sizes
    agrees = wide or sizes == [packed, size] or (flags & _SIZES_FOLLOW and sizes == [0, 0])
    agrees = agrees and mark == b"PK\3\4" and found_method == method and not flags & _ENCRYPTED
    agrees = agrees and name_length == len(raw_name)
    if not agrees or window.read(name_start, name_length) != raw_name:
        raise Malformed(f"{name}: the zip archive's directory contradicts the member's header")
    return start
