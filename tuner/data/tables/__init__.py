"""Tables as their files have them: found, unpacked and read, their cells uninterpreted."""

from tuner.data.tables.files import ENDINGS, is_table, read_table, table_blocks, table_parts

__all__ = ["ENDINGS", "is_table", "read_table", "table_blocks", "table_parts"]
