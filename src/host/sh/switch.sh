# shellcheck shell=sh
# Owns the switch and, beside it, its undoing. Both are one rename(2) of a link made beforehand, and
# both tolerate that they, or the other, already ran or never did.

# move_link DIRECTORY: renames DIRECTORY/current over ROOT/current and reads it back.
move_link() {
    move_to=$(readlink "$1/current") || return
    # Into the directory, not onto the name: the form that is one rename on GNU, BusyBox and toybox.
    mv -f "$1/current" "$ROOT/" || return
    [ "$(readlink "$ROOT/current")" = "$move_to" ]
}

# work_activate: switch, restart, prove.
work_activate() {
    if [ -e "$ROOT/current" ] && [ ! -L "$ROOT/current" ]; then
        fail "$ROOT/current is a real directory or file, not a link"
        return
    fi
    [ "$(readlink "$ROOT/current" 2>/dev/null)" = "$PREVIOUS" ] ||
        fail "$ROOT/current was changed by somebody else since the lock was taken" || return
    [ -f "$RECIPE/kind" ] || fail "release $RELEASE_ID has no recipe" || return
    journal switching || fail "could not write the journal" || return
    move_link "$RUN/forward" || fail "could not switch $ROOT/current to $RELEASE" || return
    durable "$ROOT"
    say switched "$RELEASE_ID"
    LEAVING=
    if [ -n "$PREVIOUS" ] && [ -f "$PRIVATE/releases/${PREVIOUS##*/}/recipe/kind" ]; then
        LEAVING=$PRIVATE/releases/${PREVIOUS##*/}/recipe
    fi
    journal starting
    # In shells of their own: the user's variables may have the names of the agent's.
    (app_env && app_find_path && app_start) || return
    journal verifying
    say phase verifying
    (app_env && app_find_path && app_verify)
}

# work_revert: puts back what ran before. Every step is tried even when an earlier one failed.
work_revert() {
    revert_bad=
    if journaled switching && ! journaled committed; then
        journal reverting
        revert_link || revert_bad="could not put $ROOT/current back to ${PREVIOUS:-nothing}"
        say reverted_link "${PREVIOUS##*/}"
        if [ -z "$revert_bad" ] && journaled starting; then
            (revert_app) || revert_bad="current is back at ${PREVIOUS:-nothing}, but the app could not be proven to run as before"
        fi
    fi
    revert_hooks || revert_bad="${revert_bad:+$revert_bad; }a hook's undo failed"
    forget_failed
    if [ -n "$revert_bad" ]; then
        journal 'revert failed'
        fail "$revert_bad"
        return
    fi
    journal reverted
    return 0
}

revert_link() {
    if [ -n "$PREVIOUS" ]; then
        [ "$(readlink "$ROOT/current" 2>/dev/null)" = "$PREVIOUS" ] && return
        [ -L "$RUN/undo/current" ] || ln -s "$PREVIOUS" "$RUN/undo/current" || return
        move_link "$RUN/undo"
    elif [ "$(readlink "$ROOT/current" 2>/dev/null)" = "$RELEASE" ]; then
        rm -f "$ROOT/current"
    fi
}

revert_app() {
    revert_left=$RECIPE
    revert_to=${PREVIOUS##*/}
    if [ -n "$PREVIOUS" ] && [ -f "$PRIVATE/releases/$revert_to/recipe/kind" ]; then
        RELEASE_ID=$revert_to
        use_release "$revert_to"
        LEAVING=$revert_left
        REVERT=1
        app_env && app_find_path && app_start && app_verify
    else
        app_env && app_find_path && app_restore && revert_answers
    fi
}

# revert_answers: what another tool had started is given time to come up again. It has no recipe that
# says when it is well; today's health check may never have fitted it, so a "no" is only told.
revert_answers() {
    [ -n "$PREVIOUS" ] && [ -n "$(app_health kind)" ] || return 0
    revert_left=$(app_health timeout)
    while [ "${revert_left:-30}" -gt 0 ]; do
        probe_once >/dev/null
        case $? in 0 | 2) return 0 ;; esac
        sleep 1
        revert_left=$((${revert_left:-30} - 1))
    done
    say warning "what ran before was started again, but today's health check does not pass with it"
}

# revert_hooks: the undo commands of the hooks that completed, last completed first.
revert_hooks() {
    [ -s "$RUN/hooks.done" ] || return 0
    revert_rc=0
    for revert_hook in $(sed '1!G;h;$!d' "$RUN/hooks.done"); do
        [ -s "$RUN/meta/hooks/$revert_hook/undo" ] || continue
        (hook_enter "$revert_hook" && sh "$RUN/meta/hooks/$revert_hook/undo" </dev/null 3>&-) || {
            printf 'the undo of this hook failed: %s\n' "$(head -n 1 "$RUN/meta/hooks/$revert_hook/run")"
            revert_rc=1
        }
    done
    rm -f "$RUN/hooks.done"
    return "$revert_rc"
}

# forget_failed: a failed release stays, marked, for whoever looks into it; the one before it goes.
forget_failed() {
    rm -rf "$PRIVATE/incoming/${DIGEST:-none}/$TOKEN"
    rmdir "$PRIVATE/incoming/${DIGEST:-none}" 2>/dev/null
    # Only what this attempt made: whoever took over from it must not condemn what it committed.
    [ -n "$RELEASE_ID" ] && [ "$(cat "$PRIVATE/releases/$RELEASE_ID/attempt" 2>/dev/null)" = "$TOKEN" ] || return 0
    set_state "$RELEASE_ID" failed
    for forget_record in "$PRIVATE"/releases/*/; do
        forget_id=$(basename "$forget_record")
        [ "$forget_id" != "$RELEASE_ID" ] && [ "$(state_of "$forget_id")" = failed ] || continue
        remove_release "$forget_id"
    done
    return 0
}

# remove_release ID: never what is live, what an app runs from, or what rdeploy did not make.
remove_release() {
    case $1 in '' | *[!0-9]*) return 0 ;; esac
    [ -d "$PRIVATE/releases/$1" ] || return 0
    [ "$(readlink "$ROOT/current" 2>/dev/null)" != "$ROOT/releases/$1" ] || return 0
    [ "$1" != "${PREVIOUS##*/}" ] || return 0
    for remove_proc in /proc/[0-9]*/cwd; do
        case $(readlink "$remove_proc" 2>/dev/null)/ in
            "$ROOT/releases/$1"/*)
                say note "release $1 stays: process ${remove_proc#/proc/} still runs from it"
                return 0
                ;;
        esac
    done
    rm -rf "$ROOT/releases/$1" "$PRIVATE/releases/$1" "$PRIVATE/manifests/$1"
}
