"""A plugin for the tests, for both Cats: its routes have paths of the plugin's own, as those of Chat Analytics have."""

from cat.mad_hatter.decorators import endpoint
from fastapi.responses import PlainTextResponse


@endpoint.get("/metrics", prefix="/custom", response_class=PlainTextResponse)
def dodo() -> PlainTextResponse:
    return PlainTextResponse("laps 3\n")


@endpoint.post("/metrics", prefix="/custom")
def lory() -> dict[str, str]:
    return {"posted": "lory"}


@endpoint.get("/v1/models/{animal}", prefix="/custom")
def eaglet(animal: str) -> dict[str, str]:
    return {"animal": animal}


@endpoint.get("/v1/prizes", prefix="/custom")
def prizes() -> list[str]:
    return ["comfits", "thimble"]
