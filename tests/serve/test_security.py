"""Requests of other sites and to other names are refused; a check that is left out would be noticed."""

from typing import Any

import pytest
from serving import Served

from captioner.errors import UsageError
from captioner.serve.limits import RequestError
from captioner.serve.security import LOOPBACK, Guard, host_name, is_loopback, security_headers
from captioner.serve.server import check_names

OWN = "127.0.0.1:8000"


def guard(any_address: bool = False, *names: str) -> Guard:
    def unused(*_: Any) -> Any:
        raise AssertionError

    return Guard(unused, LOOPBACK | set(names), any_address, unused)


def pairs(**headers: str) -> list[tuple[bytes, bytes]]:
    return [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]


@pytest.mark.parametrize(
    "headers",
    [
        {"host": OWN},
        {"host": "localhost:8000", "origin": "http://localhost:8000", "sec_fetch_site": "same-origin"},
        {"host": "LOCALHOST"},
        {"host": "localhost.:8000"},
        {"host": "[::1]:8000", "origin": "http://[::1]:8000"},
        {"host": OWN, "sec_fetch_site": "none"},
        {"host": OWN, "origin": "null", "sec_fetch_site": "same-origin"},
    ],
)
def test_own_requests_are_accepted(headers: dict[str, str]) -> None:
    guard().check("POST", pairs(**headers))


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"host": ""},
        {"host": "evil.example:8000"},
        {"host": "127.0.0.1.evil.example"},
        {"host": "192.168.0.7:8000"},
        {"host": "localhost@evil.example"},
        {"host": OWN, "origin": "http://evil.example"},
        {"host": OWN, "origin": "http://127.0.0.1:9000"},
        {"host": OWN, "origin": "http://localhost:8000"},
        {"host": OWN, "origin": f"https://{OWN}"},
        {"host": OWN, "origin": f"ftp://{OWN}"},
        {"host": OWN, "origin": "null"},
        {"host": OWN, "origin": "null", "sec_fetch_site": "cross-site"},
        {"host": OWN, "sec_fetch_site": "cross-site"},
        {"host": OWN, "sec_fetch_site": "same-site"},
        {"host": OWN, "sec_fetch_site": "cross-site", "sec_fetch_dest": "document"},
    ],
)
def test_foreign_requests_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(RequestError) as caught:
        guard().check("POST", pairs(**headers))
    is_own = headers.get("host") in (OWN, "localhost:8000")
    assert caught.value.status == (403 if is_own else 421)


def test_a_link_on_another_site_may_open_the_page_but_not_frame_or_fetch_it() -> None:
    link = {"host": OWN, "sec_fetch_site": "cross-site"}
    guard().check("GET", pairs(**link, sec_fetch_dest="document"))
    for kind in ("iframe", "empty", "image"):
        with pytest.raises(RequestError):
            guard().check("GET", pairs(**link, sec_fetch_dest=kind))


def test_several_hosts_are_refused() -> None:
    with pytest.raises(RequestError, match="expected one header Host"):
        guard().check("GET", [*pairs(host=OWN), *pairs(host="evil.example")])


def test_a_server_in_the_network_accepts_addresses_and_its_names() -> None:
    for host in ("192.168.0.7:8000", "[fe80::1]:8000", "captions.example"):
        guard(True, "captions.example").check("GET", pairs(host=host))
    with pytest.raises(RequestError):
        guard(True, "captions.example").check("GET", pairs(host="evil.example"))


def test_a_reverse_proxy_may_have_tls() -> None:
    guard(True, "captions.example").check("POST", pairs(host="captions.example", origin="https://captions.example"))
    with pytest.raises(RequestError):
        guard(True, "captions.example").check("POST", pairs(host="192.168.0.7", origin="https://192.168.0.7"))


def test_large_headers_are_refused_although_they_arrive_at_once(server: Served) -> None:
    for path, headers in (("/healthz", {"X": "x" * 17_000}), (f"/healthz?{'x' * 17_000}", {})):
        answer = server.request("GET", path, headers=headers)
        assert (answer.status, answer.error) == (431, "expected a URL and headers of at most 16,384 bytes, got more")


@pytest.mark.parametrize("host", ["", "a b", ":8000"])
def test_a_malformed_host_is_no_own_name(host: str) -> None:
    with pytest.raises(RequestError):
        guard(True, "").check("GET", pairs(host=host))


@pytest.mark.parametrize("name", ["", "a b", "*.example", "http://a.example"])
def test_a_further_name_must_be_one(name: str) -> None:
    with pytest.raises(UsageError, match="expected the name of a host"):
        check_names(("captions.example", name))


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("a:1", "a"),
        ("A", "a"),
        ("[::1]:8000", "::1"),
        ("[::1", ""),
        ("", ""),
        ("a.", "a"),
        ("a b", ""),
        ("a:b", ""),
        ("a@b", ""),
    ],
)
def test_the_name_of_a_host(host: str, name: str) -> None:
    assert host_name(host) == name


def test_loopback_addresses() -> None:
    assert all(map(is_loopback, ("127.0.0.1", "127.0.0.2", "localhost", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.0.7", "evil.example", "")))


@pytest.mark.parametrize("path", ["/", "/healthz", "/nothing"])
def test_every_answer_has_the_headers(path: str, server: Served) -> None:
    answer = server.request("GET", path)
    for name, value in security_headers().items():
        if name != "Content-Security-Policy":
            assert answer.headers[name.lower()] == value
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert policy.endswith("frame-ancestors 'none'")
    assert "access-control-allow-origin" not in answer.headers
    assert "server" not in answer.headers


def test_the_server_refuses_foreign_requests(server: Served, photograph: Any) -> None:
    cases = (
        ({"Host": "evil.example"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    )
    for headers, status in cases:
        answer = server.request("POST", "/caption", photograph.read_bytes(), headers)
        assert answer.status == status
        assert answer.error
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert server.request("OPTIONS", "/caption", headers={"Origin": "http://evil.example"}).status == 403
