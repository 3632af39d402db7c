# shellcheck shell=sh disable=SC2015,SC2034,SC2154 # variables are shared with the other files
# Owns names, quoting and the small tools every other file here uses. Only defines; runs nothing.
# All files of this directory and those of src/supervisor are joined into one program, the agent,
# which a POSIX sh (dash, bash, BusyBox ash) runs on the host. beside.sh, act.sh and main.sh, last, decide what it does.
#
# Variables, all from `settings` and `attempt` (see src/host/settings.rs):
#   ROOT        deploy_to            APP, ENV    project and environment that own this tree
#   TOKEN       names this attempt   HOST, ROLES this host, as hooks see it
#   VERB        deploy, rollback or resume   LEASE       seconds a switched host waits for a silent client
#   RELEASE_ID  what is being made live      PREVIOUS  what `current` held before (the link's text, or empty)
#   ABSENT      the hosts that do not take part because they cannot be reached
# and derived: PRIVATE, RUN (this attempt's directory), RELEASE, RECIPE, PREVIOUS_ID, LEAVING, BEFORE, WORK.
#
# Two rules of POSIX shells to keep in mind here: a redirection that fails ends the whole shell when the
# command is a special built-in (so a file is never made with `: >file`), and what a shell starts with
# `&` ignores SIGINT for ever (so actions are not started that way).

# say KEY TEXT: states a fact to the client, one line, never more than a pipe takes at once.
# Descriptor 3 leads there: in the guardian's children through its FIFO. That there was a problem stays known here too.
say() {
    say_text=$2
    [ "$1" != problem ] || mark "$META/problem"
    case $say_text in
        *'
'*) say_text=$(printf %s "$2" | tr '\n' ' ') ;;
    esac
    printf 'say %s %.3000s\n' "$1" "$say_text" >&3
}

# plain TEXT: puts it into `line` without control characters, which would forge lines of a lock or a record.
plain() {
    line=$1
    case $1 in *[[:cntrl:]]*) line=$(printf %s "$1" | tr '\001-\037\177' ' ') ;; esac
}

# fail SENTENCE: why the present action failed; the first such line is what a person reads.
fail() {
    printf '%s\n' "$1"
    return 1
}

new_line='
'
tab='	'

have() { command -v "$1" >/dev/null 2>&1; }

# is_root: whether this user may do all.
is_root() {
    while read -r root_key root_id _; do
        [ "$root_key" != Uid: ] || break
    done 2>/dev/null </proc/self/status
    [ "${root_id:-}" = 0 ]
}

nap() { sleep 0.1 2>/dev/null || sleep 1; }

# quote WORD: so that a shell reads it back unchanged.
quote() {
    case $1 in
        *\'*) printf "'%s'" "$(printf %s "$1" | sed "s/'/'\\\\''/g")" ;;
        *) printf "'%s'" "$1" ;;
    esac
}

