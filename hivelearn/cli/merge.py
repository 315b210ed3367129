"""Merge adapter folders: `hivelearn merge a/ b/ -o c/ --method ties --density 0.3`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from hivelearn.cli.command import DONE
from hivelearn.errors import UsageError

if TYPE_CHECKING:
    from hivelearn.merging.recipe.mergekit import Config

# --base has none of these.
_OF_AN_ADAPTER: Final = ("dtype", "energy", "json", "names_of", "plot", "rank")


@dataclass(frozen=True, slots=True)
class Merging:
    """What `merge` was given."""

    folders: Annotated[
        list[Path] | None, typer.Argument(help="PEFT adapter folders.", show_default=False)
    ] = None
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder to write.", show_default=False)
    ] = None
    method: Annotated[
        str | None, typer.Option(help="Such as ties; --list names all. [default: linear]")
    ] = None
    weight: Annotated[
        list[float] | None, typer.Option(help="One for each folder, in order.", show_default=False)
    ] = None
    density: Annotated[
        float | None, typer.Option(help="Share of entries that stays.", show_default=False)
    ] = None
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any setting of the method: lam=0.5.", show_default=False),
    ] = None
    rank: Annotated[str | None, typer.Option(help="A number, or stack. [default: largest]")] = None
    energy: Annotated[
        float | None, typer.Option(help="Keep this share of the norm.", show_default=False)
    ] = None
    seed: Annotated[int, typer.Option(help="Of methods that draw by chance.")] = 0
    allow_negative: Annotated[
        bool | None, typer.Option("--allow-negative", help="Weights may subtract.")
    ] = None
    dtype: Annotated[
        str | None, typer.Option(help="float32, bfloat16 or float16. [default: float32]")
    ] = None
    base: Annotated[
        Path | None,
        typer.Option(help="Model folder: write it merged, not an adapter.", show_default=False),
    ] = None
    names_of: Annotated[
        Path | None,
        typer.Option(
            "--names-of",
            help="Model folder whose names count where folders spell a module in two ways.",
            show_default=False,
        ),
    ] = None
    config: Annotated[
        Path | None, typer.Option(help="A mergekit YAML file.", show_default=False)
    ] = None
    plot: Annotated[Path | None, typer.Option(help="Draw the report there, a PNG.")] = None
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False
    list: Annotated[bool, typer.Option("--list", help="Name the methods and stop.")] = False


def merge(merging: Merging) -> int:
    """Merge LoRA adapter folders into one.

    Exactly, in the space of their products.
    """
    if merging.list:
        print(methods())
        return DONE
    _check_place(merging)
    config = wanted(merging)
    folders = [Path(source) for source in config.sources]
    if merging.out is None:
        raise UsageError("nowhere to write", remedy="Say where: hivelearn merge a/ b/ -o c/")
    if merging.base is not None:
        from hivelearn.merging.into_model import merge_into
        from hivelearn.merging.run.options import MergeOptions

        options = MergeOptions(out=merging.out)
        written = merge_into(merging.base, folders, config.recipe, options)
        print("\n".join([f"written: {written}", *config.notes]))
        return DONE
    from hivelearn.merging import merge as front

    study = merging.plot is not None or merging.json
    how: dict[str, Any] = {"dtype": config.dtype, "study": study, "model": merging.names_of}
    _, report = front.merge(folders, config.recipe, out=merging.out, report=True, **how)
    report = replace(report, notes=(*config.notes, *report.notes))
    if merging.plot is not None:
        from hivelearn.report.merge_figure import save

        save(merging.plot, report)
    print(report.to_json() if merging.json else report)
    return DONE


def _check_place(merging: Merging) -> None:
    """Refuse before an hour of merging what could not be written after it."""
    given = {name for name in _OF_AN_ADAPTER if getattr(merging, name) not in (None, False)}
    if merging.base is not None and given:
        raise UsageError(
            f"--base writes a whole model, which takes no --{min(given).replace('_', '-')}",
            remedy="A whole model keeps its own type and full rank, and has no report: leave "
            "out --rank, --energy, --dtype, --plot and --json.",
        )
    plot = merging.plot
    if plot is None:
        return
    ours = merging.out is not None and plot.parent.resolve() == merging.out.resolve()
    if plot.is_dir() or not (ours or plot.parent.is_dir()):
        what = "is a folder" if plot.is_dir() else "lies in no folder that is there"
        raise UsageError(f"--plot {plot} {what}", remedy="Name a PNG file in a folder that is.")


def wanted(merging: Merging) -> "Config":
    """Return sources, recipe and dtype, from a configuration file or from options.

    Raises:
        UsageError: both, neither, or options that cannot be read.
    """
    from hivelearn.merging.recipe import mergekit
    from hivelearn.merging.recipe.recipe import MergeRecipe

    rank: Any = merging.rank
    if rank is not None and rank != "stack":
        rank = _number("--rank", rank, int)
    rest = {"rank": rank, "energy": merging.energy, "seed": merging.seed}
    if merging.config is None:
        settings = dict(_set(each) for each in merging.setting or ())
        if merging.density is not None:
            if "density" in settings:
                raise UsageError("--density and --set density", remedy="Give one of them.")
            settings["density"] = merging.density
        if merging.method == "auto":
            raise UsageError(
                "auto needs to know what is better, and no option can say that",
                remedy="In Python: hl.merge(folders, method='auto', validate=...), a score on "
                "held-out data.",
            )
        weights = tuple(merging.weight or ())
        negative = bool(merging.allow_negative)
        method = "linear" if merging.method is None else merging.method
        recipe = MergeRecipe(method, weights, settings, allow_negative=negative, **rest)
        sources = tuple(map(str, merging.folders or ()))
        return mergekit.Config(sources, recipe, merging.dtype or "float32")
    said = (merging.method, merging.density, merging.allow_negative)  # 0 and False are said, too
    lists = (merging.folders, merging.weight, merging.setting)  # typer leaves [] where none is said
    if any(lists) or any(value is not None for value in said):
        raise UsageError(
            "a configuration file says itself what to merge and how",
            remedy="Give --config without folders, --method, --weight, --density, --set and "
            "--allow-negative.",
        )
    config = mergekit.read(merging.config)
    recipe = replace(config.recipe, **rest)
    return replace(config, recipe=recipe, dtype=merging.dtype or config.dtype)


def _set(text: str) -> tuple[str, float | bool | str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(f"--set {text!r} is not name=value", remedy="Write --set lam=0.5")
    if value in ("true", "false"):
        return name, value == "true"
    try:
        return name, float(value)
    except ValueError:
        return name, value


def _number(option: str, text: str, kind: type[int]) -> int:
    try:
        return kind(text)
    except ValueError:
        raise UsageError(f"{option} {text!r} is not a number", remedy="Such as 16.") from None


def _default(value: object) -> str:
    if value is None:
        return "by weights"
    return f"{value:g}" if isinstance(value, float) else str(value)


def methods() -> str:
    """Return a table of all merge methods with their settings."""
    from hivelearn.merging.recipe.method_table import TABLE
    from hivelearn.report.table import Cell, Table

    rows: list[dict[str, Cell]] = [
        {
            "method": op.name,
            "kind": op.kind,
            "settings": ", ".join(f"{p.name}={_default(p.default)}" for p in op.params) or "none",
            "survives hostile": f"{op.tolerates:.0%}" if op.tolerates else "no promise",
            "source": op.source,
        }
        for op in TABLE.values()
    ]
    return str(Table.of(rows))
