# shellcheck shell=sh disable=SC2015,SC2034,SC2154 # variables are shared with the other files
# Owns who may change this tree. The lock is published complete, by a hard link, and names its owner's
# process by pid, start time and boot; a dead owner is succeeded by its own token, so that there is one
# heir. What a dead owner left half done is then found in its directory, whoever the heir is.

# read_lock FILE: puts an owner's file into lock_..., from one look at it. Fails when there is none.
read_lock() {
    lock_token='' lock_pid='' lock_start='' lock_boot=''
    lock_who='' lock_from='' lock_what='' lock_ci='' lock_since='' lock_message=''
    [ -f "$1" ] || return 1
    while IFS= read -r lock_text; do
        lock_key=${lock_text%%=*}
        lock_text=${lock_text#*=}
        case $lock_key in
            token) lock_token=$lock_text ;;
            pid) lock_pid=$lock_text ;;
            start) lock_start=$lock_text ;;
            boot) lock_boot=$lock_text ;;
            who) lock_who=$lock_text ;;
            from) lock_from=$lock_text ;;
            what) lock_what=$lock_text ;;
            ci) lock_ci=$lock_text ;;
            since) lock_since=$lock_text ;;
            message) lock_message=$lock_text ;;
        esac
    done 2>/dev/null <"$1"
    [ -n "$lock_token" ]
}

# lock_is_dead: whether the owner just read is gone. One that cannot be read is not ours to judge.
lock_is_dead() {
    [ -n "$lock_pid" ] && [ -n "$lock_start" ] || return 1
    [ "$lock_boot" = "$boot" ] && alive "$lock_pid" "$lock_start" && return 1
    return 0
}

# ours FILE: whether this user made it. What another user made is neither taken over nor run.
ours() {
    # shellcheck disable=SC3067 # every shell that runs this has it
    [ -O "$1" ]
}

# lock_line: the owner just read, in one line.
lock_line() {
    printf '%s from %s since %s, doing %s' "$lock_who" "$lock_from" "$lock_since" "$lock_what"
    [ -z "$lock_ci" ] || printf ' (%s)' "$lock_ci"
}

# user_of FILE: the name of the user it belongs to.
user_of() {
    # shellcheck disable=SC2012 # the third word is the user, whatever the name of the file
    ls -ld "$1" 2>/dev/null | awk '{ print $3 }'
}

# foreign_line: a lock that another user of the host made, in one line, as far as it may be read.
foreign_line() {
    printf 'the user %s of the host' "$(user_of "$PRIVATE/lock")"
    ! read_lock "$PRIVATE/lock" || printf ' (%s)' "$(lock_line)"
}

# about TEXT...: who acts and for what, as lines of a lock or a freeze. Its rest is given by the caller, and the time if
# it has just looked.
about() {
    for about_pair in "who=$OWNER" "from=$FROM" "ci=$CI_URL" "$@"; do
        plain "$about_pair"
        printf '%s\n' "$line"
    done
    printf 'since=%s\n' "${about_now:-$(date -u +%Y-%m-%dT%H:%M:%SZ)}"
}

# make_tree: the directories, once the lock is wanted. What the application reads must not inherit the
# guardian's own umask.
make_tree() {
    has_app_dirs || (umask 022 && mkdir -p "$ROOT" "$ROOT/releases" "$ROOT/shared") || return
    has_own_dirs || {
        mkdir -p "$PRIVATE/releases" "$PRIVATE/manifests" "$PRIVATE/incoming" "$PRIVATE/run" && chmod 700 "$PRIVATE"
    }
}

has_app_dirs() { [ -d "$ROOT/releases" ] && [ -d "$ROOT/shared" ]; }

has_own_dirs() {
    [ -d "$PRIVATE/releases" ] && [ -d "$PRIVATE/manifests" ] && [ -d "$PRIVATE/incoming" ] && [ -d "$PRIVATE/run" ]
}

