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
    printf '\n== %s\n\n' "$*"
}

# shown COMMAND...: print a command as one types it, then run it
shown() {
    printf '$ engram'
    for word in "$@"; do
        case $word in
            *[!A-Za-z0-9_.:=/-]*) printf ' "%s"' "$(printf %s "$word" | sed 's/[\\"$`]/\\&/g')" ;;
            *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
    "$engram" "$@"
}

# import WHAT FILE COMMAND...: feed a file of the history to a command and say how much it held
import() {
    what=$1 file=$2
    shift 2
    [ -f "$history/$file" ] || return 0
    "$engram" "$@" <"$history/$file" >"$work/out" || rejected "$what"
    printf '%6s %-18s engram %s < %s\n' "$(grep -c '{' "$history/$file")" "$what" "$*" "$file"
}

# brief: shorten an explanation that goes into a file or a pipe: of the omitted memories only the first of each section
brief() {
    awk '
        /^-/ { if (++omitted > 4) { hidden++; next } }
        /^$/ { omitted = 0 }
        { print }
        END { if (hidden) printf "\n(%d more omitted memories are left out here, engram explain lists them)\n", hidden }'
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
from=${history#"$PWD/"}
question=${Q:-"How heavy is grandmother's piano and what is it insured for?"}
started=$(date +%s)
typed=$1

work=$(mktemp -d "${TMPDIR:-/tmp}/engram.XXXXXX") || fail 'no temporary folder can be made; set TMPDIR to one that is writable'
finish() {
    status=$?
    trap - EXIT
    # Stopping is for the whole daemon: it takes no scope. A daemon that could not be stopped must not go unnoticed.
    unset ENGRAM_USER ENGRAM_AGENT ENGRAM_SESSION ENGRAM_RUN
    if [ -e "$work/home/.local/share/engram/engram.db.endpoint" ]; then
        "$engram" daemon stop >"$work/out" 2>&1 || {
            printf 'quickstart: its daemon still runs: %s\n' "$(cat "$work/out")" >&2
            [ "$status" -ne 0 ] || status=1
        }
    fi
    cd / && rm -rf "$work"
    exit "$status"
}
trap finish EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 141' PIPE
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

printf '%s\n' \
    'A sample month goes into a memory of its own, in a temporary home: nothing of yours is read or changed.' \
    'Then a question is asked whose answer lies weeks back. Each step is a command you can type yourself.'

heading "1. Remember: the history in $from"

import events events.ndjson append --stdin-ndjson
import facts facts.ndjson fact set --stdin-ndjson
import episodes episodes.ndjson episode add --stdin-ndjson
import procedures procedures.ndjson procedure set --stdin-ndjson
import insights insights.ndjson insight add --stdin-ndjson
[ ! -f "$history/state.json" ] || {
    "$engram" state patch - <"$history/state.json" >"$work/out" || rejected 'working state'
    printf '%6s %-18s engram state patch - < state.json\n' 1 'working state'
}
[ ! -f "$history/stm.json" ] || {
    "$engram" stm set --stdin-json <"$history/stm.json" >"$work/out" || rejected 'short-term state'
    printf '%6s %-18s engram stm set --stdin-json < stm.json\n' 1 'short-term state'
}
printf '\nThe first command started the daemon; each of them ended when its memories were on disk.\n'

heading '2. Recall: the memories for one prompt, in at most 1,000 tokens'
# An old history is asked at its own time, or every "recent" memory would be months old.
[ -z "$now" ] || set -- --now "$now"
[ -n "$now" ] || set --
shown packet --query "$question" --max-tokens 1000 --format text "$@" || fail 'building the packet failed'
printf '\nThis block goes in front of the question in a call to a model. No model was asked to make it.\n'

heading '3. Explain: why these memories and no others'
if [ -t 1 ]; then
    shown explain || fail 'explaining the packet failed'
else
    shown explain >"$work/out" || fail 'explaining the packet failed'
    brief <"$work/out"
fi

heading "Done in $(($(date +%s) - started)) s; the temporary home is removed"
printf '%-18s %s\n' \
    'another question:' 'make quickstart Q="What did I promise Katarzyna?"' \
    'your own memory:' "$typed append \"what happened\"" \
    '' "$typed packet --query \"what you want to know\"" \
    '' "$typed explain" \
    'what it all means:' 'README.md; for the table above docs/explain.md'
