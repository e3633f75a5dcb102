"""What the hub says is said on: what is wrong, and what would be right, in a sentence."""

import sys
from types import ModuleType

import pytest
from huggingface_hub import constants

from earshot_asr.engine.errors import HubError
from earshot_asr.engine.hub import Origin, locate, origin, refusals
from tests.loopback_hub import TOKEN, LoopbackHub


def refusal(model: str, revision: str | None = None) -> str:
    """The message, which is one line and free of what libraries say."""
    with pytest.raises(HubError) as caught:
        locate(model, revision)
    message = str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__
    assert len(message) < 300 and "\n" not in message and " ... " not in message
    assert not any(word in message for word in ("Client Error", "Errno", "Request ID", "https://huggingface.co"))
    return message


def test_a_typo_or_a_private_one(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub does not tell one from the other, so both are said."""
    hub.add("acme/secret", hub.repositories["acme/small"].commits["a" * 40], access="private")
    known = ModuleType("earshot_asr.engine.catalogue")
    known.near = lambda name: [f"{name}l", "acme/tiny"]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, known.__name__, known)
    assert refusal("acme/smal") == (
        "there is no folder acme/smal, and no such model on the hub; near are acme/small, acme/tiny; "
        "if it is private, log in with `hf auth login` or set HF_TOKEN"
    )
    assert refusal("acme/secret").startswith("there is no folder acme/secret, and no such model on the hub; near are")


def test_a_name_of_the_catalogue_is_not_near_to_itself(hub: LoopbackHub) -> None:
    """Of a mirror that does not have it."""
    message = refusal("facebook/wav2vec2-base-960h")
    assert message.count("facebook/wav2vec2-base-960h") == 1 and "facebook/wav2vec2-large-960h" in message


def test_without_names_that_are_near(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "earshot_asr.engine.catalogue", None)
    assert "no such model on the hub; if it is private, log in" in refusal("acme/smal")


def test_a_token_that_may_not_read_it_and_one_that_may(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.add("acme/secret", hub.repositories["acme/small"].commits["a" * 40], access="private")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert "your token must be one that may read it" in refusal("acme/smal")
    assert isinstance(locate("acme/secret"), Origin)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert f"{hub.url} does not know the token that was sent; log in with" in refusal("acme/other")


def test_gated(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = hub.repositories["acme/small"].commits["a" * 40]
    hub.add("acme/gated", folder, access="gated")
    hub.add("acme/closed", folder, access="gated for you")
    log_in = "log in with `hf auth login` or set HF_TOKEN"
    assert refusal("acme/gated") == f"acme/gated is gated: {log_in}, and accept its terms at {hub.url}/acme/gated"
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert refusal("acme/closed").endswith(f"gated: accept its terms at {hub.url}/acme/closed with that account")


def test_no_such_revision(hub: LoopbackHub) -> None:
    assert refusal("acme/small", "v2").startswith(
        f"acme/small has no revision 'v2'; {hub.url}/acme/small/commits shows"
    )
    assert "no revision '" + "b" * 40 in refusal("acme/small", "b" * 40)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (503, "is out of order (503 Service Unavailable); try again later"),
        (429, "was asked too often from here"),
        (403, "does not let you read acme/small"),
        (404, "is no hub; HF_ENDPOINT must name one, or not be set (it says 404 Not Found to acme/small)"),
    ],
)
def test_other_answers(hub: LoopbackHub, status: int, message: str) -> None:
    hub.behaviour.status = status
    assert message in refusal("acme/small")


def test_what_is_no_hub(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.behaviour.page = True
    absent = "acme/small is not in the cache, and "
    what = f"what answers at {hub.url} is no hub; HF_ENDPOINT must name one, or not be set"
    assert refusal("acme/small") == absent + what
    for endpoint in ("http://127.0.0.1:9", "http://hub.invalid"):
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        assert refusal("acme/small").startswith(f"{absent}{endpoint} can't be reached (")
        assert refusal("acme/small").endswith("): there is no network, or HF_ENDPOINT is wrong")
    monkeypatch.setattr(constants, "ENDPOINT", "hub.example")
    assert "hub.example can't be reached (" in refusal("acme/small")


def test_a_hub_that_never_answers(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "ANSWER_SECONDS", 0.2)
    hub.behaviour.silent = True
    assert refusal("acme/small") == f"acme/small is not in the cache, and {hub.url} did not answer within 0.2 s"


def test_offline(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert refusal("acme/small") == "acme/small is not in the cache, and HF_HUB_OFFLINE is set; unset it to download"
    assert refusal("acme/small", "v1").startswith("acme/small at revision v1 is not in the cache")
    assert hub.requests == []


def test_an_id_that_no_hub_has(hub: LoopbackHub) -> None:
    assert refusal("acme/small..er").startswith("'acme/small..er' is no hub id: ")
    assert origin._located == {}
