"""The client scenarios of @modelcontextprotocol/conformance, run against `kwen.agent.mcp.connect`.

    python benchmarks/mcp_conformance.py [--json benchmarks/results/mcp_conformance.json] [--scenario NAME]

npx fetches the suite and the Node.js it needs (>= 22). For each scenario the suite starts a server, runs this file as
`mcp_conformance.py client URL` and judges what the server saw. The client is what a user would write: connect, call each tool
once. For the auth/ scenarios it passes one of the official client's OAuth providers as `auth=`; where a person would open the
login page in a browser, it requests the page itself. A scenario passes if none of its checks failed; warnings are counted.
"""

import argparse
import asyncio
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

SUITE, NODE = "@modelcontextprotocol/conformance@0.1.16", "node@22"
NPX = ["npx", "-y", "-p", NODE, "-p", SUITE, "conformance"]
METADATA_URL = "https://conformance-test.local/client-metadata.json"  # the suite's name for a client identified by its URL
REDIRECT = "http://localhost:3000/callback"


class Storage:
    """Tokens and registration in memory: mcp.client.auth.TokenStorage."""

    def __init__(self, registered: Any = None) -> None:
        self.tokens, self.registered = None, registered

    async def get_tokens(self) -> Any:
        return self.tokens

    async def set_tokens(self, tokens: Any) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> Any:
        return self.registered

    async def set_client_info(self, client_info: Any) -> None:
        self.registered = client_info


def provider(url: str, scenario: str, context: dict[str, Any]) -> Any:
    """The official client's OAuth provider for a scenario."""
    import httpx2
    from mcp.client.auth import AuthorizationCodeResult, OAuthClientProvider
    from mcp.client.auth.extensions.client_credentials import (
        ClientCredentialsOAuthProvider,
        PrivateKeyJWTOAuthProvider,
        SignedJWTParameters,
    )
    from mcp.shared.auth import OAuthClientInformationFull, OAuthClientMetadata

    if scenario == "auth/client-credentials-basic":
        return ClientCredentialsOAuthProvider(url, Storage(), context["client_id"], context["client_secret"])
    if scenario == "auth/client-credentials-jwt":
        key = SignedJWTParameters(
            issuer=context["client_id"],
            subject=context["client_id"],
            signing_key=context["private_key_pem"],
            signing_algorithm=context["signing_algorithm"],
        )
        return PrivateKeyJWTOAuthProvider(url, Storage(), context["client_id"], key.create_assertion_provider())
    answers: asyncio.Queue[AuthorizationCodeResult] = asyncio.Queue()

    async def open_page(page: str) -> None:
        async with httpx2.AsyncClient() as browser:
            response = await browser.get(page, follow_redirects=False)
        query = {name: values[0] for name, values in parse_qs(urlsplit(response.headers["location"]).query).items()}
        answers.put_nowait(AuthorizationCodeResult(code=query["code"], state=query.get("state"), iss=query.get("iss")))

    registered = None
    if "client_id" in context:
        registered = OAuthClientInformationFull(
            client_id=context["client_id"],
            client_secret=context["client_secret"],
            redirect_uris=[REDIRECT],
            token_endpoint_auth_method="client_secret_basic",
        )
    metadata = OAuthClientMetadata(client_name="kwen", redirect_uris=[REDIRECT])
    return OAuthClientProvider(url, metadata, Storage(registered), open_page, answers.get, client_metadata_url=METADATA_URL)


def client(url: str) -> int:
    """What the suite runs: connect, call each tool once with the numbers 1 and 2, close."""
    from kwen.agent.mcp import connect
    from kwen.errors import UserError

    scenario = os.environ["MCP_CONFORMANCE_SCENARIO"]
    context = json.loads(os.environ.get("MCP_CONFORMANCE_CONTEXT", "{}"))
    auth = provider(url, scenario, context) if scenario.startswith("auth/") else None
    try:
        with connect(url, auth=auth, timeout_s=20, start_timeout_s=20) as tools:
            results = [tool.run({"a": 1, "b": 2} if "a" in tool.parameters["properties"] else {}) for tool in tools]
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for result in results:
        print(result.text)
    return int(any(result.error for result in results))


def scenarios() -> list[str]:
    """The names of the suite's client scenarios."""
    listed = subprocess.run([*NPX, "list", "--client"], capture_output=True, text=True, timeout=300)
    names = re.findall(r"^\s+- (\S+)", listed.stdout, re.MULTILINE)
    if not names:
        sys.exit(f"the suite does not list its scenarios: {listed.stderr.strip()[-300:]}")
    return names


def judge(scenario: str) -> dict[str, Any]:
    """Run one scenario: how many of its checks passed, and the first that did not."""
    command = shlex.join([sys.executable, __file__, "client"])
    with tempfile.TemporaryDirectory() as out:
        arguments = ["client", "--command", command, "--scenario", scenario, "--output-dir", out, "--timeout", "60000"]
        ran = subprocess.run([*NPX, *arguments], capture_output=True, text=True, timeout=200)
        found = list(Path(out).rglob("checks.json"))
        checks = json.loads(found[0].read_text()) if found else []
    of = {status: [check for check in checks if check["status"] == status] for status in ("SUCCESS", "FAILURE", "WARNING")}
    wrong = of["FAILURE"] + of["WARNING"]
    why = f"{wrong[0]['id']}: {wrong[0].get('errorMessage') or wrong[0]['description']}" if wrong else ""
    if not checks:
        why = f"no verdict: {(ran.stderr or ran.stdout).strip()[-200:]}"
    counts = {"passed": len(of["SUCCESS"]), "failed": len(of["FAILURE"]), "warned": len(of["WARNING"])}
    return {"scenario": scenario, "pass": bool(of["SUCCESS"]) and not of["FAILURE"], **counts, "why": why}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--scenario")
    args = parser.parse_args()
    if shutil.which("npx") is None:
        sys.exit("no npx: install Node.js and npm")
    names = [args.scenario] if args.scenario else scenarios()
    with ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(judge, names))
    for row in rows:
        verdict = "pass" if row["pass"] else "FAIL"
        print(f"{verdict}  {row['scenario']:42} {row['passed']:3} passed, {row['failed']} failed  {row['why'][:110]}")
    passed = sum(row["pass"] for row in rows)
    print(f"{passed} of {len(rows)} scenarios pass")
    if args.json:
        facts = {"date": date.today().isoformat(), "suite": SUITE, "mcp": version("mcp"), "passed": passed, "of": len(rows)}
        args.json.write_text(json.dumps({**facts, "scenarios": rows}, indent=2) + "\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["client"]:
        sys.exit(client(sys.argv[2]))
    main()
