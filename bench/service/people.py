"""Who asks: users who have signed in at the development issuer, each with a token and connections of their own."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import httpx

USERS = 50_000  # the seeded data set
PEOPLE = 64


@dataclass(frozen=True)
class Person:
    """A user and the token that says so."""

    user_id: int
    token: str


def sign_people_in(issuer: str, count: int = PEOPLE, seed: int = 1) -> Sequence[Person]:
    """So many different users, the same for the same ``seed``. Raises ``httpx.HTTPError``."""
    people = []
    with httpx.Client(base_url=issuer, timeout=10) as client:
        for user_id in random.Random(seed).sample(range(1, USERS + 1), count):
            answer = client.post("/development/user-token", json={"user_id": user_id}).raise_for_status()
            people.append(Person(user_id, answer.json()["access_token"]))
    return people
