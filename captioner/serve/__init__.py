"""A web page and an endpoint that caption photographs; the only code that needs Starlette and uvicorn."""
