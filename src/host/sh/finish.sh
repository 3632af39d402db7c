# shellcheck shell=sh disable=SC2015,SC2034,SC2154 # variables are shared with the other files
# Owns the end that went well (the commit, and after it what may fail without harm), what is removed
# after either end, and the lines that are left for people.

# work_commit: one journal record decides; everything before it can be done again. Like an undoing it
# needs no space: a disk that fills up now must not leave this host behind the others.
work_commit() {
    set_state "$RELEASE_ID" good || fail "could not mark the release good" || return
    durable "$ROOT"
    journal committed || fail "could not write the journal" || return
    # Going back says that what was left is bad; going forward again says nothing about it.
    case $VERB:$PREVIOUS_ID in
        deploy:* | *:*[!0-9]* | *:) ;;
        *)
            if [ -d "$PRIVATE/releases/$PREVIOUS_ID" ] && [ "$RELEASE_ID" -lt "$PREVIOUS_ID" ]; then
                set_state "$PREVIOUS_ID" bad
            fi
            ;;
    esac
    return 0
}

# work_finish "ID...": save, prune, note. Problems are told, never fatal. A next attempt comes here too
# when the guardian died after the commit, and so does a client that goes on with that one.
work_finish() {
    [ ! -e "$RUN/finished" ] || return 0
    state_of "$RELEASE_ID"
    [ "$line" = good ] || fail "nothing is committed that could be finished" || return
    if ! app_do app_commit >"$RUN/out/supervisor" 2>&1; then
        first_line "$RUN/out/supervisor"
        say warning "the supervisor's process list could not be saved: $line"
    fi
    # What a killed clean-up left.
    [ ! -e "$PRIVATE/trash" ] || rm -rf "$PRIVATE/trash"
    # Else the guardian that committed has died, and who settled its attempt has noted it.
    if journaled committed; then
        adopt_previous
        case $VERB in
            rollback) note_revision "$OWNER rolled back to release $RELEASE_ID" ;;
            resume) note_revision "$OWNER brought this host level with the others, at release $RELEASE_ID" ;;
            *) note_revision "Branch ${BRANCH:-none} (at ${COMMIT:-none}) deployed as release $RELEASE_ID by $OWNER" ;;
        esac
        note_absent "$ABSENT"
        history 'done' ''
    fi
    mark "$RUN/finished" 2>/dev/null
    # What was left of uploads is of no use any more.
    for finish_at in "$PRIVATE"/incoming/*; do
        [ ! -e "$finish_at" ] || rm -rf "$finish_at"
    done
    for finish_id in ${1:-}; do
        remove_release "$finish_id"
    done
    # What an attempt left that could not even be put back: under this lock nobody prepares it any more. It
    # may have been live until now.
    each_unmade give_up
    return 0
}

# adopt_previous: a release of another tool that was live until now can be gone back to, with the recipe
# of the release that follows it, whose paths lead through `current`. It is never removed, whatever becomes of
# its state: once it was gone back to, it is good like any other.
adopt_previous() {
    case $PREVIOUS_ID in
        *[!0-9]*) return 0 ;;
        ??????????????) ;;
        *) return 0 ;;
    esac
    adopt_record=$PRIVATE/releases/$PREVIOUS_ID
    [ -d "$ROOT/releases/$PREVIOUS_ID" ] && [ ! -d "$adopt_record" ] || return 0
    mkdir "$adopt_record" && printf '' >"$adopt_record/theirs" && cp -R "$RECIPE" "$adopt_record/recipe" &&
        set_state "$PREVIOUS_ID" adopted || {
        rm -rf "$adopt_record"
        say warning "release $PREVIOUS_ID of another tool could not be recorded, so it cannot be gone back to"
    }
}

# work_stop: ends the live release's app; only for hosts inside rdeploy, which have a supervisor of their own.
work_stop() {
    use_release "$(basename "$(readlink "$ROOT/current")")"
    [ -f "$RECIPE/kind" ] || return 0
    app_do app_stop stop_daemon
}

# stop_daemon: it was started in the sandbox, for this app alone.
stop_daemon() {
    if [ "$(app_setting kind)" = pm2 ] && pm2_alive; then
        pm2_run 30 kill
    fi
}

# forget_upload: what had arrived stays for the next attempt, unless it is of no use or in the way.
forget_upload() {
    forget_at=$PRIVATE/incoming/${DIGEST:-none}
    [ -d "$forget_at" ] || return 0
    if [ ! -s "$forget_at/manifest" ] || [ -n "$(full_disk "$PRIVATE")" ] ||
        [ -z "$(find "$forget_at" -mindepth 2 -type f 2>/dev/null | head -n 1)" ]; then
        rm -rf "$forget_at"
    fi
}

# forget_failed: a failed release stays, marked, for whoever looks into it; the one before it goes. Only
# a release that this attempt made can have failed in it.
forget_failed() {
    [ "$VERB" != rollback ] && [ -n "$RELEASE_ID" ] || return 0
    forget_upload
    [ -e "$RUN/made" ] || return 0
    for forget_record in "$PRIVATE"/releases/*; do
        forget_id=${forget_record##*/}
        [ "$forget_id" != "$RELEASE_ID" ] || continue
        state_of "$forget_id"
        [ "$line" != failed ] || remove_release "$forget_id"
    done
    each_unmade remove_release
    if [ -d "$RELEASE" ]; then
        set_state "$RELEASE_ID" failed
    else
        rm -rf "$PRIVATE/releases/$RELEASE_ID" "$PRIVATE/manifests/$RELEASE_ID"
    fi
    return 0
}

