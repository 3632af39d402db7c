# shellcheck shell=sh
# Owns apps that the user's own commands start and stop. The commands run in `current`, with the
# recipe's variables, in a session of their own, so that what they leave running outlives the action.
#
# shellcheck disable=SC2034,SC2154 # variables are shared with the other files

command_check() {
    if ! command -v setsid >/dev/null 2>&1; then
        say problem "setsid is not on this host, and the start command of the app needs it. Install it (util-linux or BusyBox)."
    fi
}

command_compile() {
    if [ ! -s "$RECIPE/start" ]; then
        echo "the recipe has no start command. Set supervisor.start in deploy.toml."
        return 1
    fi
}

# command_has NAME: whether the recipe has this command.
command_has() {
    [ -s "$RECIPE/$1" ]
}

# command_run NAME SECONDS: runs one of the recipe's commands; its output goes to a file and, once it has
# ended, to this shell's own. (What it leaves running may keep its output open for ever.)
command_run() {
    command_name=$1
    command_log=$WORK/command.log
    # What is asked again and again must not hide what the last start wrote.
    case $1 in status | health-command*) command_log=$WORK/$1.log ;; esac
    : >"$command_log" || return
    (
        set -- "$RECIPE/$1" "$2"
        cd "$ROOT/current" || exit
        exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- </dev/null >"$command_log" 2>&1
        app_user_env
        # The limit is inside the session too: it holds even when this shell is killed.
        if timeout 9 true 2>/dev/null; then
            exec setsid timeout "$(($2 + 5))" sh "$1"
        fi
        exec setsid sh "$1"
    ) &
    command_child=$!
    # A session of its own is not ended with the action's group; the guardian finds it here.
    if [ -d "${RUN:-}/pg" ]; then
        register_child command "$command_child"
    fi
    trap 'kill -TERM "-$command_child" 2>/dev/null' TERM INT HUP
    app_await "$command_child" "$2"
    command_status=$?
    trap - TERM INT HUP
    [ ! -d "${RUN:-}/pg" ] || rm -f "$RUN/pg/command.$command_child".*
    if [ "$command_status" -eq 124 ] && app_alive "$command_child"; then
        command_end "$command_child"
        echo "the $command_name command did not return within $2 s, so it was ended. It has to come back while the app runs on: let it start a daemon, or write \`nohup ./server >server.log 2>&1 &\`."
        tail -n 40 "$command_log"
        return 124
    fi
    cat "$command_log"
    return "$command_status"
}

# command_end PID: ends a session that was started with setsid, and waits for its leader.
command_end() {
    kill -TERM "-$1" 2>/dev/null || kill -TERM "$1" 2>/dev/null
    app_await "$1" 3
    kill -KILL "-$1" 2>/dev/null || kill -KILL "$1" 2>/dev/null
    wait "$1" 2>/dev/null
}

# command_up: whether status says that the app is up. Leaves the process ids that it printed, if any,
# in command_ids: a line that is nothing but a number is one.
command_up() {
    command_answer=$(command_run status 10)
    command_status=$?
    command_ids=$(printf '%s\n' "$command_answer" | sed -n 's/^[[:space:]]*\([1-9][0-9]*\)[[:space:]]*$/\1/p')
    return "$command_status"
}

command_record() {
    rm -f "$BEFORE/command-up" "$BEFORE/command-down"
    if [ -e "$ROOT/current" ] && { ! command_has status || command_up; }; then
        : >"$BEFORE/command-up"
    else
        : >"$BEFORE/command-down"
    fi
}

# command_must NAME: runs a command that has to succeed.
command_must() {
    command_said=$(command_run "$1" 60)
    command_status=$?
    if [ "$command_status" -eq 124 ]; then
        printf '%s\n' "$command_said"
        return 1
    fi
    if [ "$command_status" -ne 0 ]; then
        echo "the $1 command failed with status $command_status in $ROOT/current. Its last lines follow; run it there by hand to see more."
        printf '%s\n' "$command_said" | tail -n 40
        return 1
    fi
    [ -z "$command_said" ] || printf '%s\n' "$command_said"
}

command_start() {
    command_running=unknown
    if [ -e "$BEFORE/first" ] && [ -z "${REVERT:-}" ]; then
        command_running=no
    elif command_has status; then
        if command_up; then command_running=yes; else command_running=no; fi
    fi
    rm -f "$WORK/command-old"
    if [ "$command_running" = yes ]; then
        printf '%s\n' "$command_ids" >"$WORK/command-old"
    fi
    if command_has restart && [ "$command_running" != no ]; then
        command_must restart
        return
    fi
    if command_has stop && [ ! -e "$BEFORE/first" ]; then
        # It fails when nothing runs, which is no problem here.
        command_run stop 60 || :
    fi
    command_must start
}

# command_look: status has to succeed from its first success on. What it printed tells whose code runs.
command_look() {
    app_proof="unprovable the status command prints no process id"
    command_has status || {
        app_proof="unprovable there is no status command"
        return 0
    }
    if [ "$1" = quick ] && [ -n "${command_looked:-}" ] && [ "$app_now" -eq "$command_looked" ]; then
        return 0
    fi
    if ! command_up; then
        app_reason="the status command says that the app is not up (status $command_status): $(printf '%s\n' "$command_answer" | tail -n 1)"
        [ -z "${command_seen:-}" ] && return 2
        return 1
    fi
    command_seen=1
    command_looked=$app_now
    [ -z "$command_ids" ] || command_prove
}

