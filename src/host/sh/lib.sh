# shellcheck shell=sh
# Owns names, quoting and the small tools every other file here uses. Only defines; runs nothing.
# All files of this directory and those of src/supervisor are joined into one program, the agent,
# which a POSIX sh (dash, bash, BusyBox ash) runs on the host. main.sh, last, decides what it does.
#
# Variables, all from `settings` and `attempt` (see src/host/settings.rs):
#   ROOT        deploy_to            APP, ENV    project and environment that own this tree
#   TOKEN       names this attempt   HOST, ROLES this host, as hooks see it
#   VERB        deploy or rollback   LEASE       seconds a switched host waits for a silent client
#   RELEASE_ID  what is being made live      PREVIOUS  what `current` pointed at before (a path, or empty)
# and derived: PRIVATE, RUN (this attempt's directory), RELEASE, RECIPE, BEFORE, WORK.

NL='
'
SAY_FD=1

# say KEY TEXT: states a fact to the client, one line. Never more than a pipe takes at once.
say() {
    case $2 in
        *"$NL"*) say_text=$(printf %s "$2" | tr '\n' ' ') ;;
        *) say_text=$2 ;;
    esac
    printf 'say %s %.3000s\n' "$1" "$say_text" >&"$SAY_FD"
}

# fail SENTENCE: why the present action failed; the first such line is what a person reads.
fail() {
    printf '%s\n' "$1"
    return 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# quote WORD: so that a shell reads it back unchanged.
quote() { printf "'%s'" "$(printf %s "$1" | sed "s/'/'\\\\''/g")"; }

# derive: sets what follows from ROOT and TOKEN.
derive() {
    PRIVATE=$ROOT/.rdeploy
    RUN=$PRIVATE/run/$TOKEN
    BEFORE=$RUN/before
    WORK=$RUN/work
    RELEASE_ID=${RELEASE_ID:-}
    PREVIOUS=${PREVIOUS:-}
    use_release "$RELEASE_ID"
}

# use_release ID: points RELEASE and RECIPE at it.
use_release() {
    RELEASE=$ROOT/releases/$1
    RECIPE=$PRIVATE/releases/$1/recipe
}

# load RUN_DIRECTORY: reads an attempt's variables.
load() {
    # shellcheck disable=SC1091
    . "$1/meta/settings"
    if [ -f "$1/attempt" ]; then
        # shellcheck disable=SC1091
        . "$1/attempt"
    fi
    derive
}

# durable PATH: waits until everything on its file system is on the disk.
durable() { sync -f "$1" 2>/dev/null || sync; }

# put_file PATH: writes standard input to PATH so that a reader sees the old content or the new.
put_file() {
    cat >"$1.$$" && mv -f "$1.$$" "$1" && return
    rm -f "$1.$$"
    return 1
}

# state_of ID: preparing, good, failed, bad, adopted, or nothing.
state_of() { cat "$PRIVATE/releases/$1/state" 2>/dev/null; }

set_state() { printf '%s\n' "$2" | put_file "$PRIVATE/releases/$1/state"; }

# start_time PID: when it started, in clock ticks since boot. With the pid it names one process for ever.
start_time() {
    [ -r "/proc/$1/stat" ] || return 1
    start_stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    # The command's name stands in brackets and may hold spaces.
    start_stat=${start_stat##*) }
    # shellcheck disable=SC2086
    set -- $start_stat
    printf %s "${20}"
}

# alive PID START: whether that very process still runs (a zombie does not).
alive() {
    [ -n "$1" ] && [ "$(start_time "$1")" = "$2" ] || return 1
    case $(sed 's/.*) //' "/proc/$1/stat" 2>/dev/null) in Z* | X* | '') return 1 ;; esac
}

# group_of PID
group_of() {
    group_stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    group_stat=${group_stat##*) }
    # shellcheck disable=SC2086
    set -- $group_stat
    printf %s "$3"
}

# The journal: fixed records in a file that was written in full when the lock was taken, so that
# noting a step needs no space on the disk. 48 records of 96 bytes.
journal_new() {
    journal_blank=$(printf '%95s' '')
    journal_n=0
    while [ "$journal_n" -lt 48 ]; do
        printf '%s\n' "$journal_blank"
        journal_n=$((journal_n + 1))
    done | put_file "$RUN/journal"
}

# journal STEP: notes it, durably, before it is taken. A journal that cannot be written stops nobody
# from undoing; callers that go forward check the result.
journal() {
    journal_n=$(grep -c '[^ ]' "$RUN/journal" 2>/dev/null) || journal_n=0
    printf '%-95.95s\n' "$1" |
        dd of="$RUN/journal" bs=96 seek="$journal_n" conv=notrunc,fsync 2>/dev/null
}

# journaled STEP: whether it was noted.
journaled() { grep -q "^$1 *\$" "$RUN/journal" 2>/dev/null; }
