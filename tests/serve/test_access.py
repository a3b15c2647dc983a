"""Who may ask: keys, the Host and Origin of browsers, where a server may listen; and what is written down."""

import http.client
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from serving import Running, make_lm, running, served, with_settings

from kwen.engine.runner import BLOCK
from kwen.errors import UserError
from kwen.serve.settings import Settings
from kwen.text.tokenizer import Tokenizer

ASK = {"model": "tiny", "messages": [{"role": "user", "content": "a secret cat"}], "max_tokens": 4}


def ask(server: Running, path: str = "/v1/models", method: str = "GET", body: Any = None, **headers: str) -> tuple[int, Any, Any]:
    """Status, headers and text of an answer; `host` replaces the usual Host header."""
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, None if body is None else json.dumps(body), sent)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, answer.headers, text


@pytest.fixture(scope="module")
def locked(tokenizer: Tokenizer) -> Iterator[Running]:
    """A server with two keys and one page that may call it."""
    with (
        served(make_lm(tokenizer)) as tiny,
        running([tiny], with_settings(api_keys=("first-key", "second-key"), cors_origins=("https://page.example",))) as made,
    ):
        yield made


def test_any_of_the_keys_opens_in_any_header_that_clients_use(locked: Running) -> None:
    for key in ("first-key", "second-key"):
        assert ask(locked, authorization=f"Bearer {key}")[0] == 200
        assert ask(locked, x_api_key=key)[0] == 200
    assert ask(locked, authorization="Basic dXNlcjpmaXJzdC1rZXk=")[0] == 200  # user:first-key, as a browser sends it
    client = openai.OpenAI(base_url=f"{locked.url}/v1", api_key="second-key", max_retries=0)
    assert client.chat.completions.create(**ASK).usage.completion_tokens <= 4


@pytest.mark.parametrize(
    "headers",
    [
        {}, {"authorization": "Bearer "}, {"authorization": "Bearer first"}, {"authorization": "Bearer first-key-and-more"},
        {"authorization": "first-key"}, {"authorization": "Basic !!!"}, {"x_api_key": "FIRST-KEY"}, {"x_api_key": "\xff"},
    ],
)  # fmt: skip
def test_without_a_valid_key_nothing_is_told(locked: Running, headers: dict[str, str]) -> None:
    for path in ("/v1/models", "/metrics", "/", "/openapi.json", "/nowhere"):
        status, _, text = ask(locked, path, **headers)
        assert status == 401 and json.loads(text)["error"]["code"] == "invalid_api_key"
    assert ask(locked, "/v1/chat/completions", "POST", ASK, **headers)[0] == 401


def test_a_browser_is_asked_for_the_key_on_pages_only(locked: Running) -> None:
    assert ask(locked, "/")[1]["www-authenticate"].startswith("Basic")
    assert ask(locked, "/v1/models")[1]["www-authenticate"] == "Bearer"


def test_life_and_readiness_need_no_key(locked: Running) -> None:
    assert ask(locked, "/health")[0] == ask(locked, "/ready")[0] == 200


def test_openais_client_reads_the_refusal(locked: Running) -> None:
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=f"{locked.url}/v1", api_key="wrong", max_retries=0).models.list()


def test_a_name_that_was_rebound_to_this_machine_is_refused(server: Running) -> None:
    port = server.url.rpartition(":")[2]
    for host in ("evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", "", "localhost.evil.example:80"):
        status, _, text = ask(server, host=host)
        assert status == 403 and json.loads(text)["error"]["code"] == "host_not_allowed"
    for host in ("localhost", f"localhost:{port}", "127.0.0.1", "[::1]:8000", "LOCALHOST:1"):
        assert ask(server, host=host)[0] == 200


def test_a_proxys_name_can_be_admitted(tokenizer: Tokenizer) -> None:
    with served(make_lm(tokenizer)) as tiny, running([tiny], with_settings(allowed_hosts=("ai.example",))) as server:
        assert ask(server, host="ai.example")[0] == 200 and ask(server, host="other.example")[0] == 403


def test_pages_elsewhere_may_not_call(server: Running) -> None:
    for origin in ("https://evil.example", "null", "http://localhost:1"):
        assert ask(server, "/v1/chat/completions", "POST", ASK, origin=origin)[0] == 403
    assert ask(server, "/v1/chat/completions", "POST", ASK, origin=server.url)[0] == 200  # the server's own page
    status, headers, _ = ask(server, "/v1/models", "OPTIONS", origin="https://evil.example", access_control_request_method="GET")
    assert status in (403, 405) and "access-control-allow-origin" not in headers