# each_unmade FUNCTION: calls it with every release that was never made whole, but for this attempt's own.
# `preparing`, or nothing: a host that went down has left it.
each_unmade() {
    for unmade_record in "$PRIVATE"/releases/*; do
        unmade_id=${unmade_record##*/}
        [ -d "$unmade_record" ] && [ "$unmade_id" != "$RELEASE_ID" ] || continue
        state_of "$unmade_id"
        case $line in preparing | '') "$1" "$unmade_id" ;; esac
    done
}

# give_up ID: a release that never ran well.
give_up() {
    set_state "$1" failed
    remove_release "$1"
}

# remove_release ID: never what is live, what was live before, what a process runs from, or what
# rdeploy did not make. First out of sight, in one step, so that no half of a release can be gone.
remove_release() {
    case $1 in '' | *[!0-9]*) return 0 ;; esac
    [ -d "$PRIVATE/releases/$1" ] && [ "$1" != "$PREVIOUS_ID" ] && [ ! -e "$PRIVATE/releases/$1/theirs" ] || return 0
    remove_at=$(cd "$ROOT/releases/$1" 2>/dev/null && pwd -P)
    if [ -n "$remove_at" ]; then
        [ "$remove_at" != "$(cd "$ROOT/current" 2>/dev/null && pwd -P)" ] || return 0
        remove_pid=$(runs_from "$remove_at")
        if [ -n "$remove_pid" ]; then
            say note "release $1 stays: process $remove_pid still runs from it"
            return 0
        fi
        mkdir -p "$PRIVATE/trash" && mv "$ROOT/releases/$1" "$PRIVATE/trash/$1.$TOKEN" || {
            say warning "release $1 could not be removed"
            return 0
        }
    fi
    rm -rf "$PRIVATE/releases/$1" "$PRIVATE/manifests/$1" "$PRIVATE/trash"
}

# runs_from DIRECTORY: prints a process whose working directory or program is there, as far as this user
# may see that. One `ls` for all: a process for each would take seconds on a full host.
runs_from() {
    # shellcheck disable=SC2010,SC2012 # the names are those of /proc
    ls -l /proc/[0-9]*/cwd /proc/[0-9]*/exe 2>/dev/null |
        sed -n 's/^.* \/proc\/\([0-9]*\)\/[a-z]* -> \(.*\)$/\1 \2/p' |
        while read -r runs_pid runs_at; do
            case $runs_at/ in "$1"/*)
                printf '%s\n' "$runs_pid"
                break
                ;;
            esac
        done
}

# work_absent NAMES: on a host that runs what it should; which hosts still do not.
work_absent() {
    note_absent "$1" || fail "could not write $PRIVATE/absent"
}

# note_absent NAMES: which hosts do not run what this one runs, because they could not be reached; one a
# line. Without any there is no such file.
note_absent() {
    if [ -z "$1" ]; then
        [ ! -e "$PRIVATE/absent" ] || rm -f "$PRIVATE/absent"
    elif ! printf '%s\n' "$1" | tr ' ' '\n' | put_file "$PRIVATE/absent" 2>/dev/null; then
        say warning "the hosts that were left out could not be noted in $PRIVATE/absent"
        return 1
    fi
}

# note_revision LINE: Capistrano's log, which others may read.
note_revision() {
    plain "$1"
    (umask 022 && printf '%s\n' "$line" >>"$ROOT/revisions.log") 2>/dev/null
}

# history OUTCOME REASON: one line an attempt, for people. Best effort.
history() {
    history_line="\"time\":\"$(date -u +%Y-%m-%dT%H:%M:%SZ)\""
    history_add verb "$VERB"
    history_add release "$RELEASE_ID"
    history_add previous "$PREVIOUS_ID"
    history_add outcome "$1"
    history_add reason "$2"
    history_add digest "$DIGEST"
    history_add commit "$COMMIT"
    history_add branch "$BRANCH"
    history_add actor "$OWNER"
    history_add from "$FROM"
    history_add ci "$CI_URL"
    history_add attempt "$TOKEN"
    printf '{%s}\n' "$history_line" 2>/dev/null >>"$PRIVATE/history.ndjson"
    # For whoever wants no other line, and would need a process to find it.
    printf '{%s}\n' "$history_line" 2>/dev/null >"$PRIVATE/last"
}

# history_add KEY TEXT: as JSON.
history_add() {
    plain "$2"
    case $line in *[\"\\]*) line=$(printf %s "$line" | sed 's/\\/\\\\/g; s/"/\\"/g') ;; esac
    history_line="$history_line,\"$1\":\"$line\""
}

# keep_log FILE: what a failed undoing wrote, for a person.
keep_log() { cp "$1" "$PRIVATE/revert-failed.log" 2>/dev/null; }
