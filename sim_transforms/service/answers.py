"""What is asked and answered over HTTP; the OpenAPI page is made of these."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Number = Annotated[float, Field(allow_inf_nan=False)]
ItemId = Annotated[str, Field(min_length=1, max_length=1024)]
Condition = Annotated[
    str, Field(max_length=10_000, description="on metadata, in the words of SQL: `price < 50 AND colour = 'red'`")
]
VersionId = Annotated[
    str, Field(pattern="^[0-9a-f]{16}$", description="a published version; the one that is served where not given")
]
Width = Annotated[int, Field(ge=1, le=10_000, description="of the search; the version's own where not given")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Query(_Strict):
    """Near what: an indexed item, or a vector."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "oneOf": [
                {"required": ["item_id"], "properties": {"item_id": {"type": "string"}}},
                {"required": ["vector"], "properties": {"vector": {"type": "array"}}},
            ]
        },
    )

    item_id: ItemId | None = None
    vector: Annotated[list[Number], Field(min_length=1, max_length=65_536)] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.item_id is None) == (self.vector is None):
            raise ValueError("either item_id or vector is expected")
        return self


class Asked(_Strict):
    """What every search may say."""

    k: Annotated[int, Field(ge=1, description="neighbours of each query")] = 10
    where: Condition | None = None
    ef_search: Width | None = None
    version: VersionId | None = None


class SearchRequest(Asked):
    """Some queries, answered by one version."""

    queries: Annotated[list[Query], Field(min_length=1)]


class MatchAnswer(BaseModel):
    """A neighbour; of an index of sounds a sound, with the place in it where the query begins."""

    item_id: str
    distance: float
    metadata: dict[str, Any]
    offset: float | None = Field(None, description="seconds of the sound at which the query begins")
    clip: str | None = Field(None, description="id of the nearest clip")


class QueryAnswer(BaseModel):
    """Of one query, nearest first."""

    matches: list[MatchAnswer]
    no_match: bool = Field(description="whether the nearest is farther than the calibrated threshold, or there is none")


class SearchAnswer(BaseModel):
    """Of one request; one version has answered all of it."""

    version: str
    results: list[QueryAnswer]


class ItemAnswer(BaseModel):
    """An indexed item."""

    version: str
    item_id: str
    metadata: dict[str, Any]


class ItemsAnswer(BaseModel):
    """Some of the items, in the order of their rows."""

    version: str
    total: int = Field(description="items that meet the condition")
    items: list[dict[str, Any]]


class VersionAnswer(BaseModel):
    """A published version."""

    version: str
    items: int
    dimension: int
    space: str
    created: str
    latest: bool
    served: bool


class VersionsAnswer(BaseModel):
    """The whole versions of the store, oldest first, and what could not be taken up."""

    served: str
    versions: list[VersionAnswer]
    refused: dict[str, str]


class HealthAnswer(BaseModel):
    """Whether searches are answered."""

    status: str
    version: str
    items: int
    problem: str = Field(description="why what answers is not LATEST, empty where it is")


class Problem(BaseModel):
    """What is wrong, and where a person reads what to do."""

    code: str
    message: str


class ProblemAnswer(BaseModel):
    """Every answer that is no success."""

    error: Problem
