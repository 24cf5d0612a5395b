"""The parts of the HTTP client that do no I/O: reading answers, hiding credentials, signing, paths, multipart."""

from email import message_from_bytes
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from headrace.engine.steps.http_masks import masked
from headrace.engine.steps.webhook import signatures
from headrace.engine.web import answers, jsonpaths, multipart
from headrace.engine.web.messages import HttpAnswer
from headrace.engine.web.redaction import Redaction
from headrace.engine.web.urls import read_url

pytestmark = pytest.mark.unit


def data(body: bytes, content_type: str | None = None, *, truncated: bool = False) -> Any:
    headers = {} if content_type is None else {"content-type": content_type}
    return answers.outputs(HttpAnswer(200, headers, body, truncated))["data"]


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("application/json", b'{"a": 1}', {"a": 1}),
        ("application/problem+json; charset=utf-8", b"[]", []),
        ("application/json", b"", None),
        ("application/json", b"<html>", "<html>"),
        ("application/x-www-form-urlencoded", b"a=1&b=x+y&b=%C3%BC&c=", {"a": "1", "b": ["x y", "ü"], "c": ""}),
        ("text/plain; charset=iso-8859-1", b"\xfc", "ü"),
        ("text/csv", b"a,b", "a,b"),
        ("image/svg+xml", b"<svg/>", "<svg/>"),
        ("application/xml", b"<a/>", "<a/>"),
        ("application/octet-stream; charset=utf-8", b"a", "a"),
        ("image/png", b"", ""),
        (None, "grüße".encode(), "grüße"),
    ],
)
def test_an_answer_is_read_by_its_type(content_type: str | None, body: bytes, expected: Any) -> None:
    assert data(body, content_type) == expected


@pytest.mark.parametrize(
    ("content_type", "body"), [("application/pdf", b"%PDF"), (None, b"\xff\xfe"), (None, b"a\0b"), ("video/mp4", b"x")]
)
def test_what_is_no_text_is_base64_with_a_marker(content_type: str | None, body: bytes) -> None:
    found = data(body, content_type)
    assert (found["_binary"], found["bytes"]) == (True, len(body))


def test_a_cut_answer_stays_what_it_was_even_where_it_was_cut_inside_of_a_character() -> None:
    assert data("grü".encode()[:-1], truncated=True) == "gr\ufffd"
    assert data(b'{"a": ', "application/json", truncated=True) == '{"a": '
    assert data(b"a=1&b=", "application/x-www-form-urlencoded", truncated=True) == "a=1&b="


SECRETS = st.text(st.characters(codec="utf-8", exclude_characters="*"), min_size=8, max_size=30)


@given(secret=SECRETS, before=st.text(max_size=10), after=st.text(max_size=10))
def test_a_credential_is_found_in_any_text_and_name(secret: str, before: str, after: str) -> None:
    text = f"{before}{secret}{after}"
    found = Redaction([secret]).value({"deep": [{"here": text}, {text: 1}]})
    assert secret not in str(found)
    assert "***" in str(found)


@given(secret=SECRETS)
def test_text_without_the_credential_stays_as_it_is(secret: str) -> None:
    kept = "an answer"
    assume(secret not in kept)
    assert Redaction([secret]).value({"text": kept, "n": [1, None, True]}) == {"text": kept, "n": [1, None, True]}


@pytest.mark.parametrize(
    ("secret", "text", "expected"),
    [
        ("s3cr3t", "is s3cr3t.", "is ***."),
        ("late", "translated late", "translated ***"),
        ("abc", "abc", "abc"),
        ("a/b+c=d&e", "x=a%2Fb%2Bc%3Dd%26e", "x=***"),
        ("a b c d e", "x=a+b+c+d+e", "x=***"),
        ("a/b/c/d/e", '"a\\/b\\/c\\/d\\/e"', '"***"'),
    ],
)
def test_short_credentials_are_masked_as_words_and_encoded_ones_too(secret: str, text: str, expected: str) -> None:
    assert Redaction([secret]).text(text) == expected