# derive: sets what follows from the variables of `settings` and `attempt`.
derive() {
    PRIVATE=$ROOT/.rdeploy
    RUN=$PRIVATE/run/$TOKEN
    BEFORE=$RUN/before
    WORK=$RUN/work
    RELEASE_ID=${RELEASE_ID:-} PREVIOUS=${PREVIOUS:-} DIGEST=${DIGEST:-} COMMIT=${COMMIT:-} BRANCH=${BRANCH:-}
    ABSENT=${ABSENT:-}
    use_release "$RELEASE_ID"
    PREVIOUS_ID=${PREVIOUS%"${PREVIOUS##*[!/]}"}
    PREVIOUS_ID=${PREVIOUS_ID##*/}
    LEAVING=
    if [ -n "$PREVIOUS_ID" ] && [ -f "$PRIVATE/releases/$PREVIOUS_ID/recipe/kind" ]; then
        LEAVING=$PRIVATE/releases/$PREVIOUS_ID/recipe
    fi
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

# on_disk FILE: waits until its content is there. A file system may keep a name through a power cut, and
# not what the file held; so this comes before a name that others go by.
on_disk() { dd if=/dev/null of="$1" bs=1 conv=notrunc,fsync 2>/dev/null; }

# Processes are what an attempt costs a host: what a shell can do by itself, no program does here.

# fourth: the fourth word of the second line of standard input, as `df -P` has the free space.
fourth() {
    read -r fourth_line && read -r fourth_line || return
    # shellcheck disable=SC2086
    set -- $fourth_line
    printf %s "${4:-}"
}

# full_disk DIRECTORY: says so, where that may be why something failed. The client looks for this sentence.
full_disk() {
    full_free=$(df -Pk "$1" 2>/dev/null | fourth)
    [ "${full_free:-1024}" -ge 1024 ] || printf 'the disk is full: %s KiB are free at %s\n' "$full_free" "$1"
}

# put_line PATH TEXT: writes a line as put_file does, without a process of its own for it.
put_line() {
    printf '%s\n' "$2" >"$RUN/new.$$" && mv -f "$RUN/new.$$" "$1" && return
    rm -f "$RUN/new.$$"
    return 1
}

# put_file PATH: writes standard input to PATH so that a reader sees the old content or the new. What a
# kill leaves behind lies in the attempt's directory and goes with it.
put_file() {
    cat >"$RUN/new.$$" && mv -f "$RUN/new.$$" "$1" && return
    rm -f "$RUN/new.$$"
    return 1
}

# forget FILE...: removes them, without a process where there is none.
forget() {
    for forget_file; do
        [ ! -e "$forget_file" ] || {
            rm -f "$@"
            return
        }
    done
}

# mark FILE: makes one without content, whose name is what it says. With no inode left, a hard link still finds room.
mark() { printf '' 2>/dev/null >"$1" || ln "$RUN/lock" "$1"; }

# first_line FILE: puts it into `line`, without a process; empty where there is none.
first_line() {
    line=
    [ -f "$1" ] || return 1
    read -r line 2>/dev/null <"$1" || [ -n "$line" ]
}

# state_of ID: puts preparing, good, failed, bad, adopted, or nothing, into `line`.
state_of() { first_line "$PRIVATE/releases/$1/state"; }

# set_state ID STATE: over the old word, in one write that needs no space.
set_state() { printf '%-9s\n' "$2" 1<>"$PRIVATE/releases/$1/state"; }

# read_stat PID: what /proc says of a process. With its start (in ticks since boot) a pid names one
# process for ever.
read_stat() {
    stat_start='' stat_line=''
    [ -n "$1" ] && read -r stat_line 2>/dev/null <"/proc/$1/stat" || return 1
    # The command's name stands in brackets and may hold spaces.
    stat_line=${stat_line##*) }
    # shellcheck disable=SC2086
    set -- $stat_line
    [ $# -ge 20 ] || return 1
    stat_state=$1 stat_group=$3 stat_start=${20}
}

# alive PID START: whether that very process still runs (a zombie does not).
alive() {
    read_stat "$1" && [ "$stat_start" = "$2" ] || return 1
    case $stat_state in Z | X) return 1 ;; esac
}

# boot_id: puts what names the time since the last boot into `boot`. Pids of another boot name nobody.
boot_id() {
    boot=
    read -r boot 2>/dev/null </proc/sys/kernel/random/boot_id || [ -n "$boot" ] || boot=unknown
}

# The journal: fixed records in a file that was written in full when the lock was taken, so that
# noting a step needs no space on the disk. 48 records of 96 bytes.
journal_new() {
    for journal_left in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do
        printf '%95s\n%95s\n%95s\n' '' '' ''
    done >"$RUN/journal"
}

# journal STEP: notes it, durably, before it is taken. A journal that cannot be written stops nobody
# from undoing; callers that go forward check the result.
journal() {
    journaled '' || :
    printf '%-95.95s\n' "$1" |
        dd of="$RUN/journal" bs=96 seek="$journal_n" conv=notrunc,fsync 2>/dev/null
}

# journal_soon STEP: the same without waiting for the disk, and without a process. What makes it durable comes later: a
# further step, or `durable`.
journal_soon() {
    journaled '' || :
    [ -f "$RUN/journal" ] || return
    {
        # Where reading ends, writing begins.
        while [ "$journal_n" -gt 0 ]; do
            read -r journal_step <&6 || return
            journal_n=$((journal_n - 1))
        done
        printf '%-95.95s\n' "$1" >&6
    } 6<>"$RUN/journal"
}

# journaled STEP: whether it was noted; if not, journal_n is the number of records.
journaled() {
    journal_n=0
    [ -r "$RUN/journal" ] || return 1
    # `read` takes the blanks at the end away.
    while read -r journal_step && [ -n "$journal_step" ]; do
        [ "$journal_step" != "$1" ] || return 0
        journal_n=$((journal_n + 1))
    done <"$RUN/journal"
    return 1
}
