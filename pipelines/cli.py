"""The command `ruiji`: arguments, exit codes, and which function answers; imports a command only when it runs."""

import argparse
import errno
import importlib
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType
from typing import NoReturn

from pipelines._main import Main, Terminated, quiet_libraries, say_progress, steady_memory
from sim_transforms.errors import RuijiError, UsageError

_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Argument:
    """A flag of a command, or without dashes a place on its line.

    Attributes:
        switch: it takes no value.
        optional: a place that may be left empty.
        several: a place that takes one word or more.
        metavars: of a flag that takes so many words.
        dest: under which name its value is kept; its own where not given.
    """

    name: str
    help: str
    type: type = str
    default: str | int | float | None = None
    required: bool = False
    choices: tuple[str, ...] | None = None
    switch: bool = False
    optional: bool = False
    several: bool = False
    metavars: tuple[str, ...] = ()
    dest: str | None = None


@dataclass(frozen=True)
class Command:
    """A command: `function` of `module` answers.

    Attributes:
        beam: further flags are Beam's pipeline options.
        examples: lines that its help ends with.
        actions: further words, each a command of its own.
    """

    name: str
    help: str
    module: str
    function: str
    arguments: tuple[Argument, ...] = ()
    beam: bool = False
    needs_config: bool = True
    examples: tuple[str, ...] = ()
    actions: tuple["Command", ...] = ()


_EXAMPLES = Argument("--examples", "use these examples in place of the working directory's own")
_MODEL = Argument("--model", "use this model in place of the working directory's own")
_EMBEDDINGS = Argument("--embeddings", "vectors made elsewhere: .parquet, a folder of them, or .npy; needs no --config")
_IDS = Argument("--ids", "text file of one id a line, for --embeddings FILE.npy (default: the row numbers)")
_STORE = Argument("--store", "published versions: a folder, or gs://BUCKET/PREFIX (default: the configuration's)")
_PROBE = Argument("--probe", "layout routed: shards to search (default: the configuration's, else the version's)", int)
_BUDGET = Argument("--memory-budget-mib", "layout routed: MiB of shards open at once (default: no limit)", int)
_CACHE = Argument("--cache", "folder for the files of a remote store (default: in the user's cache folder)")
_AT_VERSION = Argument("--version", "version id (default: LATEST)")
_NAMED = Argument("VERSION", "version id (default: LATEST)", optional=True, dest="named")
_VERSION = Argument("--version", "the same as VERSION")


def _action(name: str, help: str, arguments: tuple[Argument, ...], *examples: str) -> Command:
    """An action of `ruiji versions`."""
    shown = tuple(f"ruiji versions {name} {example}" for example in examples)
    return Command(name, help, "query", f"versions_{name}", (_STORE, *arguments), needs_config=False, examples=shown)


_VERSION_ACTIONS = (
    _action("list", "the whole versions, oldest first", (), "--store work/digits/store"),
    _action(
        "show",
        "the manifest of a version",
        (_NAMED, _VERSION),
        "--store work/digits/store",
        "8cf97206618d779c --store S",
    ),
    _action(
        "verify",
        "read a version in full: checksums, surplus and missing files, every link of the index, canary queries",
        (_NAMED, _VERSION),
        "--store work/digits/store",
        "8cf97206618d779c --store work/digits/store --json",
    ),
    _action(
        "diff",
        "what changed from one version to another: items, and the queries whose nearest ten changed most",
        (
            Argument("A", "version id", dest="before"),
            Argument("B", "version id (default: LATEST)", optional=True, dest="after"),
            Argument("--queries", "items in both whose neighbours are compared, drawn by hash", int, 1000),
            Argument("--seed", "of the draw", int, 0),
            Argument("--limit", "most item ids of each kind in --json; the counts are whole", int, 1000),
            Argument("--page", "folder for a page of it, one HTML file, with pictures where --config is given"),
        ),
        "8cf97206618d779c --store work/digits/store",
        "8cf97206618d779c 0a1b2c3d4e5f6071 --store work/digits/store --page work/digits/diff",
    ),
    _action(
        "rollback",
        "move LATEST back to an older version, which must be whole",
        (replace(_NAMED, help="version id (default: the version that LATEST follows)"), _VERSION),
        "--store work/digits/store",
        "8cf97206618d779c --store work/digits/store",
    ),
    _action(
        "gc",
        "remove old versions, never LATEST nor what a reader holds, and what killed runs have left",
        (
            Argument("--keep", "the youngest versions stay, so many (default: versions.keep, 5)", int),
            Argument("--min-age-hours", "nothing younger is removed (default: versions.min_age_hours, 24)", float),
            Argument("--dry-run", "say what would be removed, and remove nothing", switch=True),
        ),
        "--config configs/digits.yaml --dry-run",
        "--store work/digits/store --keep 3 --min-age-hours 48",
    ),
)

