"""Path, query and headers of a handshake, as a dialect gets them."""

import pytest

from earshot_asr.server.handshake import Handshake


def test_all_of_a_request() -> None:
    headers = [("Host", "x"), ("X-Key", "a"), ("x-key", "b")]
    handshake = Handshake.of("/v1/listen?keyword=a%20b&keyword=c&empty=&interim=true", headers)
    assert handshake.path == "/v1/listen"
    assert handshake.query == {"keyword": ["a b", "c"], "empty": [""], "interim": ["true"]}
    assert handshake.headers == {"host": "x", "x-key": "a, b"}


def test_nothing_but_a_path() -> None:
    assert Handshake.of("/v1/stream", []) == Handshake("/v1/stream")


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("basic dXNlcjphYmM=", "abc"),
        ("Basic dXNlcg", None),
        ("Basic /////w==", None),
        ("Basic \xff", None),
        ("Basic \udcff", None),
        ("Digest abc", None),
    ],
)
def test_what_is_no_token_is_none(header: str, token: str | None) -> None:
    assert Handshake("/", headers={"authorization": header}).authorization == token
