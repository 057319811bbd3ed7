"""Requests of other sites and to other names are refused; a check that is left out would be noticed."""

from typing import Any

import pytest
from serving import Served
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

from captioner.errors import UsageError
from captioner.serve.guard import Guard, check_host_names, host_name, is_loopback

OWN = "127.0.0.1:8000"
EVIL = "evil.example"


def check(method: str = "POST", in_network: bool = False, **headers: str) -> None:
    """Check a request to a server that this machine alone can reach, or to captions.example in a network."""

    async def unused(*_: Any) -> None:
        raise AssertionError

    hosts = ("0.0.0.0", "captions.example", "") if in_network else ("127.0.0.1",)
    Guard(unused, hosts, in_network).check(method, Headers({k.replace("_", "-"): v for k, v in headers.items()}))


@pytest.mark.parametrize(
    "parts",
    [
        {"host": OWN},
        {"host": "localhost:8000", "origin": "http://localhost:8000", "sec_fetch_site": "same-origin"},
        {"host": "LOCALHOST"},
        {"host": "localhost.:8000"},
        {"host": "[::1]:8000", "origin": "http://[::1]:8000"},
        {"host": OWN, "sec_fetch_site": "none"},
        {"method": "GET", "host": OWN, "sec_fetch_site": "cross-site"},  # a link
        {"in_network": True, "host": "192.168.0.7:8000"},
        {"in_network": True, "host": "[fe80::1]:8000"},
        {"in_network": True, "host": "captions.example", "origin": "https://captions.example"},  # a reverse proxy
    ],
)
def test_own_requests_are_accepted(parts: dict[str, Any]) -> None:
    check(**parts)


@pytest.mark.parametrize(
    ("status", "parts"),
    [
        (421, {}),
        *((421, {"host": host}) for host in ("", f"{EVIL}:8000", f"127.0.0.1.{EVIL}", f"localhost@{EVIL}")),
        (421, {"host": "192.168.0.7:8000"}),
        (421, {"method": "GET", "host": EVIL}),
        *((421, {"in_network": True, "host": host}) for host in (EVIL, "", "a b", ":8000")),
        *(
            (403, {"host": OWN, "origin": origin})
            for origin in (
                f"http://{EVIL}",
                "http://127.0.0.1:9000",
                "http://localhost:8000",
                "null",
                "",
                "http://[bad",
            )
        ),
        (403, {"host": OWN, "origin": "null", "sec_fetch_site": "same-origin"}),  # a page in a sandbox
        (403, {"host": OWN, "sec_fetch_site": "cross-site"}),
        (403, {"host": OWN, "sec_fetch_site": "same-site"}),
        (403, {"method": "OPTIONS", "host": OWN, "sec_fetch_site": "cross-site"}),
    ],
)
def test_foreign_requests_are_refused(status: int, parts: dict[str, Any]) -> None:
    with pytest.raises(HTTPException) as caught:
        check(**parts)
    assert caught.value.status_code == status


@pytest.mark.parametrize("name", ["", "a b", "*.example", "http://a.example"])
def test_a_further_name_must_be_one(name: str) -> None:
    with pytest.raises(UsageError, match="expected the name of a host"):
        check_host_names(("captions.example", name))


def test_the_name_of_a_host() -> None:
    for host, name in {"a:1": "a", "A": "a", "[::1]:8000": "::1", "a.": "a"}.items():
        assert host_name(host) == name
    assert not any(map(host_name, ("[::1", "", "a b", "a:b", "a@b")))


def test_loopback_addresses() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.0.0.2", "localhost", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.0.7", EVIL, "")))


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [("Host", EVIL, 421), ("Origin", f"http://{EVIL}", 403), ("Sec-Fetch-Site", "cross-site", 403)],
)
def test_the_server_refuses_foreign_requests(name: str, value: str, status: int, server: Served) -> None:
    answer = server.request("POST", "/caption", b"x", {name: value})
    assert answer.problem[0] == status
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_answers_have_security_headers(server: Served) -> None:
    for path in ("/", "/nothing"):
        headers = server.request("GET", path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert not headers.keys() & {"access-control-allow-origin", "server"}
    policy = server.request("GET", "/").headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert policy.endswith("frame-ancestors 'none'")