# leaves_no_trace: whether a lock that is given back leaves the host as it was: nothing has to be made for it, and no
# dead attempt would be settled by whoever has it.
leaves_no_trace() {
    has_app_dirs && has_own_dirs && [ -s "$PRIVATE/app" ] && boot_id && each_dead_run false
}

# These run on a full disk, too, and can say what goes wrong: over what is written when the lock is taken.
FULL_DISK_ACTIONS='prepare ready activate revert'

# has_out_already ACTION
has_out_already() {
    case " $FULL_DISK_ACTIONS " in
        *" $1 "*) ;;
        *) return 1 ;;
    esac
}

# into_out ACTION COMMAND…: runs it for an action, with nothing to read.
into_out() {
    into_out_at=$RUN/out/$1
    if has_out_already "$1"; then
        shift
        "$@" </dev/null 1<>"$into_out_at" 2>&1
    else
        shift
        "$@" </dev/null >"$into_out_at" 2>&1
    fi
}

# make_run: this attempt's directory. Everything an undoing on a full disk will write is made here.
make_run() {
    mkdir "$RUN" "$RUN/pg" "$RUN/out" "$RUN/done" "$RUN/undo" "$RUN/forward" "$RUN/meta" "$RUN/meta/recipe" "$RUN/meta/hooks" \
        "$WORK" "$BEFORE" || return
    {
        read_stat $$
        printf 'token=%s\npid=%s\nstart=%s\nboot=%s\n' "$TOKEN" "$$" "$stat_start" "$boot"
        about "what=$VERB $ENV"
    } >"$RUN/lock" && on_disk "$RUN/lock" &&
        make_agent &&
        journal_new &&
        mark "$RUN/open" || return
    for make_out in $FULL_DISK_ACTIONS; do
        printf '%4095s\n' '' >"$RUN/out/$make_out" || return
    done
}

# make_agent: this program, for what is done in other processes. The one that the host has kept is the same file: that
# costs no space that was not there.
make_agent() {
    if [ -n "$AGENT_NEW" ]; then
        printf '%s\n' "$AGENT_TEXT" >"$RUN/agent.sh"
    else
        ln "$AGENT_AT" "$RUN/agent.sh"
    fi
}

# keep_agent: so that the next client need not send it. A name for what is on the disk: nobody looks into it again.
keep_agent() {
    [ -n "$AGENT_NEW" ] || return 0
    rm -f "$PRIVATE"/agent.*
    on_disk "$RUN/agent.sh" && ln "$RUN/agent.sh" "$AGENT_AT"
}

# held: whether somebody else has the lock; says who.
held() {
    if [ -e "$PRIVATE/lock" ] && ! ours "$PRIVATE/lock"; then
        say held "$(foreign_line)"
    elif read_lock "$PRIVATE/lock" && ! lock_is_dead; then
        say held "$(lock_line)"
    else
        return 1
    fi
}

# take_lock: 0 taken, 1 failed (reason printed), 2 held or frozen (owner said).
take_lock() {
    boot_id
    # What a dead owner left stays as it is, too, until the freeze is lifted.
    ! frozen || return 2
    make_tree || fail "could not make the directories below $ROOT" || return
    if ! make_run >"$META/run.out" 2>&1; then
        # Whoever has the lock may have put another version of this program into its place.
        ! held || return 2
        fail "could not make $RUN; is the disk full?"
        head -n 2 "$META/run.out"
        return 1
    fi
    lock_tries=0
    while ! ln "$RUN/lock" "$PRIVATE/lock" 2>/dev/null; do
        succeed "$PRIVATE/lock" && break
        ! held || return 2
        # Freed, or being taken over, between two looks; a directory without hard links never gives it.
        lock_tries=$((lock_tries + 1))
        [ "$lock_tries" -lt 50 ] ||
            fail "could not publish the lock in $PRIVATE (does its file system have hard links?)" || return
        nap
    done
    # It may have been placed while this attempt asked; now it cannot be any more.
    ! frozen || return 2
    # Claims of heirs who died, or who are about to see that they came too late.
    set -- "$PRIVATE"/lock.after.*
    [ ! -e "$1" ] || rm -f "$@"
    [ -s "$PRIVATE/app" ] || put_line "$PRIVATE/app" "$APP $ENV"
    first_line "$PRIVATE/app"
    [ "$line" = "$APP $ENV" ] || fail "$ROOT belongs to \`$line\`" || return
    lay_meta "$RUN/meta" || fail "could not write what the client gave to $RUN/meta; is the disk full?" || return
    drop_meta
    # Without it everything works as well.
    keep_agent 2>/dev/null || :
}

