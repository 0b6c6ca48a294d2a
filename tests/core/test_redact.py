"""Which texts count as secrets, and which do not."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engram_core.redact import PATTERNS, Redactor

FOUND = {
    "private-key": "-----BEGIN OPENSSH PRIVATE KEY-----\nabc\n-----END OPENSSH PRIVATE KEY-----",
    "jwt": "eyJhbGciOiJI.eyJzdWIiOiIx.abc-_",
    "api-key": "sk-proj-" + "aB3" * 10,
    "aws-key": "AKIA" + "A2" * 8,
    "github-token": "github_pat_" + "a1" * 15,
    "gitlab-token": "glpat-" + "a1" * 12,
    "slack-token": "xoxb-1234567890-abc",
    "google-key": "AIza" + "a" * 35,
    "stripe-key": "sk_live_" + "a1" * 10,
    "npm-token": "npm_" + "a" * 36,
    "hf-token": "hf_" + "a" * 34,
    "bearer-token": "abcdef.ghijkl-mnopqrs",
    "url-password": "user:secret",
}
AROUND = {"bearer-token": "Authorization: Bearer {}", "url-password": "postgres://{}@host/db"}
HARMLESS = ["sk-learn-contrib-something-longer", "risk-based-decision-making-process", "the bearer of bad news",
            "https://example.org:8080/a@b", "AKIA", "gh pr view", "see eyJ", "xox", "task-1234567890123456789012345",
            "mailto:ana@example.org", "12:30 at ana@example.org"]


def test_every_pattern_has_an_example_here() -> None:
    assert set(FOUND) == set(PATTERNS)


@pytest.mark.parametrize("name", FOUND)
def test_well_known_secrets_are_replaced(name: str) -> None:
    around = "before " + AROUND.get(name, "{}") + " after"
    assert Redactor({}).value(around.format(FOUND[name])) == (around.format(f"[redacted:{name}]"), 1)


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_texts_stay(text: str) -> None:
    assert Redactor({}).value(text) == (text, 0)


def test_a_key_without_an_end_is_gone_to_the_last_letter() -> None:
    assert Redactor({}).value("x -----BEGIN RSA PRIVATE KEY-----\nabc") == ("x [redacted:private-key]", 1)


def test_two_secrets_as_keys_stay_two_entries() -> None:
    one, other = FOUND["github-token"], FOUND["github-token"] + "9"
    value, count = Redactor({}).value({one: 1, other: 2})
    assert (sorted(value.values()), count) == ([1, 2], 2)


@given(st.recursive(st.none() | st.booleans() | st.text(alphabet="abc:/. "), lambda inner: st.lists(inner)
                    | st.dictionaries(st.text(alphabet="abc"), inner)))
def test_values_without_secrets_are_not_changed(value: object) -> None:
    assert Redactor({}).value(value) == (value, 0)


MIB = 1 << 20
# What each pattern begins with, what its repeats take, and what would have to follow.
HOSTILE = {
    "private-key": ("-----BEGIN ", "A ", "-----BEGIN PRIVATE KEY-----", "-----END "),
    "jwt": ("eyJ", "eyJ-", "eyJ_", "a"),
    "api-key": ("sk-", "a-", "-sk-a", "_"), "aws-key": ("AKIA", "ASIA", "A"), "google-key": ("AIza", "a", "-AIza"),
    "github-token": ("ghp_", "github_pat_", "a", "-ghp_a"), "gitlab-token": ("glpat-", "a", "-glpat-a"),
    "slack-token": ("xoxb-", "a", "-xoxb-a"), "stripe-key": ("sk_live_", "a", "-rk_test_a"), "npm-token": ("npm_", "a"),
    "hf-token": ("hf_", "a", "-hf_a"), "bearer-token": ("Bearer ", "a", "bearer a"), "url-password": ("://", "a:", "://a:"),
}


@pytest.mark.parametrize("name", PATTERNS)
def test_a_hostile_text_of_one_mebibyte_is_searched_at_once(name: str) -> None:
    begin, *pieces = HOSTILE[name]
    texts = [begin * (MIB // len(begin)), *(begin + one * (MIB // len(one)) for one in pieces),
             *((begin + one * 30) * (MIB // len(begin + one * 30)) for one in pieces),
             *((begin + one + "!") * (MIB // len(begin + one + "!")) for one in pieces)]
    redactor = Redactor({})
    redactor.value(begin)
    for text in texts:
        start = time.process_time()
        redactor.value(text)
        assert time.process_time() - start < 2, text[:60]
