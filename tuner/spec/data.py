"""What a study declares of its data: where the rows come from, what their columns are, how they are split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from tuner.spec.distributions import Frozen, mistake

Scaling = Literal["minmax", "standard", "robust", "quantile", "log1p", "none"]
ColumnType = Literal["numeric", "count", "boolean", "categorical", "datetime", "identifier", "text", "constant"]
ColumnLoss = Literal["auto", "squared", "huber", "poisson"]
Missing = Literal["error", "drop", "mean", "median", "mask"]


def _whole(value: str) -> str:
    """Halves of characters (lone surrogates) cannot be written down; pydantic sees them in constrained texts alone."""
    if not value.isprintable() and any("\ud800" <= char <= "\udfff" for char in value):
        raise mistake(f"must be text without halves of characters, got {value[:40]!r}")
    return value


Text = Annotated[str, AfterValidator(_whole)]
Names = Annotated[tuple[Text, ...], Field(min_length=1, strict=False)]


class ColumnSpec(Frozen):
    """What is declared of one column of a table; all else is found in the data."""

    type: ColumnType | None = Field(None, description="What the column holds; found where it is not given.")
    scaling: Scaling | None = Field(None, description="Of a numeric column; by default data.scaling.")
    loss: ColumnLoss = Field("auto", description="Of a numeric column under loss mixed; auto: squared.")
    weight: float = Field(1.0, ge=0, le=1e6, description="How much the column counts in the loss.")
    levels: int | None = Field(
        None, ge=2, le=1000, description="Levels of a categorical column that are kept apart; the rarest are merged."
    )


class ReadSpec(Frozen):
    """How a table's file is read; each key is found in the file where it is not given."""

    delimiter: Text | None = Field(None, min_length=1, max_length=1, description="Between the cells of a text file.")
    decimal: Literal[".", ","] | None = Field(None, description="Before a number's decimals.")
    thousands: Literal[",", ".", " ", "'"] | None = Field(None, description="Between a number's groups of digits.")
    quote: Text | None = Field(None, min_length=1, max_length=1, description="Around cells that hold delimiters.")
    encoding: Text | None = Field(None, description="utf-8, latin-1, utf-16, ...")
    header: bool | None = Field(None, description="Whether the first row that is read names the columns.")
    skip: int | None = Field(None, ge=0, le=100_000, description="Lines before it: titles, comments, sep=;.")
    units: bool | None = Field(None, description="Whether a row of units follows the header.")
    footer: int | None = Field(None, ge=0, le=100_000, description="Rows at the end to leave out: totals, sources.")
    comment: Text | None = Field(None, min_length=1, max_length=1, description="What lines to pass over begin with.")
    sheet: Text | None = Field(None, description="The sheet of an Excel file; by default the first with a table.")
    missing: Names | None = Field(None, description="What stands for a missing value: '-999', '?'.")


class SplitSpec(Frozen):
    """Which rows are held out where that is not left to chance; one of the keys."""

    column: Text | None = Field(None, description="A column that says train, validation or test.")
    group: Text | None = Field(None, description="Rows that agree in this column stay in one split.")
    time: Text | None = Field(None, description="By this column validation comes after training, and test last.")
    stratify: Text | None = Field(None, description="Each split gets its share of each value of this column.")
    validation: Text | None = Field(None, description="A file of validation rows; data.source then holds no others.")
    test: Text | None = Field(None, description="A file of test rows, given together with validation.")

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        given = [name for name in ("column", "group", "time", "stratify", "validation") if getattr(self, name)]
        if (self.validation is None) != (self.test is None):
            raise mistake("must name both files, validation and test", "validation" if self.test else "test")
        if len(given) != 1:
            raise mistake(f"must have one of column, group, time, stratify, or both files, got {len(given)} of them")
        return self


Columns = Annotated[
    Annotated[Names, Tag("names")] | Annotated[dict[Text, ColumnSpec], Field(min_length=1), Tag("described")],
    Discriminator(lambda value: "described" if isinstance(value, dict) else "names"),
]


class DataSpec(Frozen):
    """Where the rows come from, what their columns are, and how they are scaled and split."""

    source: str = Field(
        min_length=1,
        description="sklearn:digits, or a path beside this file: a table (.csv, .tsv, .txt, .parquet, .feather, .xlsx),"
        " arrays (.npy, .npz, .idx), a folder of images or of a table's parts; * stands for several files.",
    )
    array: Text | None = Field(None, description="The array's name inside an .npz file.")
    read: ReadSpec | None = Field(None, description="How a table's file is read, where what is found is wrong.")
    columns: Columns | None = Field(
        None, description="Only these columns of a table; or a mapping of columns to their type, scaling, weight, ..."
    )
    exclude: Names | None = Field(None, description="All columns of a table but these.")
    missing: Missing = Field(
        "error", description="Missing values: refused, their rows dropped, filled, or left out of the loss (mask)."
    )
    indicators: bool = Field(False, description="With missing mean, median or mask: a column that tells where.")
    split: SplitSpec | None = Field(None, description="By a column, group, time, label or files; by default by chance.")
    label: Text | None = Field(
        None,
        description="A column that the model never sees: codes are judged by how well they tell it. Of images in"
        " folders by class: folder.",
    )
    train_on: Literal["all", "normal"] = Field(
        "all", description="normal: no row of the rarer of two classes of label is trained on; it is left out."
    )
    scaling: Scaling = Field("minmax", description="Fitted on the training split alone.")
    validation: float = Field(0.2, gt=0, lt=1, description="Share of the rows that trials are compared on.")
    test: float = Field(0.1, gt=0, lt=1, description="Share of the rows that only the winner is scored on, once.")
    seed: int | None = Field(None, ge=0, lt=2**63, description="Draws the split; by default search.seed does.")

    @model_validator(mode="after")
    def _leaves_training_rows(self) -> Self:
        if self.validation + self.test >= 1:
            raise mistake(
                f"must leave rows to train on: validation + test must be below 1, got {self.validation + self.test:g}",
                "validation",
            )
        if self.selected and self.exclude:
            raise mistake("must be left out where columns is given", "exclude")
        if self.label is not None and self.label in (self.selected or ()):
            raise mistake(f"must be a column that the model never sees, but columns names {self.label}", "label")
        if self.train_on == "normal" and self.label is None:
            raise mistake("must be given with train_on normal, for it tells which rows are normal", "label")
        if self.label is not None and self.label == self.array:
            raise mistake(f"must be another array than array, got {self.label} twice", "label")
        return self

    @property
    def selected(self) -> tuple[str, ...] | None:
        """The only columns that are used; None for all but those that are excluded."""
        return self.columns if isinstance(self.columns, tuple) else None

    @property
    def described(self) -> Mapping[str, ColumnSpec]:
        """What is declared of single columns."""
        return self.columns if isinstance(self.columns, Mapping) else {}