# command_prove: where the processes that status named run from.
command_prove() {
    command_release=$(cd "$RELEASE" && pwd -P) || command_release=$RELEASE
    command_releases=$(cd "$ROOT/releases" && pwd -P) || command_releases=$ROOT/releases
    app_proof="proven every process runs from the release"
    for command_pid in $command_ids; do
        # One that has ended but was not waited for answers `kill -0`. /proc/1 is hidden where the processes
        # of others are.
        if ! app_alive "$command_pid" && [ -d /proc/1 ]; then
            app_reason="the status command names process $command_pid, which has ended. Did the app crash, or is its pid file an old one?"
            return 1
        fi
        command_cwd=$(readlink "/proc/$command_pid/cwd" 2>/dev/null)
        case $command_cwd in
            "$command_release" | "$command_release"/*) ;;
            "$command_releases"/*)
                app_reason="process $command_pid runs from $command_cwd, not from $RELEASE: the old code still runs. Let the restart command end it."
                return 1
                ;;
            "") app_proof="unprovable process $command_pid belongs to another user" ;;
            *) app_proof="unprovable process $command_pid works in $command_cwd" ;;
        esac
    done
}

command_words() {
    if [ -s "$WORK/command.log" ]; then
        echo "the last lines of the last start, restart or stop:"
        tail -n "$1" "$WORK/command.log"
    fi
    [ ! -f "$RECIPE/command-logs" ] || command_tail "$1" named
}

# command_paths: prints where the app writes, a path a line.
command_paths() {
    while IFS= read -r command_file; do
        case $command_file in
            /*) printf '%s\n' "$command_file" ;;
            *) printf '%s\n' "$ROOT/current/$command_file" ;;
        esac
    done <"$RECIPE/command-logs"
}

# command_tail LINES [named]: the end of each of the app's logs; with its name, unless it is the only one.
command_tail() {
    command_several=${2:-}
    [ "$(command_paths | wc -l)" -eq 1 ] || command_several=yes
    command_paths | while IFS= read -r command_file; do
        [ -s "$command_file" ] || continue
        [ -z "$command_several" ] || printf '==> %s <==\n' "$command_file"
        tail -n "$1" "$command_file"
    done
}

# command_stop: the stop command, or the end of the processes that status names.
command_stop() {
    [ -e "$ROOT/current" ] || return 0
    if command_has stop; then
        if command_has status && ! command_up; then
            return 0
        fi
        command_must stop
        return
    fi
    if command_has status && command_up && [ -n "$command_ids" ]; then
        # shellcheck disable=SC2086 # one word a process
        kill -TERM $command_ids 2>/dev/null
        app_clock
        command_until=$((app_now + 10))
        while app_clock && [ "$app_now" -lt "$command_until" ]; do
            command_alive=
            for command_pid in $command_ids; do
                ! app_alive "$command_pid" || command_alive=1
            done
            [ -n "$command_alive" ] || return 0
            app_nap
        done
        # shellcheck disable=SC2086
        kill -KILL $command_ids 2>/dev/null
        return 0
    fi
    say note "there is no stop command, so what was started goes on running"
}

# command_restore: `current` is back; what ran before has to run again. The commands are the only ones
# there are: those of this recipe.
command_restore() {
    if [ -e "$BEFORE/command-down" ]; then
        command_stop
        return
    fi
    # Without a record nothing was started.
    [ -e "$BEFORE/command-up" ] || return 0
    if command_has restart; then
        command_must restart
        return
    fi
    if command_has stop; then
        command_run stop 60 || :
    fi
    command_must start
}

command_commit() { :; }
command_done() { :; }

command_pids() {
    if command_has status && [ -e "$ROOT/current" ] && command_up && [ -n "$command_ids" ]; then
        printf '%s\n' "$command_ids"
    fi
}

command_census() {
    IFS= read -r command_app <"$RECIPE/app"
    command_app=${command_app:-app}
    if ! command_has status; then
        echo "0|unknown|-|$command_app"
    elif ! command_up; then
        echo "0|down|-|$command_app"
    elif [ -z "$command_ids" ]; then
        echo "0|up|-|$command_app"
    else
        for command_pid in $command_ids; do
            echo "$command_pid|up|-|$command_app"
        done
    fi
}

command_logs() {
    if [ -f "$RECIPE/command-logs" ]; then
        command_tail "$1"
    else
        command_unknown
    fi
}

command_stream() {
    if [ ! -f "$RECIPE/command-logs" ]; then
        command_unknown
        return
    fi
    command_count=$1
    set --
    while IFS= read -r command_file; do
        set -- "$@" "$command_file"
    done <<END_OF_LOGS
$(command_paths)
END_OF_LOGS
    # By name: a log may be replaced, and `current` leads elsewhere after a deploy.
    exec tail -n "$command_count" -F "$@" </dev/null
}

command_unknown() {
    echo "the app's own commands decide where it writes; name the files as supervisor.logs in deploy.toml and deploy again"
}
