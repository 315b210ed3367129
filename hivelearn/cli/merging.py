"""Merge adapter folders: `hivelearn merge a/ b/ -o c/ --method ties --density 0.3`."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hivelearn.cli.command import DONE
from hivelearn.errors import UsageError

if TYPE_CHECKING:
    from hivelearn.merging.recipe import MergeRecipe


@dataclass(frozen=True, slots=True)
class Merging:
    """What `merge` was given."""

    folders: Annotated[
        list[Path] | None, typer.Argument(help="PEFT adapter folders.", show_default=False)
    ] = None
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder to write.", show_default=False)
    ] = None
    method: Annotated[str, typer.Option(help="Such as ties; --list names all.")] = "linear"
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
    allow_negative: Annotated[bool, typer.Option(help="Weights may subtract.")] = False
    dtype: Annotated[
        str | None, typer.Option(help="float32, bfloat16 or float16. [default: float32]")
    ] = None
    base: Annotated[
        Path | None,
        typer.Option(help="Model folder: write it merged, not an adapter.", show_default=False),
    ] = None
    config: Annotated[
        Path | None, typer.Option(help="A mergekit YAML file.", show_default=False)
    ] = None
    plot: Annotated[Path | None, typer.Option(help="Draw the report there, a PNG.")] = None
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False
    list: Annotated[bool, typer.Option("--list", help="Name the methods and stop.")] = False


def merge(merging: Merging) -> int:
    """Merge LoRA adapter folders into one, exactly, in the space of their products."""
    if merging.list:
        print(methods())
        return DONE
    folders, recipe, dtype = wanted(merging)
    if merging.out is None:
        raise UsageError("nowhere to write", remedy="Say where: hivelearn merge a/ b/ -o c/")
    from hivelearn.merging.merge import Way, combine

    if merging.base is not None:
        from hivelearn.merging.apply import merge_into

        way = Way(out=merging.out, dtype=dtype)
        print(f"written: {merge_into(merging.base, folders, recipe, way)}")
        return DONE
    study = merging.plot is not None or merging.json
    report = combine(folders, recipe, Way(out=merging.out, dtype=dtype, study=study)).report
    if merging.plot is not None:
        from hivelearn.report.merge_figure import save

        save(merging.plot, report)
    print(report.to_json() if merging.json else report)
    return DONE


def wanted(merging: Merging) -> "tuple[list[Path], MergeRecipe, str]":
    """Return folders, recipe and dtype, from a configuration file or from options.

    Raises:
        UsageError: both, neither, or options that cannot be read.
    """
    from hivelearn.merging import mergekit_config
    from hivelearn.merging.recipe import MergeRecipe

    rank: Any = merging.rank
    if rank is not None and rank != "stack":
        rank = _number("--rank", rank, int)
    rest = {"rank": rank, "energy": merging.energy, "seed": merging.seed}
    if merging.config is None:
        settings = dict(_set(each) for each in merging.setting or ())
        if merging.density is not None:
            settings["density"] = merging.density
        weights = tuple(merging.weight or ())
        negative = merging.allow_negative
        recipe = MergeRecipe(merging.method, weights, settings, allow_negative=negative, **rest)
        return list(merging.folders or ()), recipe, merging.dtype or "float32"
    if merging.folders or merging.weight or merging.density or merging.setting:
        raise UsageError(
            "a configuration file says itself what to merge and how",
            remedy="Give --config without folders, --weight, --density and --set.",
        )
    config = mergekit_config.read(merging.config)
    paths = [Path(source) for source in config.sources]
    return paths, replace(config.recipe, **rest), merging.dtype or config.dtype


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


def methods() -> str:
    """Return a table of all merge methods with their settings."""
    from hivelearn.merging.table import TABLE
    from hivelearn.report.table import Cell, Table

    rows: list[dict[str, Cell]] = [
        {
            "method": op.name,
            "kind": op.kind,
            "settings": ", ".join(f"{p.name}={p.default}" for p in op.params) or "none",
            "survives hostile": f"{op.tolerates:.0%}" if op.tolerates else "no promise",
            "source": op.source,
        }
        for op in TABLE.values()
    ]
    return str(Table.of(rows))
