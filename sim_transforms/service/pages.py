"""The search page and the page about the API: files of this package, read once, and nothing that a request names."""

import json
from importlib.resources import files
from typing import Any

import jinja2

_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_REFERENCE = "#/components/schemas/"
# A schema that holds itself would never end.
_DEEPEST = 12


def read_pages() -> dict[str, tuple[bytes, str]]:
    """Name -> content and type of the page's files."""
    folder = files("sim_transforms.service") / "static"
    return {
        name: ((folder / name).read_bytes(), f"{_KINDS[name[name.rindex('.') :]]}; charset=utf-8")
        for name in ("index.html", "style.css", "app.js")
    }


def api_page(described: dict[str, Any]) -> str:
    """A page for people of an OpenAPI description."""
    environment = jinja2.Environment(autoescape=True, trim_blocks=True)
    models = described["components"]["schemas"]

    def shown(schema: Any) -> str:
        return json.dumps(_whole(schema, models), indent=2)

    environment.filters["schema"] = shown
    text = (files("sim_transforms.service") / "static" / "api.html").read_text(encoding="utf-8")
    return environment.from_string(text).render(page=described)


def _whole(schema: Any, models: dict[str, Any], depth: int = 0) -> Any:
    """The schema with what it refers to in its place, without the titles that say the names again."""
    if isinstance(schema, list):
        return [_whole(entry, models, depth) for entry in schema]
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return schema
    if "$ref" in schema:
        return _whole(models[schema["$ref"].removeprefix(_REFERENCE)], models, depth + 1)
    return {name: _whole(value, models, depth + 1) for name, value in schema.items() if name != "title"}
