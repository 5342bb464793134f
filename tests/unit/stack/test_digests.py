"""Digests are written behind tags, everywhere at once, and taken away again."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

import pytest
import yaml

from stack.backends.pins import load_pins
from stack.container.digests import DIGEST, FILES, ROOT, images, main, pinned, without


def made_up(image: str) -> str:
    return f"sha256:{hashlib.sha256(image.encode()).hexdigest()}"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    main(["--clear"], tmp_path)
    return tmp_path


def in_compose(root: Path) -> dict[str, str]:
    services = yaml.safe_load((root / "docker-compose.yml").read_text())["services"]
    return {name: one["image"] for name, one in services.items() if not one["image"].startswith("signalbox:")}


def test_every_image_of_others_gets_its_digest_in_every_file_that_names_it(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = in_compose(checkout)
    assert main(["--write"], checkout, made_up) == 0
    assert in_compose(checkout) == {name: f"{image}@{made_up(image)}" for name, image in before.items()}
    pins = load_pins(checkout / "stack" / "backends" / "pins.toml")
    used = set(in_compose(checkout).values())
    assert {pin.image for pin in pins.values()} <= used
    for name in FILES:
        text = (checkout / name).read_text()
        for line in re.findall(r"^(?: *image:|FROM|image =) .*$", text, re.M):
            assert "signalbox:" in line or re.search(DIGEST, line), f"{name}: {line}"
    assert set(capsys.readouterr().out.split()) >= used


def test_they_are_taken_away_again_and_nothing_else_is_touched(checkout: Path) -> None:
    before = {name: (checkout / name).read_text() for name in FILES}
    main(["--write"], checkout, made_up)
    assert before != {name: (checkout / name).read_text() for name in FILES}
    main(["--clear"], checkout)
    assert before == {name: (checkout / name).read_text() for name in FILES}


def test_a_digest_is_replaced_by_the_next_ones(checkout: Path) -> None:
    main(["--write"], checkout, lambda image: made_up(f"old {image}"))
    main(["--write"], checkout, made_up)
    image = in_compose(checkout)["gateway"]
    assert image == f"{without(image)}@{made_up(without(image))}"


def test_nothing_is_written_when_an_image_cannot_be_had(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (checkout / "docker-compose.yml").read_text()
    assert main(["--write"], checkout, lambda image: None if "caddy" in image else made_up(image)) == 1
    assert (checkout / "docker-compose.yml").read_text() == before
    assert re.search(r"^caddy:\S+ cannot be pulled$", capsys.readouterr().out, re.M)


def test_our_own_image_and_templates_are_left_out() -> None:
    text = 'image: signalbox:0.1.0\n    image: a/b:1.2\nimage = "c:v{version}"\nFROM d:3 AS e\nFROM debian AS f\n'
    assert images([text]) == ["a/b:1.2", "d:3"]
    assert pinned(text, {"signalbox": "x"}) == text
