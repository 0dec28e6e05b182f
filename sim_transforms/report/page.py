"""Writes pages: each one self-contained file, by default index.html, no script, no request to anywhere."""

import base64
import io
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from sim_transforms.records.codec import canonical_json
from sim_transforms.report.curve import draw_curve
from sim_transforms.report.data import ReportData, worst_classes
from sim_transforms.report.projection import PALETTE, draw_projection
from sim_transforms.report.reliability import draw_reliability
from sim_transforms.storage.checksums import file_entry
from sim_transforms.storage.files import write_file

Array = np.ndarray[Any, Any]

# Of a published version, and of a catalog's media.
PAGE, MEDIA_PAGE = "index.html", "media.html"
_GROUPS = {"known": "Classes seen in training", "unseen": "Classes never seen in training"}
# Classes that the page names.
_WORST = 20
# Pairs of confused classes that the page names.
_CONFUSED = 12
# Characters of a label or a message, where a page cuts it; ids are shown whole, as `ruiji forget` looks for them.
_SHORT = 160


def write_report(data: ReportData, output: Path) -> Path:
    """Writes `output/index.html` and the folder's manifest; gives the path of the page."""
    page = template("report.html").render(
        data=data,
        drawing=draw_curve(data.curve, data.manifest.ef_search),
        quality=quality_rows(data.evaluation),
        worst=worst_classes(data.evaluation or {}, _WORST),
        clusters=cluster_rows(data.evaluation),
        open_set=open_set_rows(data.evaluation),
        reliability=draw_reliability(data.manifest.calibration),
        projection=draw_projection(data.points),
        palette=PALETTE,
        confused=_CONFUSED,
    )
    return write_page(page, output)


def template(name: str) -> jinja2.Template:
    """A template of this room; what it shows is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sim_transforms.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = data_uri
    environment.filters["short"] = short
    return environment.get_template(name)


def write_page(page: str, output: Path, name: str = PAGE) -> Path:
    """Writes a page that is whole in itself, and the folder's manifest, of both pages where both are there.

    Args:
        page: HTML.
        output: folder.
        name: of the page's file.

    Returns:
        The path of the page.
    """
    output.mkdir(parents=True, exist_ok=True)
    path = output / name
    write_file(path, page.encode())
    names = [known for known in (PAGE, MEDIA_PAGE) if (output / known).is_file()]
    manifest = {"kind": "report", "files": [file_entry(output, known) for known in names]}
    write_file(output / "manifest.json", canonical_json(manifest).encode())
    return path


def quality_rows(evaluation: dict[str, Any] | None) -> list[dict[str, Any]]:
    """One row a group of classes and kind of vector, for the table of quality; the model's with its interval."""
    rows, raw_kind = [], f"raw {(evaluation or {}).get('raw_kind', 'pixels')}"
    for group, title in _GROUPS.items():
        model, raw = (evaluation or {}).get(group), ((evaluation or {}).get("raw") or {}).get(group)
        interval = ((evaluation or {}).get("intervals") or {}).get(group, {}).get("precision_at_1")
        for metrics, kind, its_own in ((model, "model", interval), (raw, raw_kind, None)):
            if metrics and metrics["queries"]:
                rows.append({"title": title, "kind": kind, "interval": its_own, **metrics})
    return rows


def open_set_rows(evaluation: dict[str, Any] | None) -> list[dict[str, Any]]:
    """One row a group of classes that was asked with its class in the gallery and without."""
    found = (evaluation or {}).get("open_set") or {}
    return [{"title": title, **found[group]} for group, title in _GROUPS.items() if found.get(group)]


def cluster_rows(evaluation: dict[str, Any] | None) -> list[dict[str, Any]]:
    """One row a group of classes whose test items lie in clusters."""
    found = (evaluation or {}).get("clusters") or {}
    return [{"title": title, **found[group]} for group, title in _GROUPS.items() if found.get(group)]


def picture_png(pixels: Array) -> bytes:
    """[h, w, 1 or 3] uint8 -> PNG."""
    flat = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(flat)).save(buffer, "PNG")
    return buffer.getvalue()


def thumbnail(pixels: Array, longest: int) -> Array:
    """[h, w, 1 or 3] uint8, of at most `longest` pixels a side."""
    height, width = pixels.shape[:2]
    if max(height, width) <= longest:
        return pixels
    scale = longest / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    flat = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    small = np.asarray(Image.fromarray(np.ascontiguousarray(flat)).resize(size, Image.Resampling.BOX))
    return small.reshape(size[1], size[0], pixels.shape[2])


def data_uri(content: bytes, kind: str = "image/png") -> str:
    """A file's content, of a media type, as a data: address."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def picture_webp(pixels: Array) -> bytes:
    """[h, w, 1 or 3] uint8 -> WebP."""
    flat = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(flat)).save(buffer, "WEBP", quality=70, method=4)
    return buffer.getvalue()


def short(text: str, most: int = _SHORT) -> str:
    """The text, of a long one its beginning."""
    return text if len(text) <= most else text[: most - 1] + "…"
