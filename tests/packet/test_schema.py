"""The published schema and the page of fields are those of the models, and every packet is one of them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings

from engram_core.packet import MemoryPacket
from engram_core.sections import SECTIONS
from tests.packet.world import JSON, SCHEMA, VALIDATOR, World, memories, requests

ROOT = Path(__file__).parents[2]


def script() -> Any:
    spec = importlib.util.spec_from_file_location("make_packet_docs", ROOT / "docs/make_packet_docs.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_files_are_what_the_models_say() -> None:
    for place, content in script().pages().items():
        assert (ROOT / place).read_text(encoding="utf-8") == content, f"{place} is stale: make docs writes it anew"


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(SCHEMA.read_text(encoding="utf-8")))


def test_the_page_names_every_section() -> None:
    page = (ROOT / "docs/packet.md").read_text(encoding="utf-8")
    assert all(f"`{section}`" in page for section in SECTIONS)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(memories(), requests())
def test_every_packet_validates(stored: list[tuple[str, JSON]], request: JSON) -> None:
    request = {**request, "budget": {**request["budget"], "max_tokens": max(160, request["budget"]["max_tokens"])}}
    packet = World().fill(stored).packet(request)
    assert MemoryPacket.model_validate(packet).model_dump(mode="json", by_alias=True, exclude_unset=True) == packet


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("meta", "schema_version"), "v2"),
        (("short_term", "rolling_summary"), None),
        (("citations",), [{"id": "e1"}]),
        (("short_term", "key_quotes"), [{"quote": "x"}]),
        (("short_term", "working_state", "open_loops"), ["x"]),
        (("budget_report", "used_tokens"), -1),
        (("long_term", "facts"), [{"fact_key": "x"}]),
        (("insight",), {}),
    ],
)
def test_the_schema_refuses_what_is_no_packet(path: tuple[str, ...], value: Any) -> None:
    packet = World().packet({})
    place = packet
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(packet)
