"""The rules that a study is run by where its declaration leaves them open; a study records the number of its own.

New rules hold for studies that begin under them: an older study goes on by those that it was begun with.

    1   studies of ledgers that hold no number
    2   hyperband draws a trial's bracket from the seed instead of the study's name; labels in a CSV file are kept as
        they are written; a column that floats cannot tell apart is refused
    3   the columns of a table have types, found where they are not declared; loss auto; a column whose spread is within
        rounding counts as constant and is not stretched; arrays are scaled by channel unless they are images; images
        are turned upright, on white, in class folders as well; with two classes normal rows set the threshold
    4   rows are centred inside the network, and a linear skip that starts at PCA is the default; how long trials train
        follows from the data where it is not declared; a portfolio starts the search; the final stage trains longer
    5   a column of text whose cells are numbers or dates at least by half is one of these, not names of rows; months,
        negative numbers in brackets or with the sign behind; several sentinels in one column; infinity is refused
    6   with loss mse outputs do not pass a limit on which many of a column's values lie
"""

from __future__ import annotations

from typing import Final

FIRST: Final = 1
TYPED: Final = 3
ANSWERS: Final = 4
FOUND: Final = 5
BOUNDED: Final = 6
NEWEST: Final = BOUNDED
# Where a study that begins by the newest rules may differ from one with the same declaration and older rules.
DIFFERENCE: Final = (
    "with search.pruner hyperband other trials end early, with data.label in a CSV file there may be other classes,"
    " tables are read by the types of their columns, of which more are found, and arrays and images"
    " are scaled and read otherwise, and with loss mse outputs are bounded where a column's values are"
)
