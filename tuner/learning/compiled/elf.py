"""Whether a shared library is whole: one that was cut off is mapped all the same, and ends the process when it is read.

Only ELF files are looked at (Linux, the BSDs); the loaders of other systems look for themselves.
"""

from __future__ import annotations

import struct
from pathlib import Path

MAGIC = b"\x7fELF"
LOADED = 1  # PT_LOAD


def cut_off(path: Path) -> bool:
    """Whether an ELF file is shorter than its own tables say.

    Raises:
        OSError: it cannot be read.
    """
    content = path.read_bytes()
    if not content.startswith(MAGIC):
        return False
    try:
        return _end(content) > len(content)
    except (struct.error, IndexError):  # a table lies outside of the file
        return True


def _end(content: bytes) -> int:
    """Where the last table or loaded part ends (System V ABI, chapters 4 and 5: 32 or 64 bits, either byte order)."""
    wide, order = content[4] == 2, "<" if content[5] == 1 else ">"
    header = struct.unpack_from(order + ("QQIHHHHHH" if wide else "IIIHHHHHH"), content, 32 if wide else 28)
    programs, sections, _, _, program_size, program_count, section_size, section_count, _ = header
    ends = [programs + program_size * program_count, sections + section_size * section_count]
    for at in range(programs, programs + program_size * program_count, program_size or 1):
        kind = struct.unpack_from(order + "I", content, at)[0]
        offset, length = struct.unpack_from(order + ("Q16xQ" if wide else "I8xI"), content, at + (8 if wide else 4))
        if kind == LOADED:
            ends.append(offset + length)
    return int(max(ends))
