"""The application: `uvicorn cat.startup:cheshire_cat_api`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse

from cat.looking_glass.cheshire_cat import CheshireCat
from cat.routes import add_routes


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.ccat = CheshireCat(app)
    app.state.event_loop = asyncio.get_running_loop()
    app.state.web_sockets = {}
    yield


cheshire_cat_api = FastAPI(
    lifespan=lifespan,
    generate_unique_id_function=lambda route: route.name,
    docs_url=None,
    redoc_url=None,
    title="A double of Cheshire Cat 1.9",
)
cheshire_cat_api.add_middleware(
    CORSMiddleware, allow_origins=["*"], allow_credentials=True, allow_methods=["*"], allow_headers=["*"]
)
add_routes(cheshire_cat_api)


@cheshire_cat_api.exception_handler(RequestValidationError)
async def refuse(_: Request, error: RequestValidationError) -> JSONResponse:
    return JSONResponse({"error": error.errors()}, 400)
