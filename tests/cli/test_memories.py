"""What a person can keep and read back, through the real daemon."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Person


def test_an_appended_event_is_listed_and_followed_by_its_id(engram: Person) -> None:
    first = engram.done("append", "Ada moved to Lyon").out.strip()
    second = engram.done("append", "--role", "assistant", "--name", "Bob", "--tag", "move", "noted").out.strip()
    rows = [line.split("\t") for line in engram.done("events").out.splitlines()]
    assert [row[1:] for row in rows] == [["user", "Ada moved to Lyon", first], ["Bob", "noted", second]]
    event = engram.done("events", "--json", "-n", "1").json["events"][0]
    assert event["payload"] == {"role": "assistant", "content": "noted", "name": "Bob"}
    assert event["tags"] == ["move"]


def test_text_comes_from_argument_dash_or_pipe(engram: Person) -> None:
    engram.done("append", "-", stdin="from a dash\n")
    engram.done("append", stdin="from a pipe\n\n")
    assert [row.split("\t")[2] for row in engram.done("events").out.splitlines()] == ["from a dash", "from a pipe"]


def test_the_same_id_is_stored_once_and_never_with_other_words(engram: Person) -> None:
    assert engram.done("append", "--id", "e1", "one", "--json").json["duplicate"] is False
    assert engram.done("append", "--id", "e1", "one", "--json").json["duplicate"] is True
    answer = engram("append", "--id", "e1", "two")
    assert answer.code == 65 and "e1" in answer.err
    assert len(engram.done("events").out.splitlines()) == 1


def test_a_json_event_takes_what_it_lacks_from_options(engram: Person) -> None:
    event = {"payload": {"content": "from json"}, "ts": "2026-01-01T00:00:00Z"}
    engram.done("append", "--stdin-json", "--tag", "t", "--session", "s7", stdin=json.dumps(event))
    found = engram.done("events", "--session", "s7", "--json").json["events"][0]
    assert (found["ts"], found["tags"], found["scope"]["session_id"]) == ("2026-01-01T00:00:00Z", ["t"], "s7")


def test_a_stream_is_answered_line_by_line_past_bad_lines(engram: Person) -> None:
    lines = ['{"payload":"a"}', "not json", '{"payload":"b","bogus":1}', "[1]", "", '{"payload":"c","payload":"d"}',
             '{"payload":"e"}', "NaN"]
    answer = engram("append", "--stdin-ndjson", stdin="\n".join(lines))
    assert answer.code == 65
    told = [found.get("line", "stored") for found in answer.lines]
    assert told == ["stored", 2, 3, 4, 6, "stored", 8]
    assert "not JSON" in answer.lines[1]["error"]["message"]
    assert "bogus" in answer.lines[2]["error"]["message"]
    assert {found["error"]["exit"] for found in answer.lines if "error" in found} == {65}
    assert [row.split("\t")[2] for row in engram.done("events").out.splitlines()] == ["a", "e"]


def test_a_long_stream_keeps_its_order(engram: Person) -> None:
    many = [json.dumps({"payload": f"line {number}", "event_id": f"n{number}"}) for number in range(3000)]
    answer = engram.done("append", "--stdin-ndjson", stdin="\n".join(many) + "\n")
    assert [found["event_id"] for found in answer.lines] == [f"n{number}" for number in range(3000)]
    listed = engram.done("events", "--ndjson", "--after", "0").lines
    assert [event["event_id"] for event in listed] == [f"n{number}" for number in range(3000)]


def test_the_events_of_another_user_are_not_seen(engram: Person) -> None:
    engram.done("append", "mine")
    assert engram.done("events", "--user", "someone-else").out == ""


def test_events_are_chosen_by_time_and_count(engram: Person) -> None:
    for day in ("01", "02", "03"):
        engram.done("append", "--ts", f"2026-05-{day}T12:00:00Z", f"day {day}")
    words = [row.split("\t")[2] for row in engram.done("events", "--since", "2026-05-02T00:00:00Z").out.splitlines()]
    assert words == ["day 02", "day 03"]
    assert engram.done("events", "--until", "2026-05-01T13:00:00Z").out.split("\t")[2] == "day 01"
    assert [row.split("\t")[2] for row in engram.done("events", "-n", "1").out.splitlines()] == ["day 03"]
    assert engram("events", "--since", "2026-05-02T00:00:00").code == 65
    assert engram("events", "--since", "whenever").code == 65
    assert engram.done("events", "--until", "2026-05-01").out.split("\t")[2] == "day 01"  # the whole day


def test_a_fact_has_one_value_and_a_history(engram: Person) -> None:
    assert engram.done("fact", "set", "city", "Lyon").out == "created city\n"
    assert engram.done("fact", "set", "city", "Paris").out == "superseded city\n"
    assert engram.done("fact", "get", "city").out == "Paris\n"
    history = [line.split("\t")[1:3] for line in engram.done("fact", "history", "city").out.splitlines()]
    assert history == [["Lyon", "deprecated"], ["Paris", "active"]]
    engram.done("fact", "retract", "city")
    answer = engram("fact", "get", "city")
    assert answer.code == 1 and "engram fact set city" in answer.err


def test_a_disputed_fact_shows_both_values(engram: Person) -> None:
    engram.done("fact", "set", "city", "Lyon")
    engram.done("fact", "dispute", "city", "Nice")
    listed = [line.split("\t")[1:3] for line in engram.done("fact").out.splitlines()]
    assert sorted(listed) == [["Lyon", "disputed"], ["Nice", "disputed"]]
    engram.done("fact", "retract", "city")
    assert engram.done("fact").out == ""


def test_a_fact_may_be_any_json(engram: Person) -> None:
    engram.done("fact", "set", "pets", '["a cat",{"fish":2}]', "--json-value", "--confidence", "0.9")
    assert engram.done("fact", "get", "pets").out == '["a cat",{"fish":2}]\n'
    found = engram.done("fact", "get", "pets", "--json").json
    assert (found["schema"], found["fact"]["value"]) == ("engram.fact/1", ["a cat", {"fish": 2}])
    assert found["fact"]["confidence"] == 0.9
    assert engram("fact", "set", "pets", "[", "--json-value").code == 65


def test_what_is_out_of_range_is_refused_by_name(engram: Person) -> None:
    answer = engram("fact", "set", "k", "v", "--confidence", "7")
    assert answer.code == 65 and "confidence" in answer.err and "7" in answer.err
    assert engram("fact", "set", "k", "v", "--confidence", "high").code == 2


def test_facts_are_read_from_a_stream(engram: Person) -> None:
    answer = engram.done("fact", "set", "--stdin-ndjson", "--confidence", "0.8",
                         stdin='{"fact_key":"a","value":1}\n{"fact_key":"b","value":2,"confidence":0.2}\n')
    assert [found["outcome"] for found in answer.lines] == ["created", "created"]
    sure = {fact["fact_key"]: fact["confidence"] for fact in engram.done("fact", "--ndjson").lines}
    assert sure == {"a": 0.8, "b": 0.2}


def test_episodes_are_found_by_time_and_tag(engram: Person) -> None:
    engram.done("episode", "add", "moved the blog", "--start", "2026-05-01T00:00:00Z", "--end", "2026-05-03T00:00:00Z",
                "--tag", "blog", "--highlight", "new host")
    engram.done("episode", "add", "today's work")
    tagged = engram.done("episode", "list", "--tag", "blog").out.splitlines()
    assert [row.split("\t")[2] for row in tagged] == ["moved the blog"]
    assert len(engram.done("episode").out.splitlines()) == 2
    assert engram.done("episode", "list", "--until", "2026-05-02T00:00:00Z").out.count("\n") == 1


def test_a_procedure_is_replaced_by_the_next_for_its_task(engram: Person) -> None:
    engram.done("procedure", "set", "deploy", "test, tag, push", "--priority", "3")
    engram.done("procedure", "set", "deploy", '["test","push"]', "--json-value", "--applies", "tags=web")
    (found,) = engram.done("procedure", "list", "deploy", "--json").json["procedures"]
    assert (found["content"], found["applicability"]) == (["test", "push"], {"tags": "web"})


def test_an_insight_is_tested_validated_and_promoted(engram: Person) -> None:
    id = engram.done("insight", "add", "the cache is cold", "--trigger", "failure").out.strip()
    for verb, state in (("test", "testing"), ("validate", "validated")):
        assert engram.done("insight", verb, id).out == f"{state} {id}\n"
    assert engram("insight", "promote", id, "--to", "fact").code == 2
    assert engram.done("insight", "promote", id, "--to", "fact", "--key", "cause").out.startswith("fact ")
    assert engram.done("fact", "get", "cause").out == "the cache is cold\n"
    other = engram.done("insight", "add", "another").out.strip()
    engram.done("insight", "reject", other)
    assert engram.done("insight", "list", "--state", "rejected").out.split("\t")[2] == "another"
    assert engram("insight", "validate", "absent").code == 1


def test_a_run_that_ends_lets_its_insights_lapse(engram: Person) -> None:
    engram.done("insight", "add", "for now", "--run", "r1")
    assert engram.done("run", "end", "--run", "r1").out == "expired insights: 1\n"
    assert engram.done("run", "end", "--run", "r1", "--json").json["expired_insights"] == 0


def test_the_working_state_changes_field_by_field(engram: Person) -> None:
    assert "engram state set" in engram.done("state").err
    engram.done("state", "set", "--goal", "ship", "--plan", "a", "--plan", "b", "--constraint", "by=friday")
    engram.done("state", "slot", "set", "tries", "3", "--json-value")
    engram.done("state", "slot", "set", "branch", "main")
    engram.done("state", "slot", "remove", "branch")
    state = engram.done("state", "show", "--json").json["working_state"]
    assert (state["goal"], state["plan"], state["slots"]) == ("ship", ["a", "b"], {"tries": 3})
    assert state["constraints"] == {"by": "friday"}
    version = state["state_version"]
    engram.done("state", "patch", '{"goal":"rest"}', "--expected-version", str(version))
    assert engram("state", "patch", '{"goal":"late"}', "--expected-version", str(version)).code == 65
    looked = engram.done("state", "clear", "--dry-run")
    assert "would clear: goal: rest\n" in looked.out and "state_version" not in looked.out
    assert engram.done("state", "clear", "--dry-run", "--json").json["would_clear"]["plan"] == ["a", "b"]
    assert engram.done("state", "show", "--json").json["working_state"]["state_version"] == version + 1
    engram.done("state", "clear")
    assert "nothing to clear" in engram.done("state", "clear", "--dry-run").err
    assert engram.done("state").out == f"state_version: {version + 2}\n"


def test_the_summary_and_the_quotes_are_set_apart(engram: Person) -> None:
    engram.done("stm", "set", "--summary", "so far")
    engram.done("stm", "set", "--quote", "e1=we decide on Friday")
    found = engram.done("stm", "show", "--json").json["stm"]
    assert found["rolling_summary"] == "so far"
    assert found["key_quotes"][0]["quote"] == "we decide on Friday"


def test_a_pin_is_set_and_undone(engram: Person) -> None:
    id = engram.done("fact", "set", "k", "v", "--json").json["fact_id"]
    engram.done("pin", "fact", id)
    assert engram.done("fact", "--ndjson").lines[0]["pinned"] is True
    engram.done("unpin", "fact", id)
    assert engram.done("fact", "--ndjson").lines[0]["pinned"] is False
    assert engram("pin", "fact", "absent").code == 1
    assert engram("pin", "fct", id).code == 65


def test_forgetting_asks_shows_and_deletes(engram: Person) -> None:
    id = engram.done("append", "a secret").out.strip()
    engram.done("append", "harmless")
    assert engram("forget").code == 2
    refused = engram("forget", "--id", id)
    assert refused.code == 2 and "--yes" in refused.err
    assert engram.done("forget", "--id", id, "--dry-run").out.startswith("would delete: 1 ")
    assert engram.done("forget", "--id", id, "--yes").out.startswith("deleted: 1 ")
    assert engram.done("events").out.split("\t")[2] == "harmless"
    assert engram("forget", "--id", id, "--yes").code == 1


def test_forgetting_a_session_leaves_the_others(engram: Person) -> None:
    engram.done("append", "in s1", "--session", "s1")
    engram.done("append", "in s2", "--session", "s2")
    engram.done("forget", "--session", "s1", "--yes")
    assert engram.done("events", "--session", "s1").out == ""
    assert engram.done("events", "--session", "s2").out != ""


@pytest.mark.parametrize("args", [
    ("events",), ("fact",), ("episode",), ("procedure",), ("insight",), ("state",), ("stm",),
    ("search", "anything"), ("events", "--json"), ("fact", "--ndjson"),
])
def test_an_empty_home_gives_an_empty_answer_and_the_next_command(engram: Person, args: tuple[str, ...]) -> None:
    answer = engram.done(*args)
    if args[-1] == "--json":
        assert answer.json["schema"] == "engram.events/1"
    else:
        assert answer.out == ""
        assert answer.err == "" if args[-1] == "--ndjson" else "engram" in answer.err


KINDS = [
    (["append"], ["events", "-n", "9"], "events", [{"payload": "a"}, {"payload": "b"}]),
    (["fact", "set"], ["fact", "list"], "facts", [{"fact_key": "a", "value": 1}, {"fact_key": "b", "value": 2}]),
    (["insight", "add"], ["insight", "list"], "insights", [{"statement": "a"}, {"statement": "b"}]),
    (["episode", "add"], ["episode", "list"], "episodes", [{"summary": "a"}, {"summary": "b"}]),
    (["procedure", "set"], ["procedure", "list"], "procedures",
     [{"task_type": "a", "content": "x"}, {"task_type": "b", "content": "x"}]),
]


@pytest.mark.parametrize(("add", "listing", "key", "items"), KINDS, ids=lambda one: "")
def test_an_object_on_stdin_may_name_its_own_scope(engram: Person, add: list[str], listing: list[str], key: str,
                                                   items: list[dict[str, object]]) -> None:
    there = {"user_id": "someone", "session_id": "s9", "run_id": "r9"}
    engram.done(*add, "--stdin-json", stdin=json.dumps({**items[0], "scope": there}))
    engram.done(*add, "--stdin-ndjson", stdin=json.dumps({**items[1], "scope": there}))
    elsewhere = ["--user", "someone", "--session", "s9", "--run", "r9"]
    assert len(engram.done(*listing, *elsewhere, "--json").json[key]) == 2
    assert engram.done(*listing, "--json").json[key] == []
    answer = engram(*add, "--stdin-json", stdin=json.dumps({**items[0], "scope": "s9"}))
    assert answer.code == 65 and "scope is a text" in answer.err


def test_working_states_and_summaries_come_from_stdin_for_each_run(engram: Person) -> None:
    lines = [{"goal": "one", "scope": {"run_id": "r1"}}, {"goal": "two", "scope": {"run_id": "r2"}}, {"gaol": "three"}]
    answer = engram("state", "set", "--stdin-ndjson", stdin="\n".join(map(json.dumps, lines)))
    assert answer.code == 65 and "did you mean goal" in answer.lines[2]["error"]["hint"]
    assert [engram.done("state", "show", "--run", run).out.splitlines()[0] for run in ("r1", "r2")] == [
        "goal: one", "goal: two"]
    shown = engram.done("state", "show", "--run", "r1", "--json").json["working_state"]
    assert engram.done("state", "set", "--stdin-json", stdin=json.dumps(shown)).out == "version 1\n"
    stm = {"rolling_summary": "so far", "key_quotes": [{"evidence_id": "e1", "quote": "on Friday"}]}
    assert engram.done("stm", "set", "--stdin-json", stdin=json.dumps(stm)).out == (
        "summary of 6 characters, 1 key quote\n")
    engram.done("stm", "set", "--stdin-ndjson", stdin=json.dumps({**stm, "scope": {"session_id": "s2"}}))
    found = [engram.done("stm", "--json", "--session", name).json["stm"] for name in ("default", "s2")]
    assert found[0] == found[1] and found[0]["rolling_summary"] == "so far"


@pytest.mark.parametrize("args", [("append", ""), ("search", ""), ("episode", "add", ""), ("insight", "add", "")])
def test_an_empty_argument_is_no_text(engram: Person, args: tuple[str, ...]) -> None:
    answer = engram(*args)
    assert answer.code == 65 and "given: the argument is empty" in answer.err


def test_a_value_may_be_empty(engram: Person) -> None:
    engram.done("fact", "set", "nickname", "")
    assert engram.done("fact", "get", "nickname").out == "\n"


def test_a_stream_goes_on_past_what_no_request_can_carry(engram: Person) -> None:
    lines = ['{"payload":"a"}', json.dumps({"payload": "x" * 1_100_000}), '{"payload":"\\ud800"}', '{"payload":"b"}']
    answer = engram("append", "--stdin-ndjson", stdin="\n".join(lines))
    assert answer.code == 65 and [found.get("line") for found in answer.lines] == [None, 2, 3, None]
    assert "1048576" in answer.lines[1]["error"]["message"].replace(",", "")
    assert [row.split("\t")[2] for row in engram.done("events").out.splitlines()] == ["a", "b"]


def test_a_masked_secret_is_told(engram: Person) -> None:
    answer = engram.done("fact", "set", "key", "sk-abcdefghijklmnopqrstuvwxyz0123456789ABCD1234")
    assert "1 secret masked" in answer.err
    assert "abcdef" not in engram.done("fact", "get", "key").out


def test_what_was_forgotten_is_reported_in_one_line_before_the_note(engram: Person) -> None:
    engram.done("append", "--id", "e1", "x")
    answer = engram.shell("engram forget --id e1 --yes 2>&1")
    assert answer.out.splitlines() == ["deleted: 1 memory (1 event)", "with them: 1 index entry",
                                       "backups and exports made before may still hold it"]
    answer = engram("forget", "--id", "e1", "--yes")
    assert (answer.code, answer.out, answer.err) == (1, "deleted: nothing, no memory matches\n", "")


@pytest.mark.parametrize(("args", "flag"), [
    (("fact", "list", "--status", "actve"), "--status"), (("search", "x", "--kind", "evnt"), "--kind"),
    (("insight", "list", "--state", "valid"), "--state"), (("events", "--level", "all"), "--level"),
    (("fact", "set", "k", "v", "--share", "everyone"), "--share"), (("insight", "promote", "i", "--to", "x"), "--to"),
])
def test_a_word_that_is_no_choice_is_told_with_its_option(engram: Person, args: tuple[str, ...], flag: str) -> None:
    answer = engram(*args)
    assert answer.code == 65 and f"{flag} is {args[-1]!r}; allowed are " in answer.err


def test_an_expired_insight_is_marked(engram: Person) -> None:
    engram.done("insight", "add", "maybe")
    engram.done("run", "end")
    assert engram.done("insight", "list").out.startswith("unvalidated (expired)\t")


def test_a_tool_call_is_listed_as_what_was_called(engram: Person) -> None:
    call = {"role": "assistant", "content": "", "tool_calls": [{"id": "c1", "name": "lookup", "arguments": {"q": 1}}]}
    engram.done("append", "--stdin-json", stdin=json.dumps({"payload": call}))
    assert engram.done("events").out.split("\t")[2] == 'calls lookup {"q":1}'


def test_a_fact_is_read_as_it_held_at_a_time(engram: Person) -> None:
    engram.done("fact", "set", "city", "Oslo")
    engram.done("fact", "set", "city", "Bergen")
    engram.done("fact", "set", "pet", "cat")
    engram.done("fact", "retract", "pet")
    assert engram.done("fact", "get", "city", "--at", "2026-01-01").out == "Oslo\n"
    assert engram.done("fact", "get", "city", "--at", "2999-01-01").out == "Bergen\n"
    assert engram.done("fact", "get", "pet", "--at", "2026-01-01").out == "cat\n"
    assert engram("fact", "get", "pet", "--at", "2999-01-01").code == 1
    found = engram.done("fact", "list", "--at", "2026-01-01", "--json").json["facts"]
    assert sorted(fact["value"] for fact in found) == ["Oslo", "cat"]
    last = engram.done("fact", "list", "--at", "2026-01-01", "--limit", "1", "--json").json["facts"]
    assert last == found[-1:]
    assert engram.done("fact", "list", "--at", "2026-01-01", "--status", "active", "--json").json["facts"] == []
