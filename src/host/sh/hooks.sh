# shellcheck shell=sh disable=SC2015,SC2034,SC2154 # variables are shared with the other files
# Owns the user's commands on this host: running them, and having a host that was taken out of service by
# them taken back when nobody else is there to do it. Their undoing is a part of switch.sh.

# hook N: a user's command on a channel of its own; output goes to the client as it comes.
hook() {
    first_line "$RUN/meta/hooks/$1/point"
    hook_point=$line
    case $hook_point in
        # These follow a revert, too.
        after_switch | on_failure*) beside hook late ;;
        *) beside hook ;;
    esac || return
    if [ "$hook_point" = before_switch ] && [ ! -e "$RUN/drained" ]; then
        mark "$RUN/drained" || fail "could not note that the hook began" || return
    fi
    # In one stream, as on a screen: two would overtake each other on their way.
    (hook_run "$1" run) 2>&1 || return
    if [ "$hook_point" = after_switch ] && journaled reverted; then
        mark "$RUN/undrained.$1" 2>/dev/null
        return 0
    fi
    # The name keeps the order in which hooks completed, for their undoing.
    set -- "$1" "$RUN"/done/*
    if [ ! -e "$2" ]; then
        set -- "$1"
    fi
    mark "$RUN/done/$(printf '%04d' $#).$1" || fail "could not note that the hook completed"
}

# hook_run N FILE: runs one of a hook's commands where and with the variables it expects. In a subshell:
# the user's variables come last, and may be named like the ones used here.
hook_run() {
    hook_at=$RELEASE
    [ -d "$hook_at" ] || hook_at=$ROOT
    if first_line "$RUN/meta/hooks/$1/dir"; then
        hook_at=$hook_at/$line
    fi
    cd "$hook_at" || fail "the hook's directory $hook_at is not there" || return
    umask 022
    RDEPLOY_RELEASE=$RELEASE_ID RDEPLOY_RELEASE_PATH=$RELEASE RDEPLOY_PREVIOUS_RELEASE=$PREVIOUS_ID
    export RDEPLOY_RELEASE RDEPLOY_RELEASE_PATH RDEPLOY_PREVIOUS_RELEASE
    if [ -n "$OWN_LC_ALL" ]; then LC_ALL=$OWN_LC_ALL; else unset LC_ALL; fi
    set -- "$RUN/meta/hooks/$1/$2" "$RUN/meta/hooks/env.sh"
    # A login may export variables of these names; what they hold now means nothing to the hook.
    unset ROOT APP ENV TOKEN HOST OWNER FROM CI_URL VERB LEASE ORDINAL ACTIVATE_LIMIT UNDRAIN_LIMIT RELEASE_ID
    unset PREVIOUS DIGEST COMMIT BRANCH ABSENT PRIVATE RUN BEFORE WORK RELEASE RECIPE PREVIOUS_ID LEAVING
    # shellcheck disable=SC1090
    . "$2"
    exec sh "$1" </dev/null
}

# work_undrain: on a host that was put back and whose own hooks before the switch had begun, the hooks
# after it, as far as no client has run them. Once: what hangs or fails here is not tried for ever.
work_undrain() {
    [ -e "$RUN/drained" ] || return 0
    rm -f "$RUN/drained"
    undrain_code=0
    # By number, which is their order.
    # shellcheck disable=SC2012
    for undrain_hook in $(ls "$RUN/meta/hooks" | sort -n); do
        first_line "$RUN/meta/hooks/$undrain_hook/point"
        [ "$line" = after_switch ] && [ ! -e "$RUN/undrained.$undrain_hook" ] || continue
        (hook_run "$undrain_hook" run 3>&-) && continue
        undrain_code=1
        first_line "$RUN/meta/hooks/$undrain_hook/run"
        undrain_failed=$line
    done
    [ "$undrain_code" = 0 ] || printf 'its after_switch hook failed: %s\n' "$undrain_failed"
    return "$undrain_code"
}
