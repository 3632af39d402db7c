# shellcheck shell=sh disable=SC2015,SC2034,SC2154 # variables are shared with the other files
# Owns how a guardian has one action at a time done, in another session: starts it or gives it to the worker, which
# does those that follow on each other (act.sh), and watches over its time and its life. Which action it is, and what
# follows from its end, is the loop's (guardian.sh).
#
# Of the action there are `action` (its name), `action_n`, `action_entry` (its place in the register), `action_limit`
# and `action_left` (seconds), `action_code` (what it counts as if it does not say) and `action_patience` (seconds until
# one of which nothing lives counts as ended).

# act NAME [TEXT]: runs work_NAME outside of this session, with a deadline in seconds.
act() {
    action=$1
    action_n=$((action_n + 1))
    case $1 in
        activate | recheck | restart | start) action_limit=$ACTIVATE_LIMIT ;;
        # Ending what runs and spreading the hosts come first.
        revert) action_limit=$((ACTIVATE_LIMIT + 15)) ;;
        recover) action_limit=$((ACTIVATE_LIMIT + UNDRAIN_LIMIT + 15)) ;;
        undrain) action_limit=$UNDRAIN_LIMIT ;;
        *) action_limit=1800 ;;
    esac
    action_left=$action_limit
    action_code=137
    # Until it has registered, a busy host may take a while.
    action_patience=60
    action_entry=$action_n
    case $1 in
        # These end what runs, so they are no part of it.
        revert | recover | undrain) into_out "$1" apart work "$action_n" "$@" ;;
        *) give "$1 ${2:-}" ;;
    esac || action_ended "$action_n 126"
}

# apart PART N ARGUMENTS: starts a part of the agent in a session of its own.
#
# The second `setsid` finds that it leads a group already, so it forks and returns at once. (Not every one has an option
# for that.) Started with `&` instead, the action and every app it starts would ignore SIGINT.
apart() {
    apart_part=$1
    shift
    setsid setsid sh "$RUN/agent.sh" "$apart_part" "$RUN" "$@" 5>&-
}

# give "NAME TEXT": has the worker do it.
give() {
    hire '' || return
    action_entry=w$worker_n
    printf '%s %s\n' "$action_n" "$1" >&5
}

# hire RELEASE: sees to it that there is a worker; a new one looks at that release first, unless it is empty.
hire() {
    [ -z "$hired" ] || { hired='' && return; }
    ! worker_lives || return 0
    worker_n=$((worker_n + 1))
    [ -p "$RUN/todo$worker_n" ] || mkfifo "$RUN/todo$worker_n" || return
    # Opened for both ways, which waits for nobody; it is the only end to write to, and goes with this process.
    exec 5<>"$RUN/todo$worker_n"
    {
        setsid -f sh "$RUN/agent.sh" worker "$RUN" "$worker_n" "$1" 5>&- || apart worker "$worker_n" "$1"
    } <"$RUN/todo$worker_n" >/dev/null 2>&1
}

# worker_lives: puts its entry into worker_entry, and its process into entry_pid.
worker_lives() {
    for worker_entry in "$RUN/pg/w$worker_n".*; do
        [ -e "$worker_entry" ] || continue
        read_entry "$worker_entry"
        alive "$entry_pid" "$entry_start" && return
    done
    return 1
}

# dismiss FILE...: ends a worker that has nothing to do, and removes its entry and these files. One that was given
# nothing yet may be looking ahead, in its group; later an app may be in that.
dismiss() {
    hired=
    if [ -z "$action" ] && worker_lives; then
        [ "$action_n" != 0 ] || entry_pid=-$entry_pid
        ! kill -KILL "$entry_pid" || set -- "$@" "$worker_entry"
    fi
    [ $# = 0 ] || rm -f "$@"
}

# watch_action SECONDS: ends an action that takes too long, and notices one that was killed and could not say
# that it ended.
watch_action() {
    [ "$action_left" -le 0 ] || action_left=$((action_left - $1))
    if [ "$action_left" -le 0 ] && [ "$action_code" != 124 ]; then
        action_code=124
        printf 'took longer than %s s and was ended\n' "$action_limit" >>"$RUN/out/$action"
        (end_entries "$RUN/pg/$action_entry".*) >/dev/null 2>&1 &
    fi
    for watch_entry in "$RUN/pg/$action_entry".*; do
        [ -e "$watch_entry" ] || continue
        read_entry "$watch_entry"
        if alive "$entry_pid" "$entry_start"; then
            action_patience=3
            return
        fi
        # It has registered, and does not live to say how it ended.
        [ "$action_patience" -le 3 ] || action_patience=3
    done
    [ "$action_patience" -gt 0 ] || return 0
    action_patience=$((action_patience - $1))
    [ "$action_patience" -le 0 ] || return 0
    # It may have been a part of it only; the rest must not go on while others are asked for.
    (
        end_entries "$RUN/pg/$action_entry".*
        printf 'done %s %s\n' "$action_n" "$action_code" >&3
    ) >/dev/null 2>&1 &
}
