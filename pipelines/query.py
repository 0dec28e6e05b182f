"""Commands that read a published version: search, serve, export, why, report, versions.

ruiji search --store work/digits/store --item digit-0000 --k 5
ruiji search --store gs://bucket/digits --item digit-0000 --cache /fast/cache
ruiji search --store work/shop/store --item shoe-1 --where "price < 50 AND colour IN ('red', 'blue')"
ruiji serve --config configs/digits.yaml --port 8080
ruiji versions list --store work/digits/store
ruiji versions gc --store work/digits/store --keep 3 --dry-run
"""

import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines._main import Main
from sim_transforms.errors import UsageError
from sim_transforms.settings.serving import ServeSettings
from sim_transforms.settings.stages import PreprocessSettings, Settings

if TYPE_CHECKING:
    from sim_transforms.commands.diff import VersionDiff
    from sim_transforms.commands.serve import ServeSource


def _settings(main: Main) -> Settings | None:
    given = main.arguments
    if given.set and not given.config:
        raise UsageError("--set overrides keys of a configuration: give --config FILE, which they are meant for")
    return main.settings() if given.config else None


def _store(main: Main, settings: Settings | None) -> str:
    if main.arguments.store:
        return str(main.arguments.store)
    if settings is None:
        raise UsageError(
            "which store? give --store FOLDER or gs://BUCKET/PREFIX, or --config FILE whose store is meant"
        )
    return settings.store


def _limits(main: Main, settings: Settings | None) -> tuple[int | None, int | None]:
    """Probe and memory budget: the flags, else the configuration's, else null."""
    probe, budget = main.arguments.probe, main.arguments.memory_budget_mib
    if settings is None:
        return probe, budget
    asked = settings.search
    return asked.probe if probe is None else probe, asked.memory_budget_mib if budget is None else budget


def search(main: Main) -> None:
    """`ruiji search`."""
    from sim_transforms.commands.search import Query, Source, search_text
    from sim_transforms.commands.search import search as answer

    settings, given = _settings(main), main.arguments
    model = given.model or (f"{settings.workdir}/model" if settings else None)
    probe, budget = _limits(main, settings)
    result = answer(
        Source(_store(main, settings), given.version, probe, budget, Path(given.cache) if given.cache else None),
        Query(
            item=given.item,
            vector=Path(given.vector) if given.vector else None,
            media=given.media or None,
            k=given.k,
            where=given.where,
        ),
        Path(model) if model else None,
        main.files(settings),
    )
    if (given.probe is not None or given.memory_budget_mib is not None) and not result["routed"]:
        main.notify("the version is one merged file: --probe and --memory-budget-mib have no meaning for it")
    main.answer({name: value for name, value in result.items() if name != "routed"}, search_text(result))


def export(main: Main) -> None:
    """`ruiji export`."""
    from sim_transforms.commands.export import export as write

    given = main.arguments
    if not given.output:
        raise UsageError("--output DIR is required: the folder of the files")
    result = write(_store(main, _settings(main)), given.version, given.format, Path(given.output))
    main.answer(result, f"exported   {result['items']:,} items of version {result['version']} to {result['output']}")


def why(main: Main) -> None:
    """`ruiji why ITEM_ID`."""
    from sim_transforms.commands.why import Origin
    from sim_transforms.commands.why import why as look
    from sim_transforms.commands.why_text import not_found, why_json, why_text

    settings, item_id = _settings(main), main.arguments.item_id
    origin = None
    if settings is not None:
        from pipelines.stages import Stages

        source = Stages(main, settings).source()
        workdir = Path(settings.workdir).absolute()
        origin = Origin(workdir, source, settings.catalog.allow_outside, main.files(settings))
    standing = look(item_id, _store(main, settings), origin)
    if standing.status == "unknown":
        if main.arguments.json:
            main.answer(why_json(standing), "")
        raise not_found(standing)
    main.answer(why_json(standing), why_text(standing))


def report(main: Main) -> None:
    """`ruiji report`, or of the media alone `ruiji report --media`."""
    if main.arguments.media:
        return _media_report(main)
    from sim_transforms.commands.report import report as write

    settings = _settings(main)
    workdir = Path(settings.workdir) if settings else None
    path = write(
        _store(main, settings),
        Path(main.arguments.output),
        name=settings.name if settings else "",
        examples=workdir / "examples" if workdir else None,
        embeddings=workdir / "embeddings" if workdir else None,
        model=workdir / "model" if workdir else None,
        evaluation=workdir / "evaluation" if workdir else None,
    )
    return main.answer({"report": str(path)}, f"report {path}")


def _media_report(main: Main) -> None:
    from sim_transforms.commands.media_report import media_report, media_report_text

    settings, output = _settings(main), Path(main.arguments.output)
    if settings is None:
        raise UsageError("--media needs --config FILE: the examples lie in its working directory")
    linked = (output / "index.html").is_file()
    examples, prepared = Path(settings.workdir) / "examples", settings.preprocess
    result = media_report(examples, output, name=settings.name, preprocess=prepared, linked=linked)
    main.answer(result, media_report_text(result))


