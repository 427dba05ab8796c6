"""The command line: a thin door. It parses, calls and prints."""

from __future__ import annotations

import contextlib
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from tuner.cli import control, data, datasets, exit_codes, remote, running, service, supervise, upkeep

if TYPE_CHECKING:
    from tuner.api.study import Study

app = typer.Typer(
    name="tuner",
    help="Tunes autoencoders: one YAML file in, the best autoencoder out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
SpaceFile = Annotated[str, typer.Argument(metavar="FILE", help="The space file.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the file; may be repeated.")
]
StudyName = Annotated[str, typer.Argument(metavar="STUDY", help="The study's name.")]
Quantile = Annotated[
    float,
    typer.Option(min=0.01, max=1.0, help="Share of fresh rows that do not count as anomalies."),
]


class What(StrEnum):
    """What an export is used for."""

    ENCODE = "encode"
    RECONSTRUCT = "reconstruct"
    SCORE = "score"
    SAMPLE = "sample"


def main() -> NoReturn:
    """Run the command, and end with its exit code."""
    exit_codes.run(_command)


def _command() -> None:
    from tuner.places import settle_credentials

    if remote.is_meant(sys.argv[1:]):
        remote.remote()
    os.environ.pop(remote.SERVER, None)  # what is done here is done here, also by the processes of it
    settle_credentials()
    app()


@app.callback(invoke_without_command=True)
def top(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    """Tunes autoencoders: one YAML file in, the best autoencoder out.

    For the studies of a server: tuner --server URL --help
    """
    if version:
        import tuner

        typer.echo(f"tuner {tuner.__version__}")
        raise typer.Exit


running.add_to(app)


@app.command()
def validate(file: SpaceFile, overrides: Overrides = None) -> None:
    """Check a space file, and say what would be searched.

    Its data is read and checked as well. Example: tuner validate search_spaces/digits.yaml
    """
    from tuner.api.workspace import workspace
    from tuner.cli import several
    from tuner.cli.declaration import declaration
    from tuner.learning.device import describe
    from tuner.tracking.direct import way_of_writing
    from tuner.tracking.store import shown

    spec, examined, resolved = several.examined(file, overrides or ())
    device = describe(resolved, spec.step)
    tracking = workspace().tracking
    mlflow = f"{shown(tracking)}, {way_of_writing(tracking)}"
    typer.echo(declaration(spec, examined, device, mlflow))


@app.command("list")
def list_studies() -> None:
    """List the studies in the ledger."""
    from tuner.api.listing import studies
    from tuner.cli import display

    typer.echo(display.studies(studies()))


@app.command()
def show(
    name: StudyName,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show a study's state and its best trial."""
    from tuner.cli import display

    study = _open(name)
    typer.echo(display.as_json(study) if as_json else display.summary(study))


@app.command()
def trials(
    name: StudyName,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A .csv, .parquet or .json file instead of standard output.")
    ] = None,
    times: Annotated[bool, typer.Option("--times", help="Add the times, which differ from run to run.")] = False,
) -> None:
    """Print a study's trials as CSV, or write them.

    Example: tuner trials digits -o trials.parquet
    """
    from tuner.cli import display, tables

    study = _open(name)
    if output is None:
        typer.echo(study.csv(times), nl=False)
    else:
        tables.write_table(study, output, times)
        typer.echo(f"{output}: {display.counted(len(study.records), 'trial')}")


@app.command()
def front(
    name: StudyName,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Also write it as a .csv file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list of objects.")] = False,
) -> None:
    """Show a study's Pareto front: the lowest loss for every size.

    For studies with several objectives. Example: tuner front digits_front -o front.csv
    """
    from tuner.cli import display, tables

    points = _open(name).front_points
    if output is not None:
        tables.write_front(points, output)
        typer.echo(f"{output}: {display.counted(len(points), 'trial')}", err=True)
    typer.echo(tables.front_json(points) if as_json else tables.front(points))


@app.command()
def export(
    name: StudyName,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write.")],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing export.")] = False,
    quantile: Quantile = 0.99,
    trial: Annotated[int | None, typer.Option(min=0, help="This complete trial instead of the winner.")] = None,
) -> None:
    """Write the best model into a folder.

    It can be used without the study. Example: tuner export digits best/
    """
    from tuner.cli import progress

    study = _open(name)
    with progress.steps() as show:
        written = study.export(folder, force, trial, quantile, show)
    if study.state != "finished":
        typer.echo(f"{name} is not finished: this is its best so far, not scored on the test split.", err=True)
    if study.source_note:
        typer.echo(study.source_note, err=True)
    typer.echo(f"{folder}: {', '.join(sorted(path.name for path in written.iterdir()))}")
    typer.echo(f'use it: import tuner; tuner.load_model("{folder}").encode(rows)')
    typer.echo(f"or: tuner apply {folder} DATA --what score -o scores.csv")


