"""Persons and secrets do not get into a bundle, and what belongs together still does."""

from __future__ import annotations

from pathlib import Path

import pytest

from incidents.bundle.form import AnyValue, Attribute
from incidents.capture.redact import Redactor, RulesError, parse_rules
from incidents.capture.redaction import redact_trace
from tests.unit.incidents.test_bundle import TRACE

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"


@pytest.fixture
def redactor() -> Redactor:
    return Redactor(parse_rules(None), b"key")


@pytest.mark.parametrize(
    ("text", "secret", "kind"),
    [
        ("mail to ann.lee+x@shop.example.com failed", "ann.lee+x@shop.example.com", "email"),
        (f"got {JWT} from them", JWT, "jwt"),
        ("Authorization: Bearer abcdef0123456789", "abcdef0123456789", "token"),
        ("basic dXNlcjpwYXNz was refused", "dXNlcjpwYXNz", "token"),
        ("card 4111 1111 1111 1111 declined", "4111 1111 1111 1111", "card"),
        ("card 5500-0000-0000-0004", "5500-0000-0000-0004", "card"),
        ("from 203.0.113.9:5432", "203.0.113.9", "ip"),
        ("peer 2001:db8::17 went away", "2001:db8::17", "ip"),
        ("GET /v1/orders?email=x&page=2 HTTP/1.1", "email=x&page=2", "query"),
        ("postgres://me:hunter2@db/shop", "me:hunter2", "login"),
        ('{"password": "hunter2"}', "hunter2", "secret"),
        ("api_key=xyz123; done", "xyz123", "secret"),
        ('{"user_id": 4711}', "4711", "user"),
        ("GET /v1/users/4711 failed", "4711", "user"),
    ],
)
def test_secrets_and_persons_become_pseudonyms(redactor: Redactor, text: str, secret: str, kind: str) -> None:
    found = redactor.text(text)
    assert secret not in found
    assert f"{kind}-" in found
    assert redactor.replaced[kind] == 1


@pytest.mark.parametrize(
    "text",
    [
        "listening on 127.0.0.1:8080 and [::1]:80 and 0.0.0.0",
        "took 12:34:56 hours, version 3.16.0",
        "GET /v1/users/{user_id} 200",
        "4111 1111 1111 1112 is no card number",
        "span 0af7651916cd43dd8448eb211c80319c is kept",
        "user_id: missing",
        "what? no query=here",
    ],
)
def test_what_is_neither_stays_as_it_is(redactor: Redactor, text: str) -> None:
    assert redactor.text(text) == text
    assert not redactor.replaced


def test_one_value_has_one_pseudonym_and_two_have_two(redactor: Redactor) -> None:
    first, again, other = (redactor.text(text) for text in ("a@b.example", "a@b.example", "c@b.example"))
    assert first == again != other


def test_pseudonyms_depend_on_the_key() -> None:
    rules = parse_rules(None)
    assert Redactor(rules, b"one").text("a@b.example") != Redactor(rules, b"two").text("a@b.example")
    assert Redactor(rules, b"one").text("a@b.example") == Redactor(rules, b"one").text("a@b.example")


def test_what_is_redacted_already_is_not_redacted_again(redactor: Redactor) -> None:
    once = redactor.text("token=abc, /v1/users/12, from 203.0.113.9")
    assert redactor.text(once) == once


def test_a_key_may_say_that_its_value_is_a_person(redactor: Redactor) -> None:
    labels = redactor.labels(
        {"user.id": "ann", "customer_name": "Lee", "le": "0.5", "trace_id": "1" * 32, "job": "api"}
    )
    assert labels["user.id"].startswith("user-")
    assert labels["customer_name"].startswith("user-")
    assert {key: labels[key] for key in ("le", "trace_id", "job")} == {"le": "0.5", "trace_id": "1" * 32, "job": "api"}


def test_a_number_in_a_span_may_be_a_person_too(redactor: Redactor) -> None:
    trace = TRACE.model_copy(deep=True)
    attributes = trace.spans()[0].attributes
    attributes += [
        Attribute(key="user.id", value=AnyValue(intValue="4711")),
        Attribute(key="n", value=AnyValue(intValue="4711")),
    ]
    person, number = redact_trace(trace, redactor).spans()[0].attributes
    assert person.value.stringValue is not None
    assert person.value.stringValue.startswith("user-")
    assert number.value.intValue == "4711"
    assert redact_trace(trace, redactor).trace_id == trace.trace_id


def test_ones_own_rules_replace_add_switch_off_and_keep(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("patterns: {order: 'ORD-\\d{6}', ip: ''}\nkeys: {tenant: 'tenant$'}\nkeep: ['ops@.*']\n")
    redactor = Redactor(parse_rules(file), b"key")
    found = redactor.text("ORD-123456 of 203.0.113.9 by ops@shop.example and ann@shop.example")
    assert "203.0.113.9 by ops@shop.example" in found
    assert dict(redactor.replaced) == {"order": 1, "email": 1}
    assert redactor.labels({"tenant": "acme"})["tenant"].startswith("tenant-")


@pytest.mark.parametrize("text", ["patterns: {x: '('}", "more: 1", "[1]", "keys: 5", ":::", "\0"])
def test_rules_that_make_no_sense_are_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(text)
    with pytest.raises(RulesError) as refused:
        parse_rules(file)
    assert str(file) in str(refused.value)
