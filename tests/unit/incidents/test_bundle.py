"""A bundle is read back as it was written; one that is broken or hostile is refused in one line before it is used."""

from __future__ import annotations

import hashlib
import json
import stat
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from incidents.bundle import form
from incidents.bundle.form import Exemplar, Exemplars, Line, Manifest, Series, Trace, identify
from incidents.bundle.read import Bundle, BundleError
from incidents.bundle.write import BundleWriter, Full
from incidents.cli import app

START_MS = (int(time.time()) - 3_600) * 1000
END_MS = START_MS + 60_000
SERIES = Series(labels={"__name__": "up", "job": "api"}, times_ms=[START_MS, START_MS + 5_000], values=["1", "NaN"])
EXEMPLARS = Exemplars(
    series={"__name__": "x_bucket", "le": "1.0"},
    exemplars=[Exemplar(at_ms=START_MS, value="0.5", labels={"trace_id": "a" * 32})],
)
LINE = Line(at_ns=START_MS * 10**6 + 1, labels={"service_name": "api"}, metadata={"trace_id": "a" * 32}, text="hallo ☃")
TRACE = Trace.model_validate(
    {
        "resourceSpans": [
            {
                "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "api"}}]},
                "scopeSpans": [
                    {
                        "spans": [
                            {
                                "traceId": "a" * 32,
                                "spanId": "b" * 16,
                                "name": "GET",
                                "kind": 2,
                                "startTimeUnixNano": str(START_MS * 10**6),
                                "endTimeUnixNano": str(START_MS * 10**6 + 5_000_000),
                            }
                        ]
                    }
                ],
            }
        ]
    }
)
TOLD: dict[str, Any] = {"captured_at": "now", "tool": "test", "sources": {}, "cut": [], "redacted": {}}


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    path = tmp_path / "whole.zip"
    with BundleWriter(path, 10**6) as writer:
        for name, record in zip(form.PARTS, (SERIES, EXEMPLARS, LINE, TRACE), strict=True):
            with writer.part(name) as part:
                part.add(record, records=1)
        writer.finish(START_MS, END_MS, **TOLD)
    return path


def forge(
    path: Path, lines: dict[str, bytes], change: Callable[[dict[str, Any]], None] = lambda manifest: None
) -> Path:
    """A bundle whose hashes and id are right, whatever its parts hold; then `change` is made to the manifest."""
    parts = {
        name: form.Part(bytes=len(text), sha256=hashlib.sha256(text).hexdigest(), records=text.count(b"\n"), counts={})
        for name, text in lines.items()
    }
    manifest = Manifest(
        format=form.FORMAT,
        version=form.VERSION,
        id=identify(parts, START_MS, END_MS),
        start_ms=START_MS,
        end_ms=END_MS,
        parts=parts,
        **TOLD,
    ).model_dump(mode="json")
    change(manifest)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, text in lines.items():
            file.writestr(name, text)
        file.writestr(form.MANIFEST, json.dumps(manifest))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(BundleError) as refused, Bundle(path) as bundle:
        bundle.check()
    assert "\n" not in str(refused.value)
    return str(refused.value)


def record(model: Any, **changed: Any) -> bytes:
    return json.dumps({**model.model_dump(mode="json", exclude_none=True), **changed}).encode() + b"\n"


def test_what_was_written_is_read(whole: Path) -> None:
    with Bundle(whole) as bundle:
        bundle.check()
        assert list(bundle.series()) == [SERIES]
        assert list(bundle.exemplars()) == [EXEMPLARS]
        assert list(bundle.lines()) == [LINE]
        assert list(bundle.traces()) == [TRACE]


def test_only_its_owner_may_read_it(whole: Path) -> None:
    assert stat.S_IMODE(whole.stat().st_mode) == 0o600


def test_the_same_content_has_the_same_id(whole: Path, tmp_path: Path) -> None:
    lines = {}
    with Bundle(whole) as bundle, zipfile.ZipFile(whole) as file:
        lines = {name: file.read(name) for name in form.PARTS}
        with Bundle(forge(tmp_path / "again.zip", lines)) as again:
            assert again.manifest.id == bundle.manifest.id


