"""A web page and an HTTP API that caption photographs; the only code that needs Starlette and uvicorn."""
