"""Claims about text tables: each dialect is found and said, each mistake is one sentence with its physical line."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import random
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.data.source_table import SourceTable
from tuner.data.sources import Sources
from tuner.data.tables import bulk, read_table, table_blocks
from tuner.data.tables.layout import Layout
from tuner.data.tables.ragged import Ragged
from tuner.data.tables.records import Marks
from tuner.errors import DataError
from tuner.spec.data import DataSpec, ReadSpec

Columns = dict[str, list[str]]


def read(folder: Path, content: str | bytes, name: str = "t.csv", **keys: object) -> SourceTable:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    spec = DataSpec.model_validate({"source": name, "read": keys or None})
    return read_table(folder / name, spec, Sources(folder))


DIALECTS: dict[str, tuple[str | bytes, Columns, dict[str, object]]] = {
    "plain": (
        "a,b\n1,2\n3,4\n",
        {"a": ["1", "3"], "b": ["2", "4"]},
        {"delimiter": ",", "decimal": ".", "header": True},
    ),
    "decimal commas": (
        "x;y\n20,63;19,34\n1,5;2,25\n",
        {"x": ["20,63", "1,5"], "y": ["19,34", "2,25"]},
        {"delimiter": ";", "decimal": ","},
    ),
    "decimal commas without a header": (
        "20,63;19,34\n1,5;2,25\n3,5;4,25\n",
        {"column_1": ["20,63", "1,5", "3,5"], "column_2": ["19,34", "2,25", "4,25"]},
        {"delimiter": ";", "decimal": ",", "header": False},
    ),
    "thousands in quotes": (
        'x,y\n"20,628.7",1\n"1,031.2",2\n866.1,3\n',
        {"x": ["20,628.7", "1,031.2", "866.1"], "y": ["1", "2", "3"]},
        {"decimal": ".", "thousands": ","},
    ),
    "percent": ("x,y\n20.6%,1\n3.4%,2\n", {"x": ["20.6%", "3.4%"], "y": ["1", "2"]}, {"decimal": "."}),
    "German thousands": (
        "ort;n\nA;1.031\nB;866\nC;998\nD;12.345\n",
        {"ort": ["A", "B", "C", "D"], "n": ["1.031", "866", "998", "12.345"]},
        {"decimal": ",", "thousands": "."},
    ),
    "three decimals beside small numbers": (
        "x,y\n1.031,1\n2,2\n3,3\n1.250,4\n",
        {"x": ["1.031", "2", "3", "1.250"], "y": ["1", "2", "3", "4"]},
        {"decimal": ".", "thousands": None},
    ),
    "German thousands and decimals": (
        "x;y\n1.234,5;3\n7,25;4\n",
        {"x": ["1.234,5", "7,25"], "y": ["3", "4"]},
        {"decimal": ",", "thousands": "."},
    ),
    "Swiss": ("x;y\n1'234.5;2\n12'345.0;3\n", {"x": ["1'234.5", "12'345.0"], "y": ["2", "3"]}, {"thousands": "'"}),
    "blanks between thousands": (
        "x;y\n1 234,5;2\n12 345,0;3\n",
        {"x": ["1 234,5", "12 345,0"], "y": ["2", "3"]},
        {"decimal": ",", "thousands": " "},
    ),
    "names with commas": (
        '"temp, C";"pressure, bar"\n20,5;1\n21,5;2\n',
        {"temp, C": ["20,5", "21,5"], "pressure, bar": ["1", "2"]},
        {"delimiter": ";", "decimal": ","},
    ),
    "wavelengths": (
        "400,402,404\n.1,.3,.2\n.4,.2,.2\n",
        {"400": [".1", ".4"], "402": [".3", ".2"], "404": [".2", ".2"]},
        {"header": True},
    ),
    "uneven wavelengths": (
        ",".join(str(400 + place**1.5) for place in range(9)) + "\n" + ",".join("132465798") + "\n" + ",".join("9" * 9),
        {str(400 + place**1.5): ["132465798"[place], "9"] for place in range(9)},
        {"header": True},
    ),
    "years": (
        "land,1990,1991,1992\nA,1,2,3\nB,4,4,1\n",
        {"land": ["A", "B"], "1990": ["1", "4"], "1991": ["2", "4"], "1992": ["3", "1"]},
        {"header": True},
    ),
    "dates as names": (
        "land,1/22/20,1/23/20\nA,1,2\nB,4,5\n",
        {"land": ["A", "B"], "1/22/20": ["1", "4"], "1/23/20": ["2", "5"]},
        {"header": True},
    ),
    "0, 1, 2, 3": (
        "0,1,2,3\n5,1,2,9\n4,4,4,1\n",
        {"0": ["5", "4"], "1": ["1", "4"], "2": ["2", "4"], "3": ["9", "1"]},
        {"header": True},
    ),
    "numbers that count on": (
        "1,2,3\n4,5,6\n7,8,9\n",
        {"column_1": ["1", "4", "7"], "column_2": ["2", "5", "8"], "column_3": ["3", "6", "9"]},
        {"header": False},
    ),
    "pandas without names": (
        ",0,1\n0,5,1\n1,4,2\n2,3,3\n",
        {"0": ["5", "4", "3"], "1": ["1", "2", "3"]},
        {"header": True},
    ),
    "no header": (
        "M,20.63\nF,19.2\nM,18.1\nI,3.3\n",
        {"column_1": ["M", "F", "M", "I"], "column_2": ["20.63", "19.2", "18.1", "3.3"]},
        {"header": False},
    ),
    "words alone": (
        "name,city\nBob,Paris\nAnn,Rome\n",
        {"name": ["Bob", "Ann"], "city": ["Paris", "Rome"]},
        {"header": True},
    ),
    "Latin-1": (
        "n,x\nJosé,1\nZoé,2\n".encode("latin-1"),
        {"n": ["José", "Zoé"], "x": ["1", "2"]},
        {"encoding": "cp1252"},
    ),
    "Cyrillic": (
        "имя,город,x\nИван,Москва,1\nАнна Петровна,Казань,5\n".encode("cp1251"),
        {"имя": ["Иван", "Анна Петровна"], "город": ["Москва", "Казань"], "x": ["1", "5"]},
        {"encoding": "cp1251"},
    ),
    "Japanese": (
        "名前,x\n東京,1\n大阪,2\n".encode("cp932"),
        {"名前": ["東京", "大阪"], "x": ["1", "2"]},
        {"encoding": "cp932"},
    ),
    "blanks around bars": ("a | b\n1 | 2\n3 | 4\n", {"a": ["1", "3"], "b": ["2", "4"]}, {"delimiter": "|"}),
    "a percent sign as a name": ("%,b\n1,2\n3,4\n", {"%": ["1", "3"], "b": ["2", "4"]}, {"comment": None}),
    "addresses are no thousands": (
        "ip,v\n192.168.100.200,1\n192.168.101.201,2\n",
        {"ip": ["192.168.100.200", "192.168.101.201"], "v": ["1", "2"]},
        {"decimal": ".", "thousands": None},
    ),
    "money": (
        "item;price\nA;€ 1.234,50\nB;€ 3,20\n",
        {"item": ["A", "B"], "price": ["€ 1.234,50", "€ 3,20"]},
        {"decimal": ",", "thousands": "."},
    ),
    "UTF-16": (
        "n,x\nJosé,1\nZoé,2\n".encode("utf-16"),
        {"n": ["José", "Zoé"], "x": ["1", "2"]},
        {"encoding": "utf-16"},
    ),
    "UTF-16 without a mark": (
        "n,x\nJosé,1\nZoé,2\n".encode("utf-16-be"),
        {"n": ["José", "Zoé"], "x": ["1", "2"]},
        {"encoding": "utf-16-be"},
    ),
    "UTF-8 with a mark": (b"\xef\xbb\xbfa,b\n1,2\n3,4\n", {"a": ["1", "3"], "b": ["2", "4"]}, {"encoding": "utf-8"}),
    "blanks behind commas": (
        'a, b, c\n1, 2, x\n3, "4, 5", y\n',
        {"a": ["1", "3"], "b": ["2", "4, 5"], "c": ["x", "y"]},
        {"delimiter": ","},
    ),
    "comments": (
        "# made by x\n# on Monday\na,b\n1,2\n# a pause, of one day\n3,4\n",
        {"a": ["1", "3"], "b": ["2", "4"]},
        {"comment": "#", "skip": 2},
    ),
    "a header in a comment": (
        "# x y z\n1 2 3\n4 5 6\n",
        {"x": ["1", "4"], "y": ["2", "5"], "z": ["3", "6"]},
        {"delimiter": " ", "skip": 0, "header": True},
    ),
    "colours are no comments": (
        "colour,v\n#ff0000,3\n#ff0001,4\n",
        {"colour": ["#ff0000", "#ff0001"], "v": ["3", "4"]},
        {"comment": None},
    ),
    "a row that begins as a comment would": (
        "a,b\n1,2\n#5,3\n4,5\n6,7\n",
        {"a": ["1", "#5", "4", "6"], "b": ["2", "3", "5", "7"]},
        {"comment": None},
    ),
    "units": ("t,T\ns,degC\n1,2\n3,4\n5,6\n", {"t": ["1", "3", "5"], "T": ["2", "4", "6"]}, {"header": True}),
    "units in brackets": (
        "t,T,who\n[s],[C],\n1,2,a\n3,4,b\n5,6,c\n",
        {"t": ["1", "3", "5"], "T": ["2", "4", "6"], "who": ["a", "b", "c"]},
        {},
    ),
    "sep=": ("sep=;\na;b\n1;2\n3;4\n", {"a": ["1", "3"], "b": ["2", "4"]}, {"delimiter": ";", "skip": 1}),
    "blank last lines": ("a,b\n1,2\n3,4\n\n  \n", {"a": ["1", "3"], "b": ["2", "4"]}, {}),
    "totals": ("a,b\nx,2\ny,4\nz,1\nTotal,7\n", {"a": ["x", "y", "z"], "b": ["2", "4", "1"]}, {}),
    "a title": ("Report of 2020\n\na,b\n1,2\n3,4\n", {"a": ["1", "3"], "b": ["2", "4"]}, {"skip": 2}),
    "a title of as many cells": ("By us, today\n\na,b\n1,2\n3,4\n", {"a": ["1", "3"], "b": ["2", "4"]}, {"skip": 2}),
    "rows without a value": (
        ",,\n,,\n1,2,3\n4,5,6\n7,8,6\n1,5,9\n",
        {
            "column_1": ["", "", "1", "4", "7", "1"],
            "column_2": ["", "", "2", "5", "8", "5"],
            "column_3": ["", "", "3", "6", "6", "9"],
        },
        {"skip": 0, "header": False},
    ),
    "a padded title": (
        "Report,,\n,,\na,b,c\n1,2,3\n4,5,6\n",
        {"a": ["1", "4"], "b": ["2", "5"], "c": ["3", "6"]},
        {"skip": 2},
    ),
    "footnotes": (
        "a,b,c\n1,2,3\n4,5,6\n====\nSource: the office\n",
        {"a": ["1", "4"], "b": ["2", "5"], "c": ["3", "6"]},
        {},
    ),
    "returns alone": ("a,b\r1,2\r3,4\r", {"a": ["1", "3"], "b": ["2", "4"]}, {}),
    "Windows' lines": ("a,b\r\n1,2\r\n3,4\r\n", {"a": ["1", "3"], "b": ["2", "4"]}, {}),
    "tabs": ("a\tb\n1\t\n\t2\n", {"a": ["1", ""], "b": ["", "2"]}, {"delimiter": "\t"}),
    "bars": ("a|b\n1|2\n3|4\n", {"a": ["1", "3"], "b": ["2", "4"]}, {"delimiter": "|"}),
    "blanks": (
        "  year   n\n  1871  11\n  1872  12\n",
        {"year": ["1871", "1872"], "n": ["11", "12"]},
        {"delimiter": " "},
    ),
    "R": ('"a" "b"\n"r1" 2 3\n"r2" 4 5\n', {"a": ["2", "4"], "b": ["3", "5"]}, {"delimiter": " "}),
    "single quotes": ("a,b\n'x, y',1\n'z',2\n", {"a": ["x, y", "z"], "b": ["1", "2"]}, {"quote": "'"}),
    "backslashes": ('a,b\n"x \\"q\\", y",1\n"z",2\n', {"a": ['x "q", y', "z"], "b": ["1", "2"]}, {}),
    "a delimiter at each end": ("a,b,\n1,2,\n3,4,\n", {"a": ["1", "3"], "b": ["2", "4"]}, {}),
    "one column": ("x\n1\n2\n3\n", {"x": ["1", "2", "3"]}, {}),
    "one column with commas": ("x\n1,5\n2,7\n3,1\n", {"x": ["1,5", "2,7", "3,1"]}, {"decimal": ","}),
    "one column of words": ("name\nab cd\nef gh\nij kl\n", {"name": ["ab cd", "ef gh", "ij kl"]}, {}),
    "quoted newlines": ('a,b\n"x\ny",2\n3,4\n', {"a": ["x\ny", "3"], "b": ["2", "4"]}, {}),
    "None and NA are text": ("c,x\nNone,1\nNA,2\n,3\n", {"c": ["None", "NA", ""], "x": ["1", "2", "3"]}, {}),
    "blanks at a cell's ends": ("a,b\n x ,1\ny,2\nz,3\n", {"a": [" x ", "y", "z"], "b": ["1", "2", "3"]}, {}),
    "an index without a name": (",a\n7,1\n9,2\n", {"a": ["1", "2"]}, {}),
    "Unnamed: 0": ("Unnamed: 0,a\n0,1\n1,2\n", {"a": ["1", "2"]}, {}),
    "an unnamed column": ("a,,b\n1,5,3\n4,5,6\n", {"a": ["1", "4"], "column_2": ["5", "5"], "b": ["3", "6"]}, {}),
    "names twice": ("a,a,a (2)\n1,2,3\n4,5,6\n", {"a": ["1", "4"], "a (3)": ["2", "5"], "a (2)": ["3", "6"]}, {}),
}


@pytest.mark.parametrize("name", DIALECTS)
def test_a_dialect_is_found(name: str, tmp_path: Path) -> None:
    """Names, cells as they are written, and the keys that read the file alike again."""
    content, expected, keys = DIALECTS[name]
    found = read(tmp_path, content)
    assert found.table.to_pydict() == expected
    assert {key: getattr(found.read, key) for key in keys} == keys
    assert found.is_text and found.unit == "line"
    assert all(note.endswith((".", ")")) and note[0].isupper() for note in found.notes)


@pytest.mark.parametrize("name", DIALECTS)
def test_a_dialect_that_was_found_reads_alike_again(name: str, tmp_path: Path) -> None:
    """Whole or block by block, with `read` declared: the same names, cells and lines."""
    content, expected, _ = DIALECTS[name]
    found = read(tmp_path, content)
    blocks = list(table_blocks(tmp_path / "t.csv", found.read, 2))
    assert all(block.table.num_rows <= 2 for block in blocks[:-1])
    assert pa.concat_tables([block.table for block in blocks]).to_pydict() == expected
    assert np.concatenate([block.places for block in blocks]).tolist() == found.places.tolist()
    again = read(tmp_path, content, **found.read.model_dump(exclude_none=True))
    assert again.table.equals(found.table)


NOTES = {
    "an index": (",a\n0,1\n1,2\n", "Column 1, which has no name, is an index and is left out."),
    "Unnamed: 0": ("Unnamed: 0,a\n0,1\n1,2\n", "Column Unnamed: 0 is an index and is left out."),
    "no name": ("a,,b\n1,5,3\n4,5,6\n", "A column without a name is called column_2."),
    "twice": ("a,a\n1,2\n3,4\n", "More than one column is called a; the second is called a (2)."),
    "no header": (
        "1.5,2\n2.5,9\n",
        "It has no header; the columns are called column_1 to column_2"
        " (data.read.header: true where the first line names them).",
    ),
    "numbers": (
        "400,402,404\n1,3,2\n9,3,2\n",
        "The numbers of line 1 (400, 402, 404, ...) are taken for the columns' names"
        " (data.read.header: false where they are a row).",
    ),
    "units": (
        "t,T\ns,degC\n1,2\n3,4\n5,6\n",
        "Line 2 holds units and is passed over (data.read.units: false where it is a row).",
    ),
    "totals": (
        "a,b\nx,2\ny,4\nz,1\nTotal,7\n",
        "Line 5 (Total) is a row of totals and is left out (data.read.footer: 0 keeps it).",
    ),
    "a lone thousand": (
        "ort;n\nA;1.031\nB;866\n",
        "Column n: 1.031 is read with decimals; where it means thousands, set data.read.decimal: ','"
        " and data.read.thousands: '.'.",
    ),
    "footnotes": ("a,b,c\n1,2,3\n4,5,6\n===\nnote\n", "Lines 4 to 5 stand below the table and are passed over."),
    "cut ends": (
        "a,b,c\n1,2,3\n4,\n7,8,9\n",
        "1 line has too few or too many empty cells at the end (line 3); they are read as empty.",
    ),
    "Latin-1": ("a,b\nJosé,1\n".encode("latin-1"), "It is no UTF-8, and was read as cp1252 (data.read.encoding)."),
}


@pytest.mark.parametrize("name", NOTES)
def test_what_was_decided_is_said(name: str, tmp_path: Path) -> None:
    """One sentence, with the key that decides otherwise."""
    content, expected = NOTES[name]
    assert expected in read(tmp_path, content).notes


MISTAKES: dict[str, tuple[str | bytes, dict[str, object], str]] = {
    "empty": ("", {}, "must hold a table, got an empty file."),
    "blank": ("\n \n", {}, "must hold a table, got an empty file."),
    "comments alone": (
        "# a\n# b\n",
        {"comment": "#"},
        "must hold a table below the lines that are passed over, got none (data.read.skip, data.read.comment).",
    ),
    "a header alone": ("a,b\n", {}, "must have rows below the header, got none."),
    "skipped beyond its end": (
        "a,b\n1,2\n",
        {"skip": 9},
        "must hold a table below the lines that are passed over, got none (data.read.skip, data.read.comment).",
    ),
    "more cells": (
        'a,b\n"x\ny",2\n3,4,5\n6,7\n7,8,9,0\n',
        {},
        "line 4: must have as many cells as the header has (2), got 3 cells in '3,4,5' (2 such lines);"
        " put quotes around cells that hold the delimiter, or name another with data.read.delimiter.",
    ),
    "fewer cells": (
        "a,b,c\n1,2,3\n4,5\n6,7,8\n",
        {},
        "line 3: must have as many cells as the header has (3), got 2 cells in '4,5'; mend it, or where the table ends"
        " above it set data.read.footer to the number of lines from it on.",
    ),
    "a comment that is none": (
        "a,b,c\n1,2,3\n* pause\n6,7,8\n",
        {},
        "line 3: must have as many cells as the header has (3), got 1 cell in '* pause';"
        " data.read.comment: '*' passes over lines that begin so.",
    ),
    "cut off": (
        "a,b,c\n1,2,3\n4,5,6\n7,",
        {},
        "line 4: must have 3 cells as the lines above it, got fewer in the file's last line, which may be cut off;"
        " mend it, or leave it out with data.read.footer: 1.",
    ),
    "a value behind the last delimiter": (
        "a,b,\n" + "1,2,\n" * 400 + "3,4,5\n",
        {},
        "line 402: must end with its last delimiter as the first lines do, got '5' behind it;"
        " give the column a name in the header.",
    ),
    "an open quote": (
        'a,b\n1,2\n"x,4\n3,4\n',
        {},
        'line 3: the quote (") that begins a cell must be closed, but is not; data.read.quote names another.',
    ),
    "text behind a quote": (
        'a,b\n1,2\n"x"y,4\n3,4\n',
        {},
        'line 3: behind a closing quote (") must come a comma, got other text;'
        " data.read.quote names another quote, data.read.delimiter another delimiter.",
    ),
    "a long cell": (
        'a,b\n1,2\n"' + "x" * 140_000 + '",4\n3,4\n',
        {},
        'line 3: a cell must have at most 131,072 characters, got more; is its quote (") closed?'
        " data.read.quote names the right one.",
    ),
    "a NUL byte": (
        b"a,b\n1,2\n3,\0\n4,5\n4,4\n",
        {},
        "line 3: must be text, got a NUL byte; the file is damaged, or is no text file.",
    ),
    "two encodings": (
        "a,b\né,1\n".encode() + b"\xe9,2\n",
        {},
        "line 3: must be UTF-8 as the lines before it are, got the byte 0xe9; save the file as UTF-8, or name what it"
        " is in, such as data.read.encoding: latin-1.",
    ),
    "another encoding": (
        "a,b\né,2\n",
        {"encoding": "ascii"},
        "must be text in ascii (data.read.encoding), got the byte 0xc3.",
    ),
    "no encoding": (
        "a,b\n1,2\n",
        {"encoding": "x8"},
        "data.read.encoding must be one that Python knows, such as latin-1, got x8.",
    ),
    "JSON": ('{"a": 1}\n', {}, "must be a table with a delimiter between its cells, got JSON; save it as .csv."),
    "a page": (
        "<!DOCTYPE html>\n<p>404, not found</p>\n",
        {},
        "must be a table with a delimiter between its cells, got an HTML page; save it as .csv.",
    ),
    "packed": (gzip.compress(b"a,b\n"), {}, "must be text, got the bytes of a .gz file; name it so."),
    "a workbook": (b"PK\x03\x04...", {}, "must be text, got the bytes of a .zip or .xlsx file; name it so."),
    "a key of Excel": (
        "a,b\n1,2\n",
        {"sheet": "A"},
        "data.read.sheet describes another kind of file, got t.csv; leave it out.",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_sentence(name: str, tmp_path: Path) -> None:
    """With the physical line, what came, and what to do."""
    content, keys, expected = MISTAKES[name]
    with pytest.raises(DataError) as raised:
        read(tmp_path, content, **keys)
    assert str(raised.value) == expected


OVERRIDES: dict[str, tuple[str, dict[str, object], Columns]] = {
    "header": (
        "400,402,404\n1,3,2\n",
        {"header": False},
        {"column_1": ["400", "1"], "column_2": ["402", "3"], "column_3": ["404", "2"]},
    ),
    "no header": ("5,6\n1,3\n", {"header": True}, {"5": ["1"], "6": ["3"]}),
    "skip": ("x,y\na,b\n1,2\n", {"skip": 1}, {"a": ["1"], "b": ["2"]}),
    "delimiter": ("a;b,c\n1;2,5\n", {"delimiter": ","}, {"a;b": ["1;2"], "c": ["5"]}),
    "an odd delimiter": ("a~b\n1~2\n", {"delimiter": "~"}, {"a": ["1"], "b": ["2"]}),
    "quote": ("a,b\n'x, y',1\n", {"quote": "'"}, {"a": ["x, y"], "b": ["1"]}),
    "comment": ("a,b\n1,2\n* x\n3,4\n", {"comment": "*"}, {"a": ["1", "3"], "b": ["2", "4"]}),
    "units": ("t,T\ns,C\n1,2\n3,4\n5,6\n", {"units": False}, {"t": ["s", "1", "3", "5"], "T": ["C", "2", "4", "6"]}),
    "odd units": ("t,T\nlong ago,today\n1,2\n", {"units": True}, {"t": ["1"], "T": ["2"]}),
    "footer": ("a,b\n1,2\n3,4\nTotal\nof,all,of,it\n", {"footer": 2}, {"a": ["1", "3"], "b": ["2", "4"]}),
    "kept totals": ("a,b\nx,2\ny,4\nTotal,6\n", {"footer": 0}, {"a": ["x", "y", "Total"], "b": ["2", "4", "6"]}),
}


@pytest.mark.parametrize("name", OVERRIDES)
def test_what_is_declared_is_not_found(name: str, tmp_path: Path) -> None:
    """Each key of data.read wins."""
    content, keys, expected = OVERRIDES[name]
    assert read(tmp_path, content, **keys).table.to_pydict() == expected
    blocks = list(table_blocks(tmp_path / "t.csv", ReadSpec.model_validate(keys), 1))
    assert pa.concat_tables([block.table for block in blocks]).to_pydict() == expected


def test_one_declared_mark_settles_the_other(tmp_path: Path) -> None:
    """Of decimals and thousands, as a note advises."""
    content = "ort;n\nA;1.031\nB;866\n"
    keys = [read(tmp_path, content, **{key: mark}).read for key, mark in (("decimal", ","), ("thousands", "."))]
    assert [(each.decimal, each.thousands) for each in keys] == [(",", "."), (",", ".")]
    assert read(tmp_path, content, decimal=".").read.thousands is None


def test_numbers_of_lines_are_physical(tmp_path: Path) -> None:
    """Quoted newlines, blank lines and comments count."""
    found = read(tmp_path, '# x\n\na,b\n"1\n\n1",2\n\n# y\n3,4\r\n5,6\n')
    assert found.places.tolist() == [4, 9, 10]
    assert found.place(1) == "line 9"


PACKED = {
    "t.csv.gz": gzip.compress,
    "t.tsv.bz2": bz2.compress,
    "t.txt.xz": lzma.compress,
    "t.csv.zst": lambda content: pa.compress(content, codec="zstd", asbytes=True),
    "t.csv.zip": lambda content: _zip({"inner.csv": content, "__MACOSX/._inner.csv": b"x"}),
    "t.zip": lambda content: _zip({"inner.csv": content}),
}


def _zip(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return stream.getvalue()


@pytest.mark.parametrize("name", PACKED)
def test_a_packed_table_is_unpacked(name: str, tmp_path: Path) -> None:
    """By the last ending of its name; one that was cut is refused."""
    content = PACKED[name](b"a,b\n1,2\n" + b"3,4\n" * 5000)
    assert read(tmp_path, content, name).table.num_rows == 5001
    with pytest.raises(DataError, match=r"must be a whole|must have|must be text"):
        read(tmp_path, content[: len(content) // 2], name)


def test_a_zip_of_several_files_is_refused(tmp_path: Path) -> None:
    """With their names."""
    with pytest.raises(
        DataError, match=r"^must be a \.zip of one table, got one of 2 files: a\.csv, b\.csv; unpack it"
    ):
        read(tmp_path, _zip({"a.csv": b"a\n1\n", "b.csv": b"a\n1\n"}), "t.csv.zip")


def test_many_rows_agree_with_pandas(tmp_path: Path) -> None:
    """Over the border of several blocks, with a quoted newline and a comma in some of them: each cell and line."""
    draw = random.Random(0)
    rows = [[str(place), draw.choice(["x", "a, b", 'q "r"', "new\nline", ""])] for place in range(150_000)]
    text = io.StringIO()
    csv.writer(text).writerows([["n", "c"], *rows])
    found = read(tmp_path, text.getvalue())
    expected = pd.read_csv(io.StringIO(text.getvalue()), dtype=str, keep_default_na=False)
    assert found.table.column("c").to_pylist() == expected["c"].tolist()
    breaks = np.cumsum([0, *(cell.count("\n") for _, cell in rows[:-1])])
    assert (found.places == np.arange(2, 150_002) + breaks).all()


def test_wide_tables_take_linear_time(tmp_path: Path) -> None:
    """20,000 columns: names and cells are right."""
    names = [f"gene_{place}" for place in range(20_000)]
    values = [[f"{row}.{place}" for place in range(20_000)] for row in range(12)]
    content = "\n".join(",".join(row) for row in [names, *values])
    found = read(tmp_path, content)
    assert found.table.column_names == names
    assert found.table.column("gene_19999").to_pylist() == [f"{row}.19999" for row in range(12)]


cells = st.text(st.characters(codec="utf-8", exclude_characters="\0\r\1", exclude_categories=["Cs"]), max_size=8)
tables = st.integers(2, 5).flatmap(
    lambda width: st.lists(st.lists(cells, min_size=width, max_size=width), min_size=1, max_size=30)
)


@settings(max_examples=150, deadline=None)
@given(
    rows=tables,
    delimiter=st.sampled_from(",;\t|"),
    end=st.sampled_from(["\n", "\r\n"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
def test_what_csv_writes_is_read_back(
    rows: list[list[str]],
    delimiter: str,
    end: str,
    encoding: str,
    quoting: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """With its dialect declared, any table of text is read as it was, cell by cell, whole and in blocks."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting)
    names = [f"c{place}" for place in range(len(rows[0]))]
    writer.writerows([names, *rows])
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_bytes(text.getvalue().encode(encoding))
    keys = ReadSpec(
        delimiter=delimiter, quote='"', header=True, skip=0, footer=0, units=False, decimal=".", comment="\1"
    )
    blocks = list(table_blocks(path, keys, 3))
    expected = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    if all(any(cell for cell in row) for row in rows):
        assert pa.concat_tables([block.table for block in blocks]).to_pydict() == expected