def test_an_interrupted_capture_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), BundleWriter(tmp_path / "x.zip", 10**6) as writer, writer.part(form.LOGS):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_is_full_says_so_and_the_rest_is_kept(tmp_path: Path) -> None:
    with BundleWriter(tmp_path / "x.zip", 10**6) as writer:
        with writer.part(form.LOGS, lines=2) as part:
            part.add(LINE, lines=1)
            part.add(LINE, lines=1)
            with pytest.raises(Full, match="2 lines"):
                part.add(LINE, lines=1)
        writer.finish(START_MS, END_MS, **TOLD)
    with Bundle(tmp_path / "x.zip") as bundle:
        bundle.check()
        assert len(list(bundle.lines())) == 2


def test_a_truncated_bundle_is_refused(whole: Path) -> None:
    whole.write_bytes(whole.read_bytes()[:-100])
    assert "truncated" in refusal(whole)


@pytest.mark.parametrize("content", [b"", b"PK", b"hello", b"\x1f\x8b\x08" + b"\0" * 50])
def test_what_is_no_bundle_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.zip").write_bytes(content)
    assert "no bundle" in refusal(tmp_path / "x.zip")


def test_a_folder_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    assert "no file" in refusal(tmp_path)
    assert "cannot be read" in refusal(tmp_path / "missing.zip")


def test_one_flipped_byte_is_refused(whole: Path) -> None:
    content = bytearray(whole.read_bytes())
    content[80] ^= 0xFF  # inside the packed samples
    whole.write_bytes(content)
    assert "damaged" in refusal(whole)


def test_a_wrong_hash_is_refused(tmp_path: Path) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["parts"][form.LOGS]["sha256"] = "0" * 64
        manifest["id"] = identify({form.LOGS: form.Part(**manifest["parts"][form.LOGS])}, START_MS, END_MS)

    assert "not what its hash says" in refusal(forge(tmp_path / "x.zip", {form.LOGS: record(LINE)}, change))


def test_an_id_that_does_not_follow_from_the_parts_is_refused(tmp_path: Path) -> None:
    path = forge(tmp_path / "x.zip", {form.LOGS: record(LINE)}, lambda manifest: manifest.update(id="0" * 12))
    assert "its id" in refusal(path)


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../b", "C:evil", "\\\\host\\share"])
def test_a_name_that_leads_out_is_refused(whole: Path, name: str) -> None:
    with zipfile.ZipFile(whole, "a") as file:
        file.writestr(name, "x")
    assert "leads out of it" in refusal(whole)


def test_a_symbolic_link_is_refused(whole: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.create_system = 3
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(whole, "a") as file:
        file.writestr(link, "/etc/passwd")
    assert "symbolic link" in refusal(whole)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["more.jsonl", form.LOGS])
def test_a_part_that_is_unknown_or_there_twice_is_refused(whole: Path, name: str) -> None:
    with zipfile.ZipFile(whole, "a") as file:
        file.writestr(name, "x")
    assert "does not belong" in refusal(whole)


def test_a_bomb_that_admits_its_size_is_refused_unopened(whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "MAX_PART_BYTES", 10)
    assert "unpacks to more than" in refusal(whole)


def test_a_bomb_of_one_endless_line_is_refused_with_little_memory(tmp_path: Path) -> None:
    """64 MiB of zeros in 64 KiB: never more than one record of 16 MiB is unpacked."""
    path = forge(tmp_path / "x.zip", {form.LOGS: b"0" * (64 * 1024**2)})
    assert path.stat().st_size < 100_000
    assert "line 1 of logs.jsonl is too long" in refusal(path)


def test_a_bomb_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["parts"][form.LOGS].update(bytes=100)
        manifest["id"] = identify({form.LOGS: form.Part(**manifest["parts"][form.LOGS])}, START_MS, END_MS)

    path = forge(tmp_path / "x.zip", {form.LOGS: record(LINE) * 10_000}, change)
    assert "more than its manifest says" in refusal(path)


def test_a_bomb_in_the_manifest_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(form.MANIFEST, b" " * (2 * 1024**2))
    assert "unpacks to more than 1 MiB" in refusal(tmp_path / "x.zip")