# succeed FILE: takes an owner's file over from an owner whose process is gone.
#
# One heir: the claim's name holds the dead token, and only one process can make it. An heir who died
# before it took over is succeeded in the same way. Whoever holds the claim looks again, because the
# file may have been taken over before the claim was made.
succeed() {
    read_lock "$1" && ours "$1" && lock_is_dead || return 1
    set -- "$1" "$PRIVATE/lock.after.$lock_token" "$lock_token"
    ln "$RUN/lock" "$2" 2>/dev/null || succeed "$2" || return 1
    if read_lock "$1" && [ "$lock_token" = "$3" ]; then
        mv -f "$2" "$1"
        return
    fi
    rm -f "$2"
    return 1
}

# free_lock: removes it only if it is this attempt's. Without `attempt` nobody takes what is left of
# the directory for something to be undone.
free_lock() {
    set -- "$RUN/attempt"
    if read_lock "$PRIVATE/lock" && [ "$lock_token" = "$TOKEN" ]; then
        set -- "$@" "$PRIVATE/lock"
    fi
    # In this order. A worker that is just being started may still enter itself; once.
    rm -rf "$@" "$RUN" 2>/dev/null || rm -rf "$@" "$RUN"
}

# each_dead_run FUNCTION: calls it with the directory of each attempt that ended without tidying up;
# stops at the first failure.
each_dead_run() {
    for dead_run in "$PRIVATE"/run/*; do
        [ -d "$dead_run" ] && [ "$dead_run" != "$RUN" ] && ours "$dead_run" || continue
        if read_lock "$dead_run/lock"; then
            # Alive, it only waits for the lock.
            lock_is_dead || continue
        else
            # Somebody's first moment, or the trace of a long past one.
            [ -n "$(find "$dead_run" -prune -mmin +60 2>/dev/null)" ] || continue
        fi
        "$1" "$dead_run" || return
    done
}

# recover_one RUN_DIRECTORY: finishes or undoes what was begun there, by the program that began it.
recover_one() {
    recover_code=0
    if [ -s "$1/attempt" ] && [ -s "$1/agent.sh" ]; then
        say note "an earlier attempt died here ($(lock_line)); what it left is settled first"
        set -- "$1" "$lock_token"
        # Its own client's next guardian has a name that says so.
        if [ "$TOKEN" = "$2-next" ]; then
            sh "$1/agent.sh" undo "$1" attended
        else
            sh "$1/agent.sh" undo "$1"
        fi </dev/null >"$RUN/out/undo" 2>&1
        recover_code=$?
        # The steps wrote before it; the last line sums up.
        line=$(tail -n 1 "$RUN/out/undo")
        # A host that went down before it was ready to switch may not even have this program whole, and has
        # nothing to put back.
        case $recover_code in
            0 | 3 | 97) ;;
            *) [ "$lock_boot" = "$boot" ] || grep -q '^prepared *$' "$1/journal" || recover_code=0 ;;
        esac
    fi
    case $recover_code in
        0) say undone reverted ;;
        97) say undone committed ;;
        3)
            printf '%s\n' "$line"
            return 1
            ;;
        *)
            say warning "the earlier attempt could not be put back: $line"
            keep_log "$RUN/out/undo"
            say undone "failed $line"
            ;;
    esac
    rm -rf "$1"
}

# work_recover: the first action under a new lock, where something was left behind. Then the facts.
work_recover() {
    boot_id
    each_dead_run recover_one && state_facts
}