def test_of_two_credentials_that_begin_alike_none_leaves_a_rest() -> None:
    assert Redaction(["credential", "credential-longer"]).text("credential-longer, credential") == "***, ***"


def test_what_is_nested_without_end_is_no_trouble() -> None:
    deep: Any = "some-credential"
    for _ in range(5000):
        deep = [deep]
    Redaction(["some-credential"]).value(deep)


def test_credentials_of_auth_are_masked_wherever_they_occur_in_the_inputs() -> None:
    inputs = {
        "url": "https://ann:url-password@x.example/url-password/bearer-token",
        "auth": {
            "type": "oauth2",
            "token_url": "https://u:p@x/t",
            "client_id": "desk",
            "client_secret": "bearer-token",
        },
        "text": "bearer-token, Basic YW5uOnVybC1wYXNzd29yZA==",
        "json": {"note": ["bearer-token", 7]},
    }
    assert masked(inputs) == {
        "url": "https://***@x.example/***/***",
        "auth": {"type": "oauth2", "token_url": "https://***@x/t", "client_id": "desk", "client_secret": "***"},
        "text": "***, Basic ***",
        "json": {"note": ["***", 7]},
    }


@pytest.mark.parametrize("auth", ["whole-secret", ["whole-secret"], {"type": 7, "token": ["whole-secret"]}])
def test_credentials_of_the_wrong_kind_are_masked_as_well(auth: Any) -> None:
    inputs = {"auth": auth, "headers": 7, "query": "whole-secret", "url": 1, "text": "is whole-secret"}
    assert "whole-secret" not in repr(masked(inputs))


def test_a_number_as_a_credential_is_one_too() -> None:
    assert masked({"auth": {"type": "bearer", "token": 12345678}, "text": "is 12345678"})["text"] == "is ***"


def test_a_signature_is_that_of_the_specifications_own_libraries() -> None:
    key = bytes.fromhex("31f290f6bf06298aab4f08d43c3f082cf648a362da2da4b0")
    found = signatures([key], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters='"'), max_size=8)


@given(st.lists(NAMES | st.integers(0, 3), max_size=6))
def test_a_path_leads_where_its_names_and_indexes_do(steps: list[Any]) -> None:
    value: Any = "here"
    for step in reversed(steps):
        value = {step: value} if isinstance(step, str) else [None] * step + [value]
    written = "$" + "".join(f'["{step}"]' if isinstance(step, str) else f"[{step}]" for step in steps)
    assert jsonpaths.find(value, jsonpaths.parse(written)) == (True, "here")


@pytest.mark.parametrize("text", ["", ".", "a.", "a..b", "a[", "a[x]", "a b", "[0]a", "a]", "$a b", "a" + ".a" * 64])
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="path"):
        jsonpaths.parse(text)


@given(st.lists(st.tuples(st.text(max_size=20), st.binary(max_size=50)), min_size=1, max_size=5))
def test_no_name_and_no_content_of_a_multipart_body_ends_its_part(parts: list[tuple[str, bytes]]) -> None:
    kind, body = multipart.encode(multipart.Part(name, content, name, "a/b") for name, content in parts)
    boundary = kind.partition("boundary=")[2].encode()
    pieces = body.split(b"--" + boundary)
    assert (pieces[0], pieces[-1]) == (b"", b"--\r\n")
    heads = [piece.removeprefix(b"\r\n").partition(b"\r\n\r\n") for piece in pieces[1:-1]]
    assert [content.removesuffix(b"\r\n") for _, _, content in heads] == [content for _, content in parts]
    assert all(len(message_from_bytes(head).items()) == 2 for head, _, _ in heads)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("ftp://example.org/", "begins with http:// or https://"),
        ("example.org", "begins with http:// or https://"),
        ("http://example.org:99999/", "its port is no number from 1 to 65535"),
        ("http://example.org:22x/", "its port is no number from 1 to 65535"),
        ("http://example.org:0/", "port is no number from 1 to 65535"),
        ("http://[::1/", "its host cannot be read"),
        ("http:///path", "names no host"),
    ],
)
def test_what_is_no_url_is_told_why(url: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        read_url(url)
