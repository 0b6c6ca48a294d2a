#!/bin/sh
# Run the nightly backup and let the assistant remember how it went. For cron:
#
#   15 3 * * *  remember-backup.sh "$HOME" /mnt/backup
#
# The memory is a by-product: when it cannot be written the backup is still the backup.
set -u

[ $# -eq 2 ] || { echo 'usage: remember-backup.sh FROM TO' >&2; exit 2; }
from=$1 to=$2
host=$(uname -n)
log=$(mktemp) || exit 74
trap 'rm -f "$log"' EXIT

# Without a session of its own every night would land in one endless conversation.
export ENGRAM_AGENT=assistant
export ENGRAM_SESSION="backup-$host"
ENGRAM_RUN=$(date -u +%Y-%m-%d)
export ENGRAM_RUN

begun=$(date +%s)
rsync --archive --delete --stats "$from/" "$to/" >"$log" 2>&1
status=$?
minutes=$((($(date +%s) - begun) / 60))

if [ "$status" -eq 0 ]; then
    files=$(sed -n 's/^Number of regular files transferred: //p' "$log")
    text="Backup of $from on $host: ${files:-0} files copied to $to in $minutes min."
else
    text="Backup of $from on $host FAILED with status $status after $minutes min: $(tail -n 1 "$log")"
fi

engram append --kind system --tag backup "$text" >/dev/null || echo "remember-backup: not remembered: $text" >&2
exit "$status"