def test_cors_admits_the_pages_that_it_names(locked: Running) -> None:
    preflight = {"access_control_request_method": "POST", "access_control_request_headers": "authorization,content-type"}
    status, headers, _ = ask(locked, "/v1/chat/completions", "OPTIONS", origin="https://page.example", **preflight)
    assert status == 200 and headers["access-control-allow-origin"] == "https://page.example"
    status, headers, _ = ask(locked, origin="https://page.example", authorization="Bearer first-key")
    assert status == 200 and headers["access-control-allow-origin"] == "https://page.example"
    status, headers, _ = ask(locked, origin="https://evil.example", authorization="Bearer first-key")
    assert status == 403 and "access-control-allow-origin" not in headers


def test_other_addresses_need_a_key_or_an_explicit_word() -> None:
    for host in ("0.0.0.0", "192.168.1.5", "::", "machine.example"):
        with pytest.raises(UserError, match="--api-key KEY, or --unsafe-bind"):
            Settings(host=host)
        assert not Settings(host=host, api_keys=("k",)).loopback and Settings(host=host, unsafe_bind=True)
    assert all(Settings(host=host).loopback for host in ("127.0.0.1", "127.8.8.8", "::1", "localhost"))


@pytest.mark.parametrize(
    "wrong", [{"api_keys": ("",)}, {"api_keys": ("schlüssel",)}, {"port": 70_000}, {"slots": 0}, {"drain_seconds": -1}]
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError):
        Settings(**wrong)


def test_the_log_tells_what_was_asked_without_prompts_answers_or_keys(locked: Running) -> None:
    client = openai.OpenAI(base_url=f"{locked.url}/v1", api_key="second-key", max_retries=0)
    answer = client.chat.completions.create(**ASK)
    ask(locked, "/v1/models?api_key=first-key", authorization="Bearer wrong-key")
    lines = [json.loads(line) for line in locked.log.splitlines()]
    told = [line for line in lines if line["path"] == "/v1/chat/completions" and line["status"] == 200][-1]
    assert (told["model"], told["key"], told["client"], told["method"]) == ("tiny", 1, "127.0.0.1", "POST")
    assert told["prompt_tokens"] == answer.usage.prompt_tokens and told["completion_tokens"] == answer.usage.completion_tokens
    assert told["seconds"] >= 0 and told["time"].endswith("Z") and told["first_token_s"] >= 0
    for secret in ("secret cat", "first-key", "second-key", "wrong-key"):
        assert secret not in locked.log


def test_metrics_are_prometheus(server: Running, client: openai.OpenAI) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    before = figures(ask(server, "/metrics")[2], text_string_to_metric_families)
    answer = client.chat.completions.create(model="tiny", messages=ASK["messages"], max_tokens=6, extra_body={"ignore_eos": True})
    after = figures(ask(server, "/metrics")[2], text_string_to_metric_families)

    def grown(name: str, **labels: str) -> float:
        key = (name, *sorted(labels.items()))
        return after.get(key, 0) - before.get(key, 0)

    assert grown("kwen_generated_tokens_total", model="tiny") == answer.usage.completion_tokens == 6
    assert grown("kwen_prompt_tokens_total", model="tiny") == answer.usage.prompt_tokens
    assert grown("kwen_time_to_first_token_seconds_count", model="tiny") == 1
    assert grown("kwen_http_requests_total", path="/v1/chat/completions", status="200") == 1
    for name in ("waiting", "running"):
        assert after[f"kwen_requests_{name}", ("model", "tiny")] == 0
    assert after["kwen_slots", ("model", "tiny")] == 16 and after["kwen_tokens_per_second", ("model", "tiny")] > 0
    room = 16 * 1024 // BLOCK
    assert before["kwen_cache_blocks", ("model", "tiny")] == after["kwen_cache_blocks", ("model", "tiny")] >= room
    ask(server, "/made/up/by/a/client")
    assert "/made/up" not in ask(server, "/metrics")[2]


def figures(text: str, parse: Any) -> dict[Any, float]:
    """Sample name and labels -> value."""
    return {(sample.name, *sorted(sample.labels.items())): sample.value for family in parse(text) for sample in family.samples}
