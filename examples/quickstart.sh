#!/bin/sh
# Show the main job of Engram on sample input: import a month of history, ask for a packet, explain it.
#
#   sh examples/quickstart.sh .venv/bin/engram
#   Q="What is Bram allergic to?" sh examples/quickstart.sh .venv/bin/engram
#   ENGRAM_HISTORY=my/folder sh examples/quickstart.sh .venv/bin/engram
#
# Everything happens in a temporary home with a daemon of its own; both are gone at the end. Of another history
# only events.ndjson is needed. The question is asked at the time, session and run of its last event.
set -eu

fail() {
    printf 'quickstart: %s\n' "$*" >&2
    exit 1
}

heading() {
    printf '\n== %s\n' "$*"
}

absolute() {
    case $1 in
        /*) printf '%s\n' "$1" ;;
        *) printf '%s/%s\n' "$PWD" "$1" ;;
    esac
}

# last_event FIELD: the text that FIELD has in the last event of the history; nothing when it has none
last_event() {
    grep '{' "$history/events.ndjson" | tail -n 1 | sed -n 's/.*"'"$1"'" *: *"\([^"]*\)".*/\1/p'
}

# count NAME: how many memories a file of the history holds
count() {
    grep -c '{' "$history/$1"
}

# rejected WHAT: say what the failed command printed, then stop
rejected() {
    grep -i 'error' "$work/out" | head -n 5 >&2 || :
    fail "importing the $1 from $history failed, see the lines above"
}

[ $# -eq 1 ] || fail 'give the path of the engram executable, for example: sh examples/quickstart.sh .venv/bin/engram'
engram=$(absolute "$1")
[ -f "$engram" ] && [ -x "$engram" ] || fail "$1 is not an executable file; build it with: make quickstart"
history=$(absolute "${ENGRAM_HISTORY:-$(dirname "$0")/history}")
[ -r "$history/events.ndjson" ] || fail "$history/events.ndjson cannot be read; ENGRAM_HISTORY names a folder that holds it"
question=${Q:-"How heavy is grandmother's piano and what is it insured for?"}
started=$(date +%s)

work=$(mktemp -d "${TMPDIR:-/tmp}/engram.XXXXXX") || fail 'no temporary folder can be made; set TMPDIR to one that is writable'
finish() {
    status=$?
    trap - EXIT
    "$engram" daemon stop >/dev/null 2>&1 || :
    cd / && rm -rf "$work"
    exit "$status"
}
trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Nothing of the caller's own Engram may reach the sample, and nothing of the sample may reach it.
for name in $(env | sed -n 's/^\(ENGRAM_[A-Z0-9_]*\)=.*/\1/p'); do
    unset "$name"
done
mkdir -m 700 "$work/home" "$work/run"
export HOME="$work/home"
export XDG_RUNTIME_DIR="$work/run"
export XDG_DATA_HOME="$HOME/.local/share"
export XDG_STATE_HOME="$HOME/.local/state"
export XDG_CONFIG_HOME="$HOME/.config"
export XDG_CACHE_HOME="$HOME/.cache"
export ENGRAM_USER=maya
export ENGRAM_AGENT=assistant
session=$(last_event session_id)
run=$(last_event run_id)
now=$(last_event ts)
[ -z "$session" ] || export ENGRAM_SESSION="$session"
[ -z "$run" ] || export ENGRAM_RUN="$run"
cd "$HOME"

heading "Import the history in $history"

"$engram" append --stdin-ndjson <"$history/events.ndjson" >"$work/out" || rejected events
printf '%6d events\n' "$(count events.ndjson)"

if [ -f "$history/facts.ndjson" ]; then
    "$engram" fact set --stdin-ndjson <"$history/facts.ndjson" >"$work/out" || rejected facts
    printf '%6d facts, of which some replace earlier ones\n' "$(count facts.ndjson)"
fi
if [ -f "$history/episodes.ndjson" ]; then
    "$engram" episode add --stdin-ndjson <"$history/episodes.ndjson" >"$work/out" || rejected episodes
    printf '%6d episodes\n' "$(count episodes.ndjson)"
fi
if [ -f "$history/procedures.ndjson" ]; then
    "$engram" procedure set --stdin-ndjson <"$history/procedures.ndjson" >"$work/out" || rejected procedures
    printf '%6d procedures\n' "$(count procedures.ndjson)"
fi
if [ -f "$history/insights.ndjson" ]; then
    "$engram" insight add --stdin-ndjson <"$history/insights.ndjson" >"$work/out" || rejected insights
    printf '%6d insights\n' "$(count insights.ndjson)"
fi
if [ -f "$history/state.json" ]; then
    "$engram" state set --stdin-json <"$history/state.json" >"$work/out" || rejected 'working state'
    printf '       the working state of the last run\n'
fi
if [ -f "$history/stm.json" ]; then
    "$engram" stm set --stdin-json <"$history/stm.json" >"$work/out" || rejected 'short-term state'
    printf '       the short-term state of the last session\n'
fi

heading "A packet of at most 1,000 tokens for: $question"
# An old history is asked at its own time, or every "recent" memory would be months old.
[ -z "$now" ] || set -- --now "$now"
[ -n "$now" ] || set --
"$engram" packet --purpose responder --query "$question" --max-tokens 1000 --format text "$@" || fail 'building the packet failed'

heading 'Why these memories and no others'
"$engram" explain || fail 'explaining the packet failed'

heading "Done in $(($(date +%s) - started)) s. Another question: make quickstart Q=\"What did I promise Katarzyna?\""
