"""What must never be recorded, and what must survive."""

from __future__ import annotations

import pytest

from service.telemetry.redact import MASK, redact_text, redact_value


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Authorization: Bearer abcdef0123456789", "abcdef0123456789"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.sflKxwRJ", "eyJzdWIi"),
        ("password=hunter2, user=me", "hunter2"),
        ('{"api_key": "k-123", "x": 1}', "k-123"),
        ("postgresql+asyncpg://signalbox:s3cret@127.0.0.1/db", "s3cret"),
        ("mail to jane.doe@example.org failed", "jane.doe"),
        ("card 4111 1111 1111 1111 declined", "1111 1111"),
        ("[SQL: INSERT …]\n[parameters: ('Jane', '42')]", "Jane"),
        ("Key (email)=(jane@x.org) DETAIL:  Key (name)=(Jane) exists", "Jane"),
    ],
)
def test_secrets_go(text: str, secret: str) -> None:
    assert secret not in redact_text(text)
    assert "[redacted]" in redact_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "GET /v1/products/{product_id} 200",
        "4bf92f3577b34da6a3ce929d0e0e4736",
        "018f6e2a-7d7c-7c2e-8f6e-2a7d7c7c2e8f",
        "connection to 127.0.0.1:15432 refused after 1.5 s",
        "SELECT id FROM products WHERE id = $1::BIGINT",
        "2026-11-23T08:06:20.471587Z",
    ],
)
def test_ordinary_text_stays(text: str) -> None:
    assert redact_text(text) == text


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("auth.token", "short", MASK),
        ("userEmail", "x", MASK),
        ("customer.name", "Jane", MASK),
        ("cvc", 123, MASK),
        ("card", 4111111111111111, MASK),
        ("to", ["jane@example.org", "x"], [MASK, "x"]),
        ("body", {"password": "hunter2", "n": [1, {"api-key": "k"}]}, {"password": MASK, "n": [1, {"api-key": MASK}]}),
        ("note", ValueError("password=hunter2"), f"password={MASK}"),
        ("service.name", "api", "api"),
        ("server.address", "127.0.0.1", "127.0.0.1"),
        ("at_ns", 1795475802345524266, 1795475802345524266),
        ("tokens_left", 5, 5),
        ("password", None, None),
        ("share", 0.5, 0.5),
    ],
)
def test_a_value_is_judged_by_its_key_and_by_what_it_holds(key: str, value: object, told: object) -> None:
    assert redact_value(key, value) == told
