"""Hold the shorter forms to what a reader relies on: whole sentences, the right ones, nothing invented."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engram_core.recall import forms
from engram_core.recall.excerpts import QUOTE_TOKENS, quote_sentences
from engram_core.recall.forms import summary_cut
from engram_core.recall.sentences import sentences

PIECES = st.sampled_from(
    ["Hello there", "Dr", "e.g", "3.14", "she asked", "你好", "我是小明", "مرحبا", "यह वाक्य",
     "สวัสดี", "ครับ", "안녕", "🙂", "a",
     ".", "!", "?", "...", "…", "。", "！", "؟", "।", '"', "”", ")", " ", "  ", "\n", "\n\n", "\r\n",
     "```", "```\n", "~~~\n", "\t", "\u200b", "\u2028", "\x00", "- ", "1. "]
)
TEXTS = st.one_of(st.text(max_size=200), st.lists(PIECES, max_size=60).map("".join))
TERMS = st.lists(
    st.sampled_from(["hello", "dr", "there", "你好", "明", "مرحبا", "वाक्य", "zebra"]), max_size=4
)


def words(text: str) -> int:
    """Count as a simple tokenizer would: words, and every character of scripts without spaces."""
    return sum(max(1, len(word.encode()) // 6) for word in text.split())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It rained. We stayed in!  Did you? Yes.", ["It rained. ", "We stayed in!  ", "Did you? ", "Yes."]),
        ("i went home. then i slept", ["i went home. ", "then i slept"]),
        ("Dr. Smith met J. Doe at 3.14 on Main St. now.", ["Dr. Smith met J. Doe at 3.14 on Main St. now."]),
        ("Fruit, e.g. apples, etc. and bread. Thanks.", ["Fruit, e.g. apples, etc. and bread. ", "Thanks."]),
        ("Well... maybe. Let me think… yes!", ["Well... maybe. ", "Let me think… yes!"]),
        ('"Why?" she asked. I said "no." Then?', ['"Why?" she asked. ', 'I said "no." ', "Then?"]),
        ("See example.com/a.b for v1.2.3. Next", ["See example.com/a.b for v1.2.3. ", "Next"]),
        ("1. First do this. Then that.\n2. Second", ["1. First do this. ", "Then that.\n", "2. Second"]),
        ("- milk\n- eggs\n\nThat is all", ["- milk\n", "- eggs\n\n", "That is all"]),
        ("你好！我是小明。好吗？「走吧。」他说", ["你好！", "我是小明。", "好吗？", "「走吧。」", "他说"]),
        ("我…不知道!真的", ["我…不知道!", "真的"]),
        ("كيف حالك؟ أنا بخير۔ شكرا", ["كيف حالك؟ ", "أنا بخير۔ ", "شكرا"]),
        ("यह एक है। दूसरा वाक्य॥ तीसरा", ["यह एक है। ", "दूसरा वाक्य॥ ", "तीसरा"]),
        ("สวัสดีครับ ผมชื่อสมชาย\nยินดี", ["สวัสดีครับ ", "ผมชื่อสมชาย\n", "ยินดี"]),
        ("Привет. Как дела?", ["Привет. ", "Как дела?"]),
        ("Look:\n```py\na. b!\n\nc\n```\nDone. Ok", ["Look:\n", "```py\na. b!\n\nc\n```\n", "Done. ", "Ok"]),
        ("Open:\n```\na. B. C\nd", ["Open:\n", "```\na. B. C\nd"]),
        ("  \n\n Lead. Next", ["  \n\n Lead. ", "Next"]),
        ("One.   ", ["One.   "]),
        (" \n ", [" \n "]),
        ("", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_wrapped_prose_stays_one_sentence_and_short_lines_do_not() -> None:
    wrapped = "This is a line of prose that some mailer wrapped at\nfifty characters. "
    assert sentences(wrapped + "Then\na list\nof things") == [wrapped, "Then\n", "a list\n", "of things"]


@given(TEXTS)
@example("```\n```\n \n```")
@example("\n.\n")
def test_joined_sentences_are_the_text(text: str) -> None:
    parts = sentences(text)
    assert "".join(parts) == text
    assert not text.strip() or all(part.strip() for part in parts)


@pytest.mark.parametrize(
    "text",
    ["." * 400_000, "Dr. " * 100_000, "a. " * 100_000, "\n" * 400_000, " " * 400_000, '!" ' * 100_000,
     "````\n```\n" * 50_000, "`" * 400_000, "ก" + " " * 400_000, ".'" * 200_000, "word " * 80_000],
    ids=lambda text: repr(text[:9]),
)
def test_hostile_texts_take_linear_time(text: str) -> None:
    begin = time.process_time()
    assert "".join(sentences(text)) == text
    assert time.process_time() - begin < 5  # tenths of a second; minutes if anything were quadratic


STORY = (
    "We talked about the weather for a while. It was mild. "
    "Then Maria told me that she had moved to Lisbon in March. She rents a flat near the river. "
    "Her sister visits every summer. We had coffee afterwards. The cake was dry. "
    "I took the last tram home and read until midnight because I could not sleep at all that night."
)


def test_a_quote_is_the_passage_with_the_terms() -> None:
    quote = quote_sentences(STORY, ["maria", "lisbon"], 30, words)
    assert quote.startswith("… ")
    assert quote.endswith(" …")
    assert "Maria told me that she had moved to Lisbon in March." in quote
    assert words(quote) <= 30


@pytest.mark.parametrize("term", ["visit", "visited", "sisters", "summers"])
def test_a_quote_finds_inflected_words(term: str) -> None:
    assert "Her sister visits every summer." in quote_sentences(STORY, [term], 14, words)


@pytest.mark.parametrize(
    ("text", "term", "holds"),
    [
        ("今天下雨。我们在家。小明搬到了里斯本。晚上吃饭。", "里斯本", "小明搬到了里斯本。"),
        ("비가 왔다. 마리아는 리스본으로 이사했다. 저녁.", "리스본", "마리아는 리스본으로 이사했다."),
        ("ฝนตกตอนเช้า มาเรียย้ายไปลิสบอน แล้วเรากินข้าว", "ลิสบอน", "มาเรียย้ายไปลิสบอน"),
        ("सुबह बारिश हुई। मारिया लिस्बन गई। फिर खाना खाया।", "लिस्बन", "मारिया लिस्बन गई।"),
    ],
)
def test_a_quote_finds_terms_in_every_script(text: str, term: str, holds: str) -> None:
    quote = quote_sentences(text, [term], words(holds) + 3, words)
    assert holds in quote
    assert len(quote) < len(text) + 4


def test_a_quote_is_long_enough_to_stand_for_its_turn() -> None:
    text = " ".join(f"Sentence number {n} speaks of things like item{n} and nothing else." for n in range(40))
    quote = quote_sentences(text, ["item20"], 200, words)
    assert QUOTE_TOKENS <= words(quote) <= 2 * QUOTE_TOKENS
    assert "item20 " in quote


def test_a_quote_without_terms_is_the_beginning() -> None:
    assert quote_sentences(STORY, [], 25, words).startswith("We talked about the weather")


def test_a_quote_takes_a_neighbour_with_a_further_term_in() -> None:
    filler = "These words say nothing that anybody would ever want to know about us. " * 4
    text = filler + "Maria came by. " + filler + "Then Tom called. " + filler
    quote = quote_sentences(text, ["maria", "tom"], 160, words)
    assert "Maria came by." in quote
    assert "Then Tom called." in quote


def test_one_sentence_or_room_enough_is_quoted_whole() -> None:
    assert quote_sentences(STORY, ["maria"], 10_000, words) == STORY
    assert quote_sentences("word " * 100, ["word"], 5, words) == "word " * 100


@pytest.mark.parametrize("text", [
    "plain words " * 500, "\n".join(f"line {n} of a log" for n in range(300)), "abcdefgh" * 800, "一" * 3000],
    ids=["words", "lines", "encoded", "unspaced"])
def test_what_has_no_sentences_is_quoted_in_part(text: str) -> None:
    quote = quote_sentences(f"{text} needle {text}", ["needle"], 120, lambda part: max(1, len(part) // 4))
    assert "needle" in quote
    assert len(quote) < 900
    assert quote_sentences(" \n ", ["word"], 5, words) == ""


def test_the_matching_sentence_beats_one_that_merely_fits() -> None:
    long = "Maria moved to a very old house " + "and then to another one " * 20 + "in Lisbon."
    assert quote_sentences(f"{long} Thanks! Bye.", ["lisbon"], 12, words) == f"{long} …"


@given(TEXTS, TERMS, st.integers(-5, 80))
def test_a_quote_is_whole_neighbouring_sentences(text: str, terms: list[str], room: int) -> None:
    quote = quote_sentences(text, terms, room, words)
    parts = sentences(text)
    runs = {("".join(parts[a:b]).strip(), a > 0, b < len(parts))
            for a in range(len(parts)) for b in range(a + 1, len(parts) + 1)}
    marked = {("… " if before else "") + run + (" …" if after else "") for run, before, after in runs}
    assert quote in ({*marked, text} if text.strip() else {""})


@given(TEXTS, st.integers(0, 80))
def test_a_cut_summary_fits_and_ends_with_a_sentence(text: str, room: int) -> None:
    cut = summary_cut(text, room, words)
    assert words(cut) <= room
    if cut and cut != text:
        parts = sentences(text)
        assert cut in {"".join(parts[:end]).strip() + " …" for end in range(1, len(parts))}


def test_a_summary_is_cut_as_late_as_it_fits() -> None:
    assert summary_cut("One two. Three four. Five six.", 5, words) == "One two. Three four. …"
    assert summary_cut("One two. Three four. Five six.", 6, words) == "One two. Three four. Five six."
    assert summary_cut("One two three four. Five.", 3, words) == ""


def test_a_short_fact_is_key_and_value() -> None:
    fact = {"fact_id": "f1", "fact_key": "home.city", "value": {"name": "Lisbon"}, "notes": "moved in March",
            "sources": ["e1"], "validity": {"valid_from": "2024-03-01T00:00:00Z"}}
    assert forms.fact_short(fact) == {
        "fact_id": "f1", "fact_key": "home.city", "value": {"name": "Lisbon"},
        "status": "active", "confidence": 0.5,
    }
    assert forms.fact_short({**fact, "status": "disputed", "confidence": 0.9})["status"] == "disputed"


def test_episode_forms_get_shorter_step_by_step() -> None:
    episode = {"episode_id": "p1", "time_range": {"start": "2024-03-01T00:00:00Z"}, "summary": "Maria moved.",
               "highlights": ["Lisbon"], "tags": ["home"], "sources": ["e1"]}
    found = forms.episode_forms(episode)
    assert list(found) == ["summary", "highlights", "reference"]
    assert found["summary"] == {key: episode[key] for key in ("episode_id", "time_range", "summary")}
    assert found["highlights"] == {key: episode[key] for key in ("episode_id", "time_range", "highlights")}
    assert found["reference"] == {key: episode[key] for key in ("episode_id", "time_range")}
    assert list(forms.episode_forms({**episode, "highlights": []})) == ["summary", "reference"]


@pytest.mark.parametrize(
    ("content", "outline"),
    [
        ("Deploy", "Deploy"),
        ("Build it\nTest it\n\nTag it\nShip it\n", "Build it\nTest it\nTag it\n…"),
        ("Run it now. " + "Wait for it to end. " * 20, "Run it now. " + "Wait for it to end. " * 7 + "…"),
        (["build", "test", "tag", "ship"], ["build", "test", "tag", "…"]),
        ([{"tool": "make", "args": ["-j"]}, "check"], [{"tool": "make"}, "check"]),
        ({"goal": "ship", "steps": ["a", "b", "c", "d"], "env": {"CI": "1", "HOME": "/"}},
         {"goal": "ship", "steps": ["a", "b", "c", "…"], "env": ["CI", "HOME"]}),
        (7, 7),
        (None, None),
        ("", ""),
    ],
)
def test_a_procedure_outline_is_the_head_of_its_content(content: object, outline: object) -> None:
    ids = {"procedure_id": "r1", "task_type": "deploy"}
    assert forms.procedure_outline({**ids, "content": content, "priority": 3}) == {**ids, "content": outline}


def test_working_state_forms_keep_every_key() -> None:
    core = {"goal": "ship", "slots": {"x": 1}, "constraints": {"y": 2}, "state_version": 4}
    rest = {"plan": ["a"], "risks": ["r"], "open_loops": ["o"]}
    state = {**core, **rest, "tool_evidence": [{"evidence_id": "e"}], "decisions": ["d"]}
    found = forms.working_state_forms(state)
    assert list(found) == ["without_history", "core"]
    assert found["without_history"] == {**state, "tool_evidence": [], "decisions": []}
    assert found["core"] == {**{key: [] for key in state}, **core}


def test_forms_leave_the_memory_alone() -> None:
    state = {"goal": "ship", "plan": ["a"], "decisions": ["d"]}
    forms.working_state_forms(state)["core"]["plan"].append("b")
    assert state == {"goal": "ship", "plan": ["a"], "decisions": ["d"]}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("Tea  at\nFive", " tea at five ", True), ("STRASSE", "straße", True), ("茶 好", "茶\u3000好", True),
     ("tea at five", "tea at six", False), ("a b", "ab", False)],
)
def test_fold_tells_duplicates(one: str, other: str, same: bool) -> None:
    assert (forms.fold(one) == forms.fold(other)) is same
