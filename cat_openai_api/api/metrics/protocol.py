"""The response of `/metrics` in the API docs."""

RESPONSE_CONTENT = {
    "schema": {"type": "string"},
    "example": """\
# HELP openai_api_requests_total Requests that have ended.
# TYPE openai_api_requests_total counter
openai_api_requests_total{outcome="ok",route="/custom/v1/chat/completions"} 42.0
""",
}