COMMANDS = (
    Command(
        "run",
        "the whole job, from catalog to report; what is up to date is skipped",
        "run",
        "run",
        beam=True,
        examples=(
            "ruiji run --config configs/digits.yaml",
            "ruiji run --config configs/digits.yaml --set train.epochs=3 --workdir work/try",
        ),
    ),
    Command(
        "preprocess",
        "catalog and media to examples; files that look as they did before are not decoded again",
        "run",
        "preprocess",
        (Argument("--retry-rejects", "try files that were rejected again, though they look the same", switch=True),),
        beam=True,
        examples=("ruiji preprocess --config configs/digits.yaml --retry-rejects",),
    ),
    Command(
        "train",
        "examples to model; a training that was killed goes on where it was",
        "run",
        "train",
        (
            _EXAMPLES,
            Argument("--trials", "search training settings (train.search) by so many trainings in all", int),
        ),
        examples=(
            "ruiji train --config configs/digits.yaml --set train.loss=proxy_anchor",
            "ruiji train --config configs/digits.yaml --trials 20",
        ),
    ),
    Command(
        "index",
        "embed, build, merge, measure, publish; with --embeddings, vectors made elsewhere",
        "run",
        "index",
        (
            _EXAMPLES,
            _MODEL,
            Argument("--estimate", "say what the run will take, from a sample, and publish nothing", switch=True),
            _EMBEDDINGS,
            _IDS,
            _STORE,
        ),
        beam=True,
        needs_config=False,
        examples=(
            "ruiji index --config configs/digits.yaml --estimate",
            "ruiji index --embeddings vectors.npy --ids ids.txt --store work/words/store",
        ),
    ),
    Command(
        "reindex",
        "compare the catalog with the published version, embed what is new or changed, patch, publish",
        "reindex",
        "reindex",
        (
            Argument("--reread", "read all media to compare them, even where size and time are the same", switch=True),
            _STORE,
        ),
        beam=True,
        examples=("ruiji reindex --config configs/digits.yaml --json",),
    ),
    Command(
        "tune",
        "M, ef_construction and ef_search against recall, speed, size and build time",
        "tune",
        "tune",
        (
            replace(_EMBEDDINGS, required=True),
            _IDS,
            Argument("--m", "values of index.m to try", default="8,16,24,32"),
            Argument("--ef-construction", "values of index.ef_construction to try", default="50,100,200"),
            Argument("--sample", "items to index, drawn by hash (all where there are fewer)", int, 50_000),
            Argument("--output", "CSV file of the table"),
        ),
        needs_config=False,
        examples=("ruiji tune --embeddings work/digits/embeddings --m 8,16 --set index.recall_target=0.99",),
    ),
    Command(
        "evaluate",
        "retrieval quality on known and unseen classes, raw media beside it; embeds anew where the model is new",
        "run",
        "evaluate",
        (
            Argument(
                "--compare",
                "two models' folders: their metrics on the examples side by side, and whose neighbours changed",
                metavars=("A", "B"),
            ),
        ),
        beam=True,
        examples=("ruiji evaluate --config configs/digits.yaml --compare work/old/model work/digits/model",),
    ),
    Command(
        "init",
        "look at a folder, table or archive of media, and write a commented configuration for it",
        "query",
        "init",
        (
            Argument("SOURCE", "catalog: a folder, .csv, .parquet, .jsonl, .tar or .zip, or gs://...", dest="source"),
            Argument("--output", "the file (default: configs/NAME.yaml)"),
            Argument("--name", "of the catalog (default: that of SOURCE)"),
            Argument("--force", "write over a file that is there", switch=True),
        ),
        needs_config=False,
        examples=("ruiji init ~/pictures/shop", "ruiji init catalog.csv --name songs --output configs/songs.yaml"),
    ),
    Command(
        "completion",
        "a script that completes commands and flags in your shell",
        "query",
        "completion",
        (Argument("SHELL", "yours", choices=("bash", "zsh", "tcsh", "fish", "powershell"), dest="shell"),),
        needs_config=False,
        examples=("ruiji completion bash > ~/.local/share/bash-completion/completions/ruiji",),
    ),
    Command(
        "doctor",
        "checks of a runner before a job is launched: endpoints, workers, versions, shared files, store, memory",
        "doctor",
        "doctor",
        (Argument("--seconds", "the small job that asks the workers may take so long", float, 180.0),),
        beam=True,
        examples=("ruiji doctor --config configs/flink.yaml --runner=FlinkRunner --flink_master=localhost:8081",),
    ),
    Command(
        "search",
        "nearest items of a media file, an item or a vector",
        "query",
        "search",
        (
            _STORE,
            Argument("--media", "media file, or its uri, to embed with the model and search"),
            Argument("--item", "item_id whose neighbours are wanted"),
            Argument("--vector", ".npy file of one vector, [dim] or [1, dim]"),
            Argument("--k", "number of neighbours", int, 10),
            Argument("--where", "condition on their metadata, as in \"price < 50 AND colour IN ('red', 'blue')\""),
            Argument("--model", "model for --media (default: the configuration's working directory)"),
            _AT_VERSION,
            _PROBE,
            _BUDGET,
            _CACHE,
        ),
        needs_config=False,
        examples=(
            "ruiji search --store work/digits/store --item digit-0007 --k 5",
            "ruiji search --config configs/digits.yaml --media photo.png --where \"label != '7'\" --json",
        ),
    ),
    Command(
        "neighbors",
        "the nearest of every item of a version, as Parquet",
        "neighbors",
        "neighbors",
        (
            _STORE,
            Argument("--output", "folder of the Parquet files; an earlier one there is replaced"),
            Argument("--k", "neighbours of each item", int, 10),
            _AT_VERSION,
        ),
        beam=True,
        needs_config=False,
        examples=("ruiji neighbors --store work/digits/store --k 10 --output work/digits/neighbors",),
    ),
    Command(
        "duplicates",
        "groups of near duplicates among the items of a version, and which of each group to keep",
        "neighbors",
        "duplicates",
        (
            _STORE,
            Argument("--max-distance", "up to which two items are near duplicates, as `search` shows distances", float),
            Argument("--output", "folder of duplicates.parquet; an earlier one there is replaced"),
            Argument("--k", "neighbours to look at of each item", int, 10),
            _AT_VERSION,
        ),
        beam=True,
        needs_config=False,
        examples=("ruiji duplicates --store work/digits/store --max-distance 0.02 --output work/digits/duplicates",),
    ),
    Command(
        "cluster",
        "communities of items that share their neighbours (Leiden algorithm), without labels",
        "neighbors",
        "cluster",
        (
            _STORE,
            Argument("--resolution", "above 1 for more and smaller clusters, below 1 for fewer", float, 1.0),
            Argument("--output", "folder of clusters.parquet; an earlier one there is replaced"),
            Argument("--k", "neighbours of each item in the graph", int, 15),
            Argument("--seed", "of the order in which items are moved", int, 0),
            _AT_VERSION,
        ),
        beam=True,
        needs_config=False,
        examples=("ruiji cluster --store work/digits/store --output work/digits/clusters",),
    ),
    Command(
        "export",
        "items and vectors of a version in files that other systems take in bulk",
        "query",
        "export",
        (
            _STORE,
            Argument("--format", "parquet, numpy, milvus, qdrant or vertex", str, "parquet"),
            Argument("--output", "folder of the files; an earlier one there is replaced"),
            _AT_VERSION,
        ),
        needs_config=False,
        examples=("ruiji export --store work/digits/store --format qdrant --output work/digits/qdrant",),
    ),
    Command(
        "serve",
        "answer searches over HTTP, and show a page to search with; takes up new versions by itself",
        "query",
        "serve",
        (
            _STORE,
            Argument("--host", "address to listen at (default: serve.host, 127.0.0.1)"),
            Argument("--port", "to listen at, 0 for any that is free (default: serve.port, 8080)", int),
            Argument("--model", "model for uploads (default: the configuration's working directory)"),
            _PROBE,
            _BUDGET,
            _CACHE,
        ),
        needs_config=False,
        examples=(
            "ruiji serve --config configs/digits.yaml",
            "ruiji serve --store gs://bucket/shop --model work/shop/model --host 0.0.0.0",
        ),
    ),
    Command(
        "why",
        "where an item stands: version and row, or at which stage, when and why it was dropped",
        "query",
        "why",
        (Argument("ITEM_ID", "item_id as in the catalog", dest="item_id"), _STORE),
        needs_config=False,
        examples=(
            "ruiji why digit-0007 --config configs/digits.yaml",
            "ruiji why digit-0007 --store work/digits/store --json",
        ),
    ),
    Command(
        "forget",
        "remove items everywhere: index, examples, embeddings, metadata, and the older versions that hold them",
        "forget",
        "forget",
        (
            Argument("ITEM_ID", "item_id as in the catalog, one or more", several=True, dest="item_ids"),
            Argument("--within", "hours: older versions that hold an item stay until they are so old", float, 0.0),
            Argument(
                "--keep-in-catalog",
                "go on where the catalog still holds an item; `ruiji reindex` would bring it back",
                switch=True,
            ),
            _STORE,
        ),
        beam=True,
        examples=(
            "ruiji forget digit-0007 --config configs/digits.yaml --keep-in-catalog",
            "ruiji forget pet-17 pet-18 --config configs/pets.yaml --within 24 --json",
        ),
    ),
    Command(
        "report",
        "a static page of a published version; with --media, of what is in a catalog and what is wrong with it",
        "query",
        "report",
        (
            _STORE,
            Argument("--output", "folder of the page", required=True),
            Argument(
                "--media", "rejects, classes, duplicates and leaks of the prepared media; no version", switch=True
            ),
        ),
        needs_config=False,
        examples=(
            "ruiji report --store work/digits/store --config configs/digits.yaml --output page",
            "ruiji report --media --config configs/digits.yaml --output page",
        ),
    ),
    Command(
        "versions",
        "the published versions: list, show, verify, diff, rollback, gc",
        "query",
        "versions",
        needs_config=False,
        examples=("ruiji versions list --store work/digits/store", "ruiji versions gc --help"),
        actions=_VERSION_ACTIONS,
    ),
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}\n{self.format_usage().strip()}")


def parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    top = _Parser(prog="ruiji", description="A searchable, published index of what looks or sounds alike.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    for command in COMMANDS:
        _add(commands, command)
    return top


def _add(commands: "argparse._SubParsersAction[_Parser]", command: Command) -> None:
    sub = commands.add_parser(
        command.name,
        help=command.help,
        description=command.help,
        epilog="\n  ".join(("examples:", *command.examples)) if command.examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if command.actions:
        actions = sub.add_subparsers(dest="action", required=True, metavar="ACTION", parser_class=_Parser)
        for action in command.actions:
            _add(actions, action)
        return
    sub.set_defaults(chosen=command)
    for argument in command.arguments:
        _add_argument(sub, argument)
    sub.add_argument("--config", required=command.needs_config, help="configuration file of the catalog")
    sub.add_argument("--set", action="append", metavar="KEY=VALUE", help="override one key, as in index.m=24")
    sub.add_argument("--workdir", help="folder of the artefacts (default: the configuration's)")
    sub.add_argument("--json", action="store_true", help="one JSON object as the last line of standard output")
    sub.add_argument("--quiet", action="store_true", help="show no progress: the answer and errors alone")
    sub.add_argument("--debug", action="store_true", help="show the stack trace of an error")


def _add_argument(parser: "_Parser", argument: Argument) -> None:
    if not argument.name.startswith("-"):
        places = "?" if argument.optional else "+" if argument.several else None
        place, choices = argument.dest or argument.name, argument.choices
        shown = argument.name if choices is None else None
        parser.add_argument(place, metavar=shown, help=argument.help, nargs=places, choices=choices)
    elif argument.switch:
        parser.add_argument(argument.name, help=argument.help, action="store_true")
    elif argument.metavars:
        words = len(argument.metavars)
        parser.add_argument(argument.name, help=argument.help, nargs=words, metavar=argument.metavars)
    else:
        parser.add_argument(
            argument.name,
            help=argument.help,
            type=argument.type,
            default=argument.default,
            required=argument.required,
            choices=argument.choices,
        )


def main(argv: Sequence[str]) -> int:
    """Runs one command; gives its exit code: 0 done, 1 failed, 2 wrong usage or configuration."""
    debug = "--debug" in argv
    try:
        with _terminable():
            return _checked(argv, debug)
    except Terminated:
        return _failed("terminated; the next run goes on from the last finished stage", 143, debug)
    except KeyboardInterrupt:
        return _failed("interrupted; the next run goes on from the last finished stage", 130, debug)


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM interrupts as Ctrl-C does, so that locks, leases and remote jobs are given up in order."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _checked(argv: Sequence[str], debug: bool) -> int:
    try:
        arguments, further = parser().parse_known_args(list(argv))
        _run(arguments, further)
    except RuijiError as error:
        return _failed(str(error), error.exit_code, debug)
    except BrokenPipeError:
        return 1
    except UnicodeEncodeError as error:
        return _failed(f"{error.object!r} is no UTF-8, which ids and conditions are", 2, debug)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            return _failed(f"{error}; free some space: the next run goes on from what is finished", 1, debug)
        return _failed(f"internal error: {type(error).__name__}: {error} (--debug shows the trace)", 1, debug)
    return 0


def _run(arguments: argparse.Namespace, further: list[str]) -> None:
    command: Command = arguments.chosen
    own = [
        "--config",
        "--set",
        "--workdir",
        "--json",
        "--quiet",
        "--debug",
        *(a.name for a in command.arguments if a.name.startswith("-")),
    ]
    if further and (not command.beam or not further[0].startswith("--")):
        raise _unknown(further[0], own)
    quiet_libraries()
    steady_memory()
    say_progress(not arguments.quiet)
    chosen = Main(arguments, further, own)
    if arguments.config:
        chosen.settings()  # a mistake is said at once, not after TensorFlow was imported
    module = importlib.import_module(f"pipelines.{command.module}")
    getattr(module, command.function)(chosen)


def _unknown(flag: str, own: list[str]) -> UsageError:
    import difflib

    near = difflib.get_close_matches(flag.split("=")[0], own, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else f"; known flags: {', '.join(own)}"
    return UsageError(f"unknown argument {flag}{hint}")


def _failed(message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    sys.stderr.write(f"ruiji: error: {message}\n")
    return code


def console() -> NoReturn:
    """Entry point of the console script."""
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    console()