@pytest.mark.parametrize(
    "values",
    [["1e999", "1"], ["9" * 100, "1"], ["one", "1"], ["1"], [1, 2]],
    ids=["huge", "long", "word", "few", "type"],
)
def test_a_number_that_no_sample_can_hold_is_refused(tmp_path: Path, values: list[Any]) -> None:
    path = forge(tmp_path / "x.zip", {form.METRICS: record(SERIES, values=values)})
    assert refusal(path).startswith(f"{path} is refused: metrics.jsonl")


@pytest.mark.parametrize("at", ["9" * 400, "1" + "0" * 5_000, "-1", "1e300", "true"])
def test_a_time_that_is_no_time_is_refused(tmp_path: Path, at: str) -> None:
    text = record(LINE).replace(str(LINE.at_ns).encode(), at.encode())
    assert "logs.jsonl" in refusal(forge(tmp_path / "x.zip", {form.LOGS: text}))


@pytest.mark.parametrize(
    "at_ns",
    [0, 1, (START_MS - 1) * 10**6, (END_MS + 1) * 10**6, 2**62],
    ids=["zero", "one", "just before", "just after", "absurd"],
)
def test_a_time_outside_the_slice_is_refused(tmp_path: Path, at_ns: int) -> None:
    path = forge(tmp_path / "x.zip", {form.LOGS: record(LINE, at_ns=at_ns)})
    assert "times outside the slice" in refusal(path)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"start_ms": 0}, "absurd"),
        ({"start_ms": END_MS}, "absurd"),
        ({"end_ms": START_MS + 8 * 86_400_000}, "longer than 7 days"),
        ({"start_ms": START_MS + 10**9, "end_ms": END_MS + 10**9}, "from the future"),
        ({"start_ms": 10**30}, "start_ms"),
        ({"more": 1}, "more"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(tmp_path: Path, changed: dict[str, Any], why: str) -> None:
    path = forge(tmp_path / "x.zip", {form.LOGS: record(LINE)}, lambda manifest: manifest.update(changed))
    assert why in refusal(path)


@pytest.mark.parametrize("version", [0, 2, "1", None, 10**40])
def test_an_unknown_version_of_the_format_is_refused_with_a_remedy(tmp_path: Path, version: Any) -> None:
    path = forge(tmp_path / "x.zip", {form.LOGS: record(LINE)}, lambda manifest: manifest.update(version=version))
    assert "Use the program that made it" in refusal(path)


@pytest.mark.parametrize("manifest", [b"", b"[]", b"{}", b"null", b"[" * 100_000, b'{"format": "other", "version": 1}'])
def test_a_manifest_that_is_none_is_refused(tmp_path: Path, manifest: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(form.MANIFEST, manifest)
    assert refusal(tmp_path / "x.zip")


def test_a_part_that_the_manifest_does_not_know_is_refused(tmp_path: Path) -> None:
    path = forge(tmp_path / "x.zip", {form.LOGS: record(LINE)}, lambda manifest: manifest.update(parts={}))
    assert "do not agree" in refusal(path)


@pytest.mark.parametrize(
    "text", [b"[" * 100_000 + b"\n", b'{"at_ns":\n', b"\xff\xfe\n", b"{}\n", b'{"at_ns": 1, "x": 2}\n'], ids=range(5)
)
def test_a_record_that_is_none_is_refused(tmp_path: Path, text: bytes) -> None:
    assert "logs.jsonl" in refusal(forge(tmp_path / "x.zip", {form.LOGS: text}))


def test_the_command_refuses_in_one_line_before_anything_is_loaded(tmp_path: Path) -> None:
    """No backend listens at these addresses: it never comes so far."""
    state = tmp_path / "state.json"
    state.write_text(json.dumps({"urls": dict.fromkeys(("prometheus", "loki", "jaeger"), "http://127.0.0.1:1")}))
    path = forge(tmp_path / "x.zip", {form.LOGS: record(LINE), form.METRICS: b"{}\n"})
    done = CliRunner().invoke(app, ["replay", str(path), "--endpoints", str(state)])
    assert done.exit_code == 1
    assert done.stderr.startswith("signalbox: ")
    assert done.stderr.endswith("Nothing was loaded.\n")
    assert done.stderr.count("\n") == 1
