"""`http.request`: a call to the world outside, at least once, under a key that stays the same."""

from dataclasses import replace
from typing import ClassVar

from headrace.engine.run import Run
from headrace.engine.steps import http_call
from headrace.engine.steps.base import AwaitingStep, Outputs, Perform, checked
from headrace.engine.steps.http_inputs import HttpInputs, pairs
from headrace.engine.steps.http_masks import credentials, masked
from headrace.engine.web.redaction import Redaction


class HttpRequestStep(AwaitingStep):
    """Sends one HTTP request and keeps its answer.

    Up to 5 redirects are followed, each checked like the first; another origin gets no credentials. What `auth`, the
    URL and headers carry as credentials is masked in outputs as well, should the other side echo it.
    """

    use = "http.request"
    inputs = HttpInputs
    outputs: ClassVar[dict[str, str]] = http_call.OUTPUTS
    effect = "at_least_once"
    retry = http_call.RETRY
    errors: ClassVar[dict[str, str]] = {
        **http_call.ERRORS,
        "unexpected_answer": "the answer's JSON is not what `expect.json` says. Not retried",
        "bad_redirect": "a redirect leads to something that is no URL of http or https. Not retried",
        "too_many_redirects": "more than 5 redirects. Not retried",
        "oauth_failed": "the endpoint of `auth.token_url` gave no token. Retried if 5xx, 408, 425 or 429",
    }
    example = """
- id: page
  use: http.request
  with:
    url: https://ops.example.com/api/pages
    method: POST
    headers: {X-Team: "{{ trigger.row.carrier }}"}
    auth: {type: bearer, token: "{{ secrets.PAGER_TOKEN }}"}
    json: {text: "Flight {{ trigger.row.flight }} is {{ trigger.row.dep_delay }} minutes late"}
    expect: {status: 2xx, json: {path: accepted, equals: true}}
"""

    def stored(self, rendered: Outputs) -> Outputs:
        """Without credentials."""
        return masked(rendered)

    def bind(self, rendered: Outputs) -> Perform:
        """Validates the inputs and writes the request, all but its key."""
        inputs = checked(HttpInputs, rendered)
        call = replace(
            http_call.written(
                inputs.url,
                method=inputs.method,
                query=pairs(inputs.query),
                headers=inputs.headers,
                body=inputs.body,
                auth=inputs.auth,
                redaction=Redaction(credentials(rendered)),
            ),
            timeout=inputs.timeout,
            expect=inputs.expect,
        )

        async def perform(run: Run) -> Outputs:
            return await http_call.perform(call, run)

        return perform
