"""Path, query and headers of a handshake, as a dialect gets them."""

from earshot_asr.server.handshake import Handshake


def test_all_of_a_request() -> None:
    headers = [("Host", "x"), ("X-Key", "a"), ("x-key", "b")]
    handshake = Handshake.of("/v1/listen?keyword=a%20b&keyword=c&empty=&interim=true", headers)
    assert handshake.path == "/v1/listen"
    assert handshake.query == {"keyword": ["a b", "c"], "empty": [""], "interim": ["true"]}
    assert handshake.headers == {"host": "x", "x-key": "a, b"}


def test_nothing_but_a_path() -> None:
    assert Handshake.of("/v1/stream", []) == Handshake("/v1/stream")