WORDS = st.sampled_from(["red", "green", "Ada", "Ben", "north", "south east", "x-1", "No. 5"])
NUMBERS = st.floats(-1e5, 1e5, allow_nan=False).map(lambda value: f"{value:.2f}") | st.integers(-999, 999).map(str)


@settings(max_examples=120, deadline=None)
@given(
    kinds=st.lists(st.sampled_from(["number", "word"]), min_size=2, max_size=6),
    count=st.integers(8, 40),
    delimiter=st.sampled_from([",", ";", "\t", "|"]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "latin-1"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    above=st.sampled_from(["", "# made today\n", "A report\n\n"]),
    data=st.data(),
)
def test_an_unknown_dialect_is_found(
    kinds: list[str], count: int, delimiter: str, end: str, encoding: str, quoting: int, above: str,
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    """Nothing declared: a table with names, numbers and words is read as it was written."""
    kinds = ["number", *kinds]
    columns = [
        data.draw(st.lists(NUMBERS if kind == "number" else WORDS, min_size=count, max_size=count)) for kind in kinds
    ]
    names = [f"größe {place}" for place in range(len(kinds))]
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting).writerows(
        [names, *zip(*columns, strict=True)]
    )
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_bytes((above.replace("\n", end) + text.getvalue()).encode(encoding))
    found = read_table(path, DataSpec(source="t.csv"), Sources(path.parent))
    assert found.table.to_pydict() == dict(zip(names, columns, strict=True))
    assert found.read.delimiter == delimiter
    assert found.places[0] == 2 + above.count("\n")


def test_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    """600 files with bytes changed, cut out or doubled: a table or one sentence, never another error."""
    draw = random.Random(1)
    whole = b'name,size,"note, long"\n' + b"".join(b'n%d,%d.5,"a ""b"" \xc3\xa9\n"\n' % (i, i) for i in range(40))
    for _ in range(600):
        content = bytearray(whole)
        for _ in range(draw.randint(1, 3)):
            first, size = draw.randrange(len(content)), draw.randint(0, 20)
            content[first : first + size] = draw.choice(
                [b"", b'"', b"\0", b"\xff", b"\n", b",,,", content[first : first + 40]]
            )
        try:
            found = read(tmp_path, bytes(content))
            assert found.table.num_rows == len(found.places)
        except DataError as error:
            assert "\n" not in str(error)


@settings(max_examples=400, deadline=None)
@given(text=st.text(st.sampled_from('ab,"\n\r \t#é;'), max_size=60), columns=st.integers(2, 3))
def test_both_parsers_agree(text: str, columns: int) -> None:
    """Whatever Arrow's parser is given, Python's reads the same cells on the same lines, and refuses the same."""
    header = [f"c{place}" for place in range(columns)]
    layout = Layout(Marks(), 0, tuple(header), columns)
    lines = (",".join(header) + "\n" + text).splitlines(keepends=True)
    assert outcome(lines, layout, slow=False) == outcome(lines, layout, slow=True)


def outcome(lines: list[str], layout: Layout, slow: bool) -> object:
    lines = list(io.StringIO("".join(lines), newline=""))
    ragged = Ragged(layout)
    with pytest.MonkeyPatch.context() as patch:
        if slow:
            patch.setattr(bulk._Fast, "__call__", lambda self, lines, first: None)
        try:
            blocks = list(bulk.rows_of(lines, layout, 4, ragged))
        except DataError as error:
            return str(error)
    rows = [row for block in blocks for row in zip(*(column.to_pylist() for column in block.columns), strict=True)]
    return rows, [place for block in blocks for place in block.places.tolist()], ragged.odd, ragged.padded
