"""The OpenAPI document, and what schemathesis makes of it: whatever it sends, no answer is a fault of the server's."""

import contextlib
import http.client
import json
from typing import Any

import pytest
from serving import Running

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is absent: pip install schemathesis")


def document(server: Running) -> dict[str, Any]:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
    connection.request("GET", "/openapi.json")
    text = connection.getresponse().read()
    connection.close()
    return dict(json.loads(text))


def test_the_document_has_every_path_and_the_schemas_of_their_bodies(server: Running) -> None:
    told = document(server)
    assert {"/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/v1/models", "/metrics"} <= set(
        told["paths"]
    )
    body = told["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["$ref"].rpartition("/")[2] in told["components"]["schemas"]
    assert "temperature" in told["components"]["schemas"]["ChatCompletionRequest"]["properties"]


def faults(server: Running, cases: int) -> list[str]:
    """What answered 500 or above, of so many cases spread over all operations."""
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis.errors import Unsatisfiable

    found: list[str] = []
    schema = schemathesis.openapi.from_dict(document(server))
    operations = [result.ok() for result in schema.get_all_operations()]
    posts = [operation for operation in operations if operation.method.upper() == "POST"]
    for operation in operations:
        most = max(1, (cases - 5 * (len(operations) - len(posts))) // len(posts)) if operation in posts else 5
        for mode in schemathesis.GenerationMode:
            strategy = operation.as_strategy(generation_mode=mode)

            @settings(
                max_examples=max(1, most // 2), deadline=None, database=None, derandomize=True, phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            @given(case=strategy)
            def run(case: Any) -> None:
                if isinstance(case.body, dict):
                    # one of the models that exist, and a short answer: else nearly all cases end at the first field
                    case.body = {**case.body, **({"model": "tiny"} if isinstance(case.body.get("model"), str) else {})}
                    for name in ("max_tokens", "max_completion_tokens", "max_output_tokens"):
                        if isinstance(case.body.get(name), int) and case.body[name] > 4:
                            case.body[name] = 4
                answer = case.call(base_url=server.url, timeout=60)
                if answer.status_code >= 500:
                    found.append(f"{case.method} {case.path} {answer.status_code} {str(case.body)[:400]}")

            with contextlib.suppress(Unsatisfiable):  # an operation without parameters cannot be called wrongly
                run()
    return found


def test_a_hundred_made_up_requests_meet_no_fault(server: Running) -> None:
    assert faults(server, 100) == [] and server.idle()


@pytest.mark.slow
def test_five_thousand_made_up_requests_meet_no_fault(server: Running) -> None:
    assert faults(server, 5000) == [] and server.idle()
