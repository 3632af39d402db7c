# shellcheck shell=sh disable=SC2015,SC2034,SC2154 # variables are shared with the other files
# Owns the switch and, beside it, its undoing. Both are one rename(2) of a link made beforehand, and
# both tolerate that they, or the other, already ran or never did.

# move_link DIRECTORY TARGET: renames DIRECTORY/current, which leads to TARGET, over ROOT/current and reads it back.
move_link() {
    # Into the directory, not onto the name: the form that is one rename on GNU, BusyBox and toybox.
    mv -f "$1/current" "$ROOT/" && leads_to "$2"
}

# leads_to TARGET: whether ROOT/current does. The link's own text is read by a program; where both lead to the same
# directory, that is not needed.
leads_to() {
    # shellcheck disable=SC3013 # every shell that runs this has it
    { [ -L "$ROOT/current" ] && [ "$ROOT/current" -ef "$1" ]; } || [ "$(readlink "$ROOT/current" 2>/dev/null)" = "$1" ]
}

# app_do FUNCTION...: calls these functions of src/supervisor with the recipe's variables. Always in a
# subshell: the user may have variables named like the ones used here.
app_do() (
    app_env && app_find_path || return
    for app_function; do
        "$app_function" || return
    done
)

say_verifying() { say phase verifying; }

# work_activate: switch, restart, prove.
work_activate() {
    journaled prepared || fail "the release is not ready to be switched to" || return
    if [ -e "$ROOT/current" ] && [ ! -L "$ROOT/current" ]; then
        fail "$ROOT/current is a real directory or file, not a link"
        return
    fi
    leads_to "$PREVIOUS" ||
        fail "$ROOT/current was changed by somebody else since the lock was taken" || return
    [ -f "$RECIPE/kind" ] || fail "release $RELEASE_ID has no recipe" || return
    journal switching || fail "could not write the journal" || return
    move_link "$RUN/forward" "$RELEASE" || fail "could not switch $ROOT/current to $RELEASE" || return
    journal_soon starting || fail "could not write the journal" || return
    durable "$ROOT"
    say switched "$RELEASE_ID"
    app_do app_start say_verifying app_verify
}

# work_recheck: whether what was proven still holds. Changes nothing.
work_recheck() {
    app_do app_recheck
}

# work_revert SECONDS: puts back what ran before. Every step is tried even when an earlier one failed.
# 97 when the attempt is committed, so that there is nothing to undo; 3 when something that was started
# in it cannot be ended. Unattended hosts wait SECONDS so that they do not all restart their apps at once.
work_revert() {
    revert_code=0 revert_bad=
    if ! end_all; then
        revert_code=3
        revert_bad="these processes of the deploy cannot be ended:$survivors"
    fi
    ! journaled committed || return 97
    thaw_own
    if ! journaled reverted; then
        if journaled switching; then
            journal reverting
            if [ "${1:-0}" -gt 0 ] && journaled starting; then
                sleep "$(($1 < 5 ? $1 : 5))"
            fi
            revert_switch
        fi
        revert_hooks || revert_add "the undo of a hook failed"
        forget_failed
    fi
    if [ -n "$revert_bad" ]; then
        journal 'revert failed'
        fail "$revert_bad"
        return "$revert_code"
    fi
    journal reverted
    return 0
}

# revert_add SENTENCE: the undoing goes on all the same.
revert_add() {
    revert_bad="${revert_bad:+$revert_bad; }$1"
    [ "$revert_code" != 0 ] || revert_code=1
}

# revert_switch: the link, then the app.
revert_switch() {
    revert_now=$(readlink "$ROOT/current" 2>/dev/null)
    case $revert_now in
        "$RELEASE" | "$PREVIOUS") ;;
        ?*)
            say warning "$ROOT/current was pointed at $revert_now by somebody else; it is left as it is"
            return
            ;;
    esac
    if [ -z "$PREVIOUS" ]; then
        # What was started for the first time is stopped where it runs, so while `current` is still there.
        revert_app || revert_add "what was started could not be stopped"
        [ -z "$revert_now" ] || rm -f "$ROOT/current" || revert_add "could not remove $ROOT/current"
        say reverted_link ''
        return
    fi
    if [ "$revert_now" != "$PREVIOUS" ]; then
        [ -L "$RUN/undo/current" ] || ln -s "$PREVIOUS" "$RUN/undo/current"
        if ! move_link "$RUN/undo" "$PREVIOUS"; then
            revert_add "could not put $ROOT/current back to $PREVIOUS"
            return
        fi
    fi
    say reverted_link "$PREVIOUS_ID"
    revert_app ||
        revert_add "current is back at $PREVIOUS, but the app could not be proven to run as before"
}

# revert_app: what ran before runs again, and is proven to, as far as the app was touched at all.
revert_app() {
    journaled starting || return 0
    revert_room
    if [ -n "$LEAVING" ]; then
        revert_to=$LEAVING revert_left=$RECIPE
        (
            use_release "$PREVIOUS_ID"
            RELEASE_ID=$PREVIOUS_ID RECIPE=$revert_to LEAVING=$revert_left REVERT=1
            app_do app_start app_verify
        )
    else
        app_do app_restore revert_answers
    fi
    revert_rc=$?
    [ -z "$revert_made" ] || rm -rf "$revert_made"
    return "$revert_rc"
}

# revert_answers: what another tool had started is given time to come up again. It has no recipe that
# says when it is well; today's health check may never have fitted it, so a "no" is only told.
revert_answers() {
    [ -n "$PREVIOUS" ] && probe_count || return 0
    revert_left=$probe_longest
    while [ "$revert_left" -gt 0 ]; do
        probe_all >/dev/null
        case $? in 0 | 2) return 0 ;; esac
        sleep 1
        revert_left=$((revert_left - 1))
    done
    say warning "what ran before was started again, but today's health check does not pass with it"
}

# revert_room: an app's start needs a little scratch space, also when the disk is full.
revert_room() {
    revert_made=
    if ! printf '%65536s' '' 2>/dev/null >"$WORK/room"; then
        for revert_at in /dev/shm "${TMPDIR:-/tmp}"; do
            revert_made=$(mktemp -d "$revert_at/rdeploy.XXXXXXXX" 2>/dev/null) || continue
            WORK=$revert_made
            break
        done
    fi
    rm -f "$RUN/work/room"
}

# revert_hooks: the undo commands of the hooks that completed, last completed first. Each is forgotten
# once it is undone, so that nothing is undone twice.
revert_hooks() {
    revert_rc=0
    # shellcheck disable=SC2045 # the names are numbers
    for revert_done in $(ls -r "$RUN/done"); do
        revert_hook=${revert_done#*.}
        if [ -s "$RUN/meta/hooks/$revert_hook/undo" ]; then
            (hook_run "$revert_hook" undo 3>&-) || {
                first_line "$RUN/meta/hooks/$revert_hook/undo"
                printf 'this undo of a hook failed: %s\n' "$line"
                revert_rc=1
                continue
            }
        fi
        rm -f "$RUN/done/$revert_done"
    done
    return "$revert_rc"
}