def _version(main: Main) -> str | None:
    """The version that is named, as an argument or by its flag."""
    given = main.arguments
    if given.named and given.version and given.named != given.version:
        raise UsageError(f"two versions are named, {given.named} and --version {given.version}; one is expected")
    return given.named or given.version


def versions_list(main: Main) -> None:
    """`ruiji versions list`."""
    from sim_transforms.commands.versions import list_all

    main.answer(*list_all(_store(main, _settings(main))))


def versions_show(main: Main) -> None:
    """`ruiji versions show`."""
    from sim_transforms.commands.versions import show

    main.answer(*show(_store(main, _settings(main)), _version(main)))


def versions_verify(main: Main) -> None:
    """`ruiji versions verify`."""
    from sim_transforms.commands.versions import verify

    main.answer(*verify(_store(main, _settings(main)), _version(main)))


def versions_diff(main: Main) -> None:
    """`ruiji versions diff`."""
    from sim_transforms.commands.diff import diff, diff_text, write_page

    given, settings = main.arguments, _settings(main)
    found = diff(_store(main, settings), given.before, given.after, queries=given.queries, seed=given.seed)
    result, text = found.plain(given.limit), diff_text(found)
    if given.page:
        page = write_page(found, _pictures(main, settings, found), Path(given.page))
        result, text = {**result, "page": str(page)}, f"{text}\npage       {page}"
    main.answer(result, text)


def _pictures(main: Main, settings: Settings | None, found: "VersionDiff") -> dict[str, bytes]:
    """PNG of the items on a page; none without a configuration, which says where media are."""
    if settings is None:
        return {}
    from pipelines.stages import Stages
    from sim_transforms.commands.diff import shown_items
    from sim_transforms.commands.thumbnails import thumbnails
    from sim_transforms.media.decode import media_shape

    stages, examples = Stages(main, settings), Path(settings.workdir) / "examples"
    shape, allow_outside = media_shape(settings.media), settings.catalog.allow_outside
    return thumbnails(shown_items(found), shape, stages.source(), allow_outside, examples, stages.files())


def init(main: Main) -> None:
    """`ruiji init`."""
    from sim_transforms.commands import init as command

    given = main.arguments
    path = command.init(given.source, given.output, given.name, given.force, main.files(None))
    main.answer({"config": str(path)}, command.next_steps(path))


def completion(main: Main) -> None:
    """`ruiji completion`."""
    import shtab

    from pipelines.cli import parser

    shell = main.arguments.shell
    script = shtab.complete(parser(), shell).rstrip("\n")
    main.answer({"shell": shell, "script": script}, script)


def versions_rollback(main: Main) -> None:
    """`ruiji versions rollback`."""
    from sim_transforms.commands.versions import rollback

    main.answer(*rollback(_store(main, _settings(main)), _version(main)))


def versions_gc(main: Main) -> None:
    """`ruiji versions gc`."""
    from sim_transforms.commands.versions import gc
    from sim_transforms.settings.stages import VersionsSettings

    settings, given = _settings(main), main.arguments
    limits = settings.versions if settings else VersionsSettings()
    main.answer(*gc(_store(main, settings), limits, given.keep, given.min_age_hours, given.dry_run))


def serve(main: Main) -> None:
    """`ruiji serve`; returns when it is ended by SIGINT or SIGTERM."""
    from sim_transforms.commands.serve import serve as listen

    settings = _settings(main)
    logging.basicConfig(level=logging.WARNING, format="ruiji: %(message)s")
    if not main.arguments.quiet:
        logging.getLogger("sim_transforms.service").setLevel(logging.INFO)

    def started(url: str, version: str, items: int) -> None:
        told = f"serving    {url}\nversion    {version}, {items:,} items"
        main.answer({"url": url, "version": version, "items": items}, told)
        sys.stdout.flush()

    listen(_served(main, settings), _serve_settings(main, settings), started)


def _serve_settings(main: Main, settings: Settings | None) -> ServeSettings:
    given = main.arguments
    chosen = settings.serve if settings is not None else ServeSettings()
    try:
        return replace(
            chosen,
            host=chosen.host if given.host is None else given.host,
            port=chosen.port if given.port is None else given.port,
        )
    except ValueError as error:
        raise UsageError(f"--{error}") from error


def _served(main: Main, settings: Settings | None) -> "ServeSource":
    from sim_transforms.commands.serve import ServeSource
    from sim_transforms.media.guard import bounds_of

    given, work = main.arguments, Path(settings.workdir) if settings else None
    probe, budget = _limits(main, settings)
    model = Path(given.model) if given.model else work / "model" if work else None
    if not given.model and model is not None and not (model / "manifest.json").is_file():
        main.notify(f"there is no model in {model}: uploads are not searched")
        model = None
    return ServeSource(
        store_url=_store(main, settings),
        probe=probe,
        memory_budget_mib=budget,
        cache=Path(given.cache) if given.cache else None,
        model=model,
        examples=work / "examples" if work else None,
        bounds=bounds_of(settings.preprocess if settings else PreprocessSettings()),
    )