@app.command()
def apply(  # noqa: PLR0913, PLR0917 - typer calls it by name
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `tuner export` wrote.")],
    what: Annotated[What, typer.Option(help="Codes, reconstructions, errors and which are unusual, or new rows.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="A .csv, .parquet or .npy file.")],
    data: Annotated[
        str | None,
        typer.Argument(metavar="DATA", help="A .csv, .parquet, .npy, .npz or IDX file, or a folder of images."),
    ] = None,
    keep: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Keep a column of DATA beside it; may be repeated.")
    ] = None,
    array: Annotated[str | None, typer.Option(metavar="NAME", help="Which array of an .npz file.")] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="Run model.onnx with onnxruntime instead of PyTorch.")] = False,
    count: Annotated[int, typer.Option("-n", min=1, help="Rows that `sample` draws.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of what `sample` draws.")] = 0,
    parts: Annotated[bool, typer.Option("--parts", help="With score: what each column adds to it.")] = False,
) -> None:
    """Use an exported model on new files.

    No study is needed. A table's columns are taken by name, and others are passed over. `sample` takes no DATA.
    Example: tuner apply best/ new.csv --what score -o scores.parquet --keep id
    """
    from tuner.cli import display, progress
    from tuner.export.apply import Request, apply

    request = Request(str(what), output, data, array, tuple(keep or ()), onnx, count, seed, parts)
    with progress.rows() as show:
        done = apply(folder, request, show)
    typer.echo(display.applied(done, output))


@app.command()
def report(
    name: StudyName,
    output: Annotated[Path, typer.Option("-o", "--output", help="The .html file to write.")] = Path("report.html"),
    browser: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Write a study's report: one HTML file that opens without network.

    At any time, also beside a run. Example: tuner report digits -o digits.html --open
    """
    written = _open(name).report(output)
    typer.echo(f"written to {output}")
    if browser:
        import webbrowser

        webbrowser.open(written.resolve().as_uri())


@app.command()
def compare(
    names: Annotated[list[str], typer.Argument(metavar="STUDY...", help="Two studies or more.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Set studies side by side, and say whether their losses can be compared.

    Example: tuner compare digits digits-wider
    """
    from tuner.api.listing import compare
    from tuner.cli import display

    typer.echo(display.comparison(compare(names), as_json))


@app.command()
def register(
    name: StudyName,
    force: Annotated[bool, typer.Option("--force", help="Also where MLflow's model is another study's.")] = False,
) -> None:
    """Register the best model with MLflow, as the champion of the study's name.

    It takes raw rows and gives their reconstructions. Example: tuner register digits
    """
    from tuner.api import champion

    made = champion.register(name, force=force)
    state = "" if made.is_new else ", as it was"
    if made.note:
        typer.echo(made.note, err=True)
    typer.echo(f"{made.name}: version {made.version} is the champion{state}")
    typer.echo(f'use it: import mlflow; mlflow.pyfunc.load_model("{made.uri}").predict(rows)')


@app.command()
def train(
    file: SpaceFile,
    overrides: Overrides = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Also write the model here.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing export.")] = False,
    quantile: Quantile = 0.99,
    plain: Annotated[
        bool, typer.Option("--plain", help="Train it by an ordinary PyTorch loop as well, and compare the losses.")
    ] = False,
) -> None:
    """Train one configuration, such as an exported one.

    Nothing in it may be searched. With --plain, exit code 1 where the losses differ by more than rounding explains.
    Example: tuner train best/config.yaml
    """
    from tuner.analysis.agreement import as_text
    from tuner.api import train
    from tuner.cli import progress
    from tuner.export.folder import check_free

    if output is not None:
        check_free(output, force)
    with progress.epochs() as show:
        model = train.train(file, overrides=overrides or (), on_epoch=show)
    typer.echo(f"validation loss {model.value!r} {model.best_at}")
    agreed = model.beside_plain() if plain else None
    if agreed is not None:
        typer.echo(as_text(agreed, model.step))
    if output is not None:
        with progress.steps() as tell:
            written = model.export(output, force, quantile, tell)
        typer.echo(f"written to {written}")
    if agreed is not None and not agreed.holds:
        raise typer.Exit(1)


upkeep.add_to(app)


@app.command()
def dashboard(
    name: Annotated[str | None, typer.Argument(metavar="[STUDY]", help="Open this study's trials.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Default: 5000, or the next free one.")] = None,
    browser: Annotated[bool, typer.Option(help="Open the page in the browser.")] = True,
) -> None:
    """Serve MLflow's page on this machine and open it.

    Until Ctrl-C. Example: tuner dashboard digits
    """
    from tuner.api.listing import dashboard_page
    from tuner.api.workspace import workspace
    from tuner.tracking.dashboard import serve

    page = dashboard_page(name)
    typer.echo("Starting MLflow's server ...", err=True)
    with serve(workspace().tracking, port) as server:
        url = page(server.url)
        typer.echo(url)
        if browser:
            import webbrowser

            webbrowser.open(url)
        with contextlib.suppress(exit_codes.Interrupted):
            server.wait()


@app.command()
def schema(
    answers: Annotated[bool, typer.Option("--answers", help="Of what --json prints instead.")] = False,
) -> None:
    """Print the JSON Schema of space files, for editors."""
    if answers:
        from tuner.answers.schema import schema_text
    else:
        from tuner.spec.schema import schema_text

    typer.echo(schema_text(), nl=False)


control.add_to(app)
data.add_to(app)
service.add_to(app)
datasets.add_to(app)
supervise.add_to(app)


def _open(name: str) -> Study:
    from tuner.api.study import Study

    return Study.open(name)
