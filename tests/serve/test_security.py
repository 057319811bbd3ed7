"""Requests of other sites and to other names are refused; a check that is left out would be noticed."""

from typing import Any

import pytest
from serving import Served, received

from captioner.errors import UsageError
from captioner.serve.security import LOOPBACK, Guard, RequestError, host_name, is_loopback, security_headers
from captioner.serve.server import check_names

OWN = "127.0.0.1:8000"
EVIL = "evil.example"


def check(method: str = "POST", in_network: bool = False, **headers: str) -> None:
    """Check a request to a server that this machine alone can reach, or to captions.example in a network."""

    def unused(*_: Any) -> Any:
        raise AssertionError

    names = LOOPBACK | {"captions.example", ""} if in_network else LOOPBACK
    pairs = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    Guard(unused, names, in_network, unused).check(method, pairs)


@pytest.mark.parametrize(
    "parts",
    [
        {"host": OWN},
        {"host": "localhost:8000", "origin": "http://localhost:8000", "sec_fetch_site": "same-origin"},
        {"host": "LOCALHOST"},
        {"host": "localhost.:8000"},
        {"host": "[::1]:8000", "origin": "http://[::1]:8000"},
        {"host": OWN, "sec_fetch_site": "none"},
        {"host": OWN, "origin": "null", "sec_fetch_site": "same-origin"},
        {"method": "GET", "host": OWN, "sec_fetch_site": "cross-site", "sec_fetch_dest": "document"},  # a link
        {"in_network": True, "host": "192.168.0.7:8000"},
        {"in_network": True, "host": "[fe80::1]:8000"},
        {"in_network": True, "host": "captions.example"},
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
        *((421, {"in_network": True, "host": host}) for host in (EVIL, "", "a b", ":8000")),
        *(
            (403, {"host": OWN, "origin": origin})
            for origin in (f"http://{EVIL}", "http://127.0.0.1:9000", "http://localhost:8000", f"https://{OWN}", "null")
        ),
        (403, {"host": OWN, "origin": f"ftp://{OWN}"}),
        (403, {"host": OWN, "origin": "null", "sec_fetch_site": "cross-site"}),
        (403, {"host": OWN, "sec_fetch_site": "cross-site"}),
        (403, {"host": OWN, "sec_fetch_site": "same-site"}),
        (403, {"host": OWN, "sec_fetch_site": "cross-site", "sec_fetch_dest": "document"}),
        *(
            (403, {"method": "GET", "host": OWN, "sec_fetch_site": "cross-site", "sec_fetch_dest": kind})
            for kind in ("iframe", "empty", "image")
        ),
        (403, {"in_network": True, "host": "192.168.0.7", "origin": "https://192.168.0.7"}),
    ],
)
def test_foreign_requests_are_refused(status: int, parts: dict[str, Any]) -> None:
    with pytest.raises(RequestError) as caught:
        check(**parts)
    assert caught.value.status == status


def test_large_headers_are_refused_although_they_arrive_at_once(server: Served) -> None:
    for path, headers in (("/healthz", {"X": "x" * 17_000}), (f"/healthz?{'x' * 17_000}", {})):
        answer = server.request("GET", path, headers=headers)
        assert answer.problem == (431, "expected a URL and headers of at most 16,384 bytes, got more")


@pytest.mark.parametrize("name", ["", "a b", "*.example", "http://a.example"])
def test_a_further_name_must_be_one(name: str) -> None:
    with pytest.raises(UsageError, match="expected the name of a host"):
        check_names(("captions.example", name))


def test_the_name_of_a_host() -> None:
    for host, name in {"a:1": "a", "A": "a", "[::1]:8000": "::1", "a.": "a"}.items():
        assert host_name(host) == name
    assert not any(map(host_name, ("[::1", "", "a b", "a:b", "a@b")))


def test_loopback_addresses() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.0.0.2", "localhost", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.0.7", EVIL, "")))


@pytest.mark.parametrize("path", ["/", "/healthz", "/nothing"])
def test_every_answer_has_the_headers(path: str, server: Served) -> None:
    headers = server.request("GET", path).headers
    policy = headers["content-security-policy"]
    expected = {name.lower(): value for name, value in security_headers().items()}
    assert headers.items() >= {**expected, "content-security-policy": policy}.items()
    assert policy.startswith("default-src 'none'")
    assert policy.endswith("frame-ancestors 'none'")
    assert not headers.keys() & {"access-control-allow-origin", "server"}


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [("Host", EVIL, 421), ("Origin", f"http://{EVIL}", 403), ("Sec-Fetch-Site", "cross-site", 403)],
)
def test_the_server_refuses_foreign_requests(name: str, value: str, status: int, server: Served) -> None:
    for method in ("POST", "OPTIONS"):
        answer = server.request(method, "/caption", b"x", {name: value})
        assert answer.problem[0] == status
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_several_hosts_are_refused(server: Served) -> None:
    with server.connect() as client:
        client.sendall(f"GET / HTTP/1.1\r\nHost: {OWN}\r\nOrigin: a\r\nOrigin: b\r\nConnection: close\r\n\r\n".encode())
        assert b"expected one header Origin, got several" in received(client)
