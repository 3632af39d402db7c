# shellcheck shell=sh
# Owns what can be seen of an app that runs, whatever keeps it up: its processes, whether it is well, what
# it writes; and stopping it without taking it out of its supervisor's hands. Each kind has
#   _census          its processes, a line each: PID|STATE|RESTARTS|NAME (0 for none, - for not known)
#   _stream LINES    becomes a program that writes the app's log, its end first, until it is ended
#
# shellcheck disable=SC2034,SC2154 # variables are shared with the other files

# app_status: what the supervisor keeps of the app, and what its health check says now, where this host can
# ask all of it.
#   fact process PID STATE RESTARTS SECONDS KIB RELEASE NAME
#   fact health well | ill WHY | unasked
app_status() {
    app_open || return
    say fact "supervisor $app_kind"
    status_seen=$WORK/census
    "${app_kind}_census" >"$status_seen" 2>"$status_seen.err" || {
        cat "$status_seen.err" "$status_seen"
        return 1
    }
    status_releases=$(cd "$ROOT/releases" 2>/dev/null && pwd -P) || status_releases=$ROOT/releases
    app_clock
    while IFS='|' read -r status_pid status_state status_restarts status_name; do
        app_describe
        say fact "process $status_pid $status_state $status_restarts $status_age $status_kib $status_release $status_name"
    done <"$status_seen"
    app_well
}

# app_describe: a process's age in seconds, its memory in KiB, and the release it runs from.
app_describe() {
    status_age=- status_kib=- status_release=-
    [ "$status_pid" != 0 ] || return 0
    status_born=$(app_born "$status_pid")
    # Ticks are hundredths of a second on every Linux that programs can see.
    [ -z "$status_born" ] || status_age=$(((app_fine - status_born) / 100))
    if [ -r "/proc/$status_pid/status" ]; then
        while read -r status_key status_value _; do
            [ "$status_key" != VmRSS: ] || status_kib=$status_value
        done 2>/dev/null <"/proc/$status_pid/status"
    fi
    for status_link in exe cwd; do
        status_at=$(readlink "/proc/$status_pid/$status_link" 2>/dev/null)
        case $status_at in
            "$status_releases"/*)
                status_at=${status_at#"$status_releases"/}
                status_at=${status_at%%/*}
                status_release=${status_at%% *}
                ;;
        esac
    done
}

# app_well: asks the health checks once.
app_well() {
    if ! probe_count; then
        say fact 'health unasked'
        return
    fi
    status_said=$(probe_all)
    case $? in
        0) say fact 'health well' ;;
        2) probe_unasked ;;
        *) say fact "health ill $status_said" ;;
    esac
}

# app_up: starts the app unless it runs already.
app_up() {
    app_open || return
    app_clock
    "${app_kind}_look" full
    status_look=$?
    "${app_kind}_done"
    if [ "$status_look" = 0 ] && app_is_kept; then
        say fact 'up already'
        say proof "$app_proof"
        return
    fi
    app_record && app_start && say_verifying && app_verify
}

# app_is_kept: whether the supervisor says that something of the app runs.
app_is_kept() {
    [ "$app_kind" != none ] || return 0
    "${app_kind}_census" 2>/dev/null | grep -q -v '^0|'
}

# app_halt: ends the app; its supervisor goes on knowing it, where it can.
app_halt() {
    app_open || return
    case $app_kind in
        pm2) pm2_halt ;;
        *) "${app_kind}_stop" ;;
    esac
}

# app_stream LINES: becomes what writes the app's log.
app_stream() {
    app_open || return
    "${app_kind}_stream" "$1"
}

none_census() { :; }
none_stream() { none_logs; }
