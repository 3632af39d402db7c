# shellcheck shell=sh
# Owns how PM2 is asked and told, through its daemon or its command line: one call of a user at a time, with nothing of
# an app or a release in the daemon's surroundings. Knows nothing of apps and releases.
#
# shellcheck disable=SC2034,SC2154 # variables are shared with the other files

# pm2_home: prints where this user's PM2 lives.
pm2_home() {
    printf '%s\n' "${PM2_HOME:-$HOME/.pm2}"
}

# pm2_node SCRIPT ARG...: runs one of the recipe's node programs, without the app's node options.
pm2_node() {
    pm2_script=$1
    shift
    env -u NODE_OPTIONS node "$RECIPE/$pm2_script" "$@" </dev/null
}

# pm2_run SECONDS ARG...: one call of PM2's command line.
pm2_run() {
    pm2_seconds=$1
    shift
    pm2_alone "$pm2_seconds" env -u ROOT -u RELEASE_ID -u RELEASE -u RECIPE -u BEFORE -u WORK \
        -u LEAVING -u REVERT pm2 "$@"
}

# pm2_alone SECONDS COMMAND...: while nothing else of this user speaks to PM2. Calls are made one after
# another, because PM2 loses apps when two start its daemon at once. The daemon may be born here, so
# nothing of this shell must stick to it: no descriptor, no directory of a release, no secret.
pm2_alone() {
    pm2_seconds=$1
    shift
    (
        pm2_at=$(pm2_home)
        mkdir -p "$pm2_at" || exit
        # Not in a release, which may be pruned. Before the first deploy there is no ROOT.
        cd "$ROOT" 2>/dev/null || cd / || exit
        # Without this file PM2 prints a banner and asks its makers for news.
        [ -e "$pm2_at/touch" ] || : >"$pm2_at/touch"
        exec 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&- </dev/null
        pm2_lock "$pm2_at" >&2 || exit
        pm2_forget
        umask "${pm2_mask:-022}"
        app_limit "$pm2_seconds" "$@" 9>&-
        pm2_status=$?
        pm2_unlock
        exit "$pm2_status"
    )
}

# pm2_forget: drops the variables that must reach the app through its own settings only. What the
# daemon inherits reaches every app of this user, and stays.
pm2_forget() {
    unset SSH_CLIENT SSH_CONNECTION SSH_TTY SSH_AUTH_SOCK SSH_ORIGINAL_COMMAND SSH_USER_AUTH LC_ALL
    if [ -f "$RECIPE/env-names" ]; then
        while IFS= read -r pm2_name; do
            case $pm2_name in
                '' | PATH | HOME | USER | LOGNAME | SHELL | PM2_* | ROOT | WORK | RECIPE) ;;
                *) unset "$pm2_name" ;;
            esac
        done <"$RECIPE/env-names"
    fi
}

# pm2_lock HOME: waits for the other calls of this user. The kernel's lock dies with its holder; where
# there is no flock, a hard link to a file that names its holder stands in for it.
pm2_lock() {
    pm2_held=
    app_clock
    pm2_until=$((app_now + 120))
    if command -v flock >/dev/null 2>&1; then
        exec 9>>"$1/rdeploy.lock" || return
        until flock -n 9; do
            app_clock
            if [ "$app_now" -ge "$pm2_until" ]; then
                echo "another deploy has been talking to PM2 for two minutes ($1/rdeploy.lock is locked). Try again when it is done."
                return 1
            fi
            app_nap
        done
        return 0
    fi
    pm2_self=$1/rdeploy.lock.$$
    pm2_held=$1/rdeploy.lock.held
    printf '%s %s\n' "$$" "$(app_born $$)" >"$pm2_self" || return
    until ln "$pm2_self" "$pm2_held" 2>/dev/null; do
        pm2_pid='' pm2_born=''
        read -r pm2_pid pm2_born 2>/dev/null <"$pm2_held" || :
        if [ -n "$pm2_born" ] && [ "$(app_born "$pm2_pid")" != "$pm2_born" ]; then
            # Its holder is dead. Only the one who makes this directory may take the dead lock away.
            if mkdir "$pm2_held.$pm2_pid.$pm2_born" 2>/dev/null; then
                rm -f "$pm2_held"
                rmdir "$pm2_held.$pm2_pid.$pm2_born"
                continue
            fi
        fi
        app_clock
        if [ "$app_now" -ge "$pm2_until" ]; then
            rm -f "$pm2_self"
            pm2_held=
            echo "another deploy (process $pm2_pid) has been talking to PM2 for two minutes. When no such process exists, remove $1/rdeploy.lock.held*"
            return 1
        fi
        app_nap
    done
    rm -f "$pm2_self"
}

pm2_unlock() {
    [ -z "$pm2_held" ] || rm -f "$pm2_held"
}

# pm2_alive: whether this user's daemon answers. Never starts one, as nearly every call of pm2 would.
pm2_alive() {
    pm2_node pm2-rpc.cjs alive "$(pm2_home)"
}

# pm2_daemon: makes sure that the daemon runs.
pm2_daemon() {
    pm2_alive && return
    if ! pm2_said=$(pm2_run 30 ping 2>&1) || ! pm2_alive; then
        echo "PM2's daemon could not be started. Run \`pm2 ping\` on the host as this user to see why."
        printf '%s\n' "$pm2_said" | tail -n 20
        tail -n 20 "$(pm2_home)/pm2.log" 2>/dev/null
        return 1
    fi
}

# pm2_list FILE: writes PM2's list, an empty one when no daemon runs. It holds every app's variables.
#
# The daemon itself is asked: PM2's command line takes ten times as long, and is asked where that fails.
pm2_list() {
    pm2_node pm2-rpc.cjs list "$(pm2_home)" "$1" 2>/dev/null && return
    if ! pm2_alive; then
        # The command line would start one.
        echo '[]' >"$1"
        return
    fi
    if ! pm2_run 30 jlist -s >"$1" 2>"$1.err" || ! pm2_node pm2.cjs list "$1"; then
        echo "PM2 did not give its list. Run \`pm2 jlist\` on the host as this user to see why."
        tail -n 20 "$1.err"
        return 1
    fi
}

# pm2_judge VERB ARG...: brings the list in pm2_work up to date and hands it to pm2.cjs.
pm2_judge() {
    pm2_node pm2-rpc.cjs list "$(pm2_home)" "$pm2_work/list" "$@"
    pm2_status=$?
    [ "$pm2_status" -eq 75 ] || return "$pm2_status"
    pm2_list "$pm2_work/list" && pm2_node pm2.cjs "$@"
}

# pm2_tell WHAT SECONDS ARG...: a call whose failure ends the action, with what PM2 printed.
pm2_tell() {
    pm2_what=$1
    shift
    pm2_said=$(pm2_run "$@" 2>&1)
    pm2_status=$?
    [ "$pm2_status" -ne 0 ] || return 0
    if [ "$pm2_status" -eq 124 ] || [ "$pm2_status" -eq 137 ]; then
        echo "PM2 did not finish $pm2_what within $1 s. Run \`pm2 ls\` on the host as this user; if it hangs too, its daemon does (\`pm2 kill\` ends it and every app)."
    else
        echo "PM2 failed at $pm2_what (status $pm2_status):"
    fi
    printf '%s\n' "$pm2_said" | tail -n 40
    return 1
}

# pm2_delete FILE: removes the processes whose ids are in FILE from PM2.
pm2_delete() {
    [ -s "$1" ] || return 0
    # shellcheck disable=SC2046 # one word an id
    pm2_tell "removing processes" 90 delete $(cat "$1")
}
