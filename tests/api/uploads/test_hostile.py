"""Requests that no client would make, byte by byte."""

import socket

import pytest

HEADERS = [
    *(b"Host: [", b"Host: [::1", b"Host: 127.0.0.1:x", b"Host: a\x80b", b"Host: ", b"Host: @"),
    *(b"Origin: http://[", b"Origin: //", b"Origin: null", b"Origin: \xff", b"Origin: [::1"),
    *(b"Authorization: Bearer \xff\xfe", b"Authorization: Bearer apk__", b"Authorization: \xff"),
    *(b"Authorization: Bearer apk_0_" + b"x" * 9_000, b"Idempotency-Key: \xff", b"Accept: \xff"),
    *(b"Last-Event-ID: -1", b"X-Request-Id: a\x00b", b"Range: bytes=-", b"If-None-Match: \xff"),
    *(b"Content-Type: \xff", b"Content-Type: multipart/form-data; boundary=\xff\xfe"),
    *(b"Transfer-Encoding: x", b"Content-Length: -1", b"Content-Length: 99999999999999999999"),
    *(b"Expect: 100-continue", b"traceparent: 00-\xff", b"Cookie: \xff=\xff", b"Forwarded: x"),
]
LINES = [
    b"GET /v1/searches", b"GET /v1/searches?metadata[%00]=%00&metadata[%ff]=%ff&state=%00",
    b"GET /v1/searches/%00", b"GET /v1/searches/..%2f..%2fetc%2fpasswd/artifacts/..%2fx",
    b"GET /v1/datasets/%ff", b"GET /v1/datasets?after=%00", b"GET //v1//searches", b"GET /\xff",
    b"POST /v1/datasets?name=a.csv", b"POST /v1/datasets?name=%00.csv", b"DELETE /v1/datasets/%00",
    b"POST /v1/searches", b"POST /v1/plans/%00/train", b"BREW /v1/searches", b"GET *",
]  # fmt: skip


def sent(running, line, header):
    """Send a request and return the first line of the answer; nothing where it is hung up."""
    content = b"" if line.startswith(b"GET") else b"x"
    head = [line + b" HTTP/1.1", b"Connection: close", header]
    if not header.startswith(b"Host"):
        head.append(b"Host: 127.0.0.1")
    if content and not header.startswith((b"Content-Length", b"Transfer")):
        head.append(b"Content-Length: 1")
    with socket.create_connection(("127.0.0.1", running.port)) as connection:
        connection.settimeout(10)
        connection.sendall(b"\r\n".join([*head, b"", content]))
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(10_000), b""))
    return answer.split(b"\r\n", 1)[0]


@pytest.mark.parametrize("header", HEADERS)
def test_no_header_brings_the_service_to_an_error_of_its_own(running, header):
    for line in (
        b"GET /v1/searches",
        b"POST /v1/datasets?name=a.csv",
        b"GET /v1/searches/x/events",
    ):
        assert not sent(running, line, header).startswith(b"HTTP/1.1 5")
    assert "Traceback" not in running.log.getvalue()


@pytest.mark.parametrize("line", LINES)
def test_no_address_brings_the_service_to_an_error_of_its_own(running, line):
    assert not sent(running, line, b"X: y").startswith(b"HTTP/1.1 5")
    assert "Traceback" not in running.log.getvalue()
