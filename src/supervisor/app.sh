# shellcheck shell=sh
# Owns the life of an app on this host, whatever keeps it up: check, compile, record, start, verify,
# commit, stop, restore. What differs between supervisors is in a file of each kind, as functions
# named after the kind; how the app is asked whether it is well is in probe.sh and ask.sh.
#
# Defines functions only. The caller sets ROOT, RELEASE_ID, RELEASE, RECIPE, BEFORE and WORK, perhaps
# LEAVING (the recipe of the release that is left) and REVERT=1, and provides `say KEY TEXT`.
#
# shellcheck disable=SC2034,SC2154 # variables are shared with the other files

# app_setting FILE [DEFAULT]: prints the first line of one of the recipe's files.
app_setting() {
    app_read "$@"
    printf '%s\n' "$app_value"
}

# app_read FILE [DEFAULT]: puts it into app_value, which costs no process.
app_read() {
    app_value=
    if [ -f "$RECIPE/$1" ]; then
        IFS= read -r app_value <"$RECIPE/$1" || :
    fi
    app_value=${app_value:-${2-}}
}

# app_part KIND: reads the functions of a kind of supervisor into this shell, once.
app_part() {
    case " ${app_parts-} " in
        *" $1 "*) ;;
        *)
            app_parts="${app_parts-} $1"
            eval "eval \"\${PART_$1-}\""
            ;;
    esac
}

# app_open: reads the kind of the recipe into app_kind, and its functions; fails when this program cannot run it.
app_open() {
    app_read kind
    app_kind=$app_value
    app_read version
    case $app_value:$app_kind in
        1:pm2 | 1:systemd | 1:supervisord | 1:command | 1:none) app_part "$app_kind" ;;
        1:*)
            echo "the recipe of release $RELEASE_ID names no supervisor that is known here: '$app_kind'. Deploy again to write a new recipe."
            return 1
            ;;
        *)
            echo "the recipe in $RECIPE was written by a newer rdeploy (or is damaged). Use that version of rdeploy for this host, or deploy again."
            return 1
            ;;
    esac
}

# app_clock: puts seconds of a clock that nobody sets into app_now, hundredths of seconds into app_fine.
app_clock() {
    read -r app_now _ </proc/uptime
    app_fine=${app_now#*.}
    app_now=${app_now%%.*}
    # "08" would be octal.
    app_fine=$((app_now * 100 + 1$app_fine - 100))
}

# app_born PID: prints when a process was started, in the kernel's ticks. Nothing for no process.
app_born() {
    if IFS= read -r app_line 2>/dev/null <"/proc/$1/stat"; then
        app_line=${app_line##*) }
        # shellcheck disable=SC2086 # split on purpose: the fields after the name
        set -- $app_line
        [ $# -ge 20 ] && printf '%s\n' "${20}"
    fi
}

# app_alive PID: whether a process runs; one that has ended and waits for its parent does not.
app_alive() {
    IFS= read -r app_line 2>/dev/null <"/proc/$1/stat" || return
    app_line=${app_line##*) }
    [ "${app_line%% *}" != Z ]
}

# app_nap: waits for the next look.
app_nap() {
    sleep 0.3 2>/dev/null || sleep 1
}

# app_limit SECONDS PROGRAM ARG...: runs a program, ends it after SECONDS (exit status 124). It stays
# in the action's process group, so that it dies with the action.
app_limit() {
    app_seconds=$1
    shift
    if timeout --foreground -k 9 9 true 2>/dev/null; then
        timeout --foreground -k 3 "$app_seconds" "$@"
        return
    fi
    # BusyBox's stays in the group anyway. Its status for "too late" is that of the signal.
    if timeout 9 true 2>/dev/null; then
        timeout "$app_seconds" "$@"
        app_status=$?
        [ "$app_status" -ne 143 ] || app_status=124
        return "$app_status"
    fi
    # A program in the background would have no standard input.
    { "$@" <&7 7<&- & } 7<&0
    app_await $! "$app_seconds" && return
    app_status=$?
    if [ "$app_status" -eq 124 ]; then
        kill "$app_child" 2>/dev/null
        sleep 1
        kill -KILL "$app_child" 2>/dev/null
    fi
    return "$app_status"
}

# app_await PID SECONDS: waits for a child of this shell; its exit status, or 124 when it still runs.
app_await() {
    app_child=$1
    app_clock
    app_until=$((app_now + $2))
    while app_alive "$app_child"; do
        app_clock
        [ "$app_now" -lt "$app_until" ] || return 124
        sleep 0.1 2>/dev/null || sleep 1
    done
    wait "$app_child"
}

# app_user_env: gives this (sub)shell the environment in which the user's programs run, and nothing of
# rdeploy's. The positional parameters survive; ROOT and its like do not, because the user may have
# variables of those names. Call it last before `exec`.
app_user_env() {
    app_recipe=$RECIPE
    unset SSH_CLIENT SSH_CONNECTION SSH_TTY SSH_AUTH_SOCK SSH_ORIGINAL_COMMAND SSH_USER_AUTH LC_ALL
    unset ROOT RELEASE_ID RELEASE RECIPE BEFORE WORK LEAVING REVERT
    umask 022
    # shellcheck source=/dev/null
    [ ! -f "$app_recipe/env.sh" ] || . "$app_recipe/env.sh"
    app_path_of "$app_recipe"
}

# app_path_of RECIPE: puts the recipe's directories before PATH, in their order.
app_path_of() {
    app_front=
    if [ -f "$1/path" ]; then
        while IFS= read -r app_line || [ -n "$app_line" ]; do
            [ -z "$app_line" ] || app_front=$app_front$app_line:
        done <"$1/path"
    fi
    case $PATH in
        "$app_front"*) ;;
        *) PATH=$app_front$PATH ;;
    esac
    export PATH
}

# app_env: reads the recipe's variables and PATH into this shell. Variables of the user's that are
# named like the agent's own do not replace those here; the user's programs get theirs all the same
# (app_user_env).
app_env() {
    app_kept_root=$ROOT app_kept_id=${RELEASE_ID-} app_kept_release=${RELEASE-} app_kept_recipe=$RECIPE
    app_kept_before=${BEFORE-} app_kept_work=${WORK-} app_kept_leaving=${LEAVING-} app_kept_revert=${REVERT-}
    # shellcheck source=/dev/null
    [ ! -f "$RECIPE/env.sh" ] || . "$RECIPE/env.sh"
    ROOT=$app_kept_root RELEASE_ID=$app_kept_id RELEASE=$app_kept_release RECIPE=$app_kept_recipe
    BEFORE=$app_kept_before WORK=$app_kept_work LEAVING=$app_kept_leaving REVERT=$app_kept_revert
    app_path_of "$RECIPE"
    app_read kind
    if [ "$app_value" = pm2 ]; then
        app_find_path >/dev/null || :
    fi
}

# app_check: before anything exists on the host. Says every problem and what is known; changes nothing.
app_check() {
    app_open || return
    "${app_kind}_check"
    say fact "probe $(probe_tools)"
}

# app_compile: in prepare, in the unpacked release that is not live yet. Ends with a recipe that can be
# run without reading the release again.
app_compile() {
    app_open || return
    "${app_kind}_compile"
}

# app_record: before the switch. Leaves in BEFORE what runs now.
app_record() {
    app_open || return
    if [ -e "$ROOT/current" ]; then
        [ ! -e "$BEFORE/first" ] || rm -f "$BEFORE/first"
    else
        : >"$BEFORE/first" || return
    fi
    "${app_kind}_record"
}

# app_left_kind: puts the supervisor of the release that is left, where that is another one, into app_left.
app_left_kind() {
    app_left=
    if [ -n "${LEAVING:-}" ] && [ -f "$LEAVING/kind" ]; then
        IFS= read -r app_left <"$LEAVING/kind"
        [ "$app_left" != "$app_kind" ] || app_left=
    fi
}

# app_stop_left: stops what the left recipe registered. In a subshell: it takes that recipe's place.
app_stop_left() {
    RECIPE=$LEAVING
    LEAVING=
    app_env
    app_stop
}

# app_start: `current` points at RELEASE; makes its code run.
app_start() {
    app_open || return
    app_left_kind
    if [ -n "$app_left" ] && [ "$app_left" != none ]; then
        # Two supervisors would fight for the same port.
        say note "the supervisor changes from $app_left to $app_kind: the app is stopped for a moment"
        (app_stop_left) || echo "stopping what $app_left ran did not succeed; going on"
    fi
    "${app_kind}_start" || return
    app_clock
    printf '%s\n' "$app_fine" >"$WORK/started"
}

# app_verify: whether the code of RELEASE runs, stays up for the settle time, and answers.
#
# A kind's `_look` returns 0 (well), 1 (failed, the reason is in app_reason) or 2 (not yet); given
# `full` it looks at everything again. It leaves what it could prove in app_proof. `_done` ends what the
# looking needed.
app_verify() {
    app_open || return
    app_watch
    app_status=$?
    "${app_kind}_done"
    return "$app_status"
}

# app_recheck: whether what app_verify proved still holds. What was up and is down now has failed.
app_recheck() {
    command_seen=1 app_again=1
    app_verify
}

# app_watch: looks until it is clear.
app_watch() {
    app_read settle 5
    app_settle=$app_value
    app_proof='' app_reason=''
    app_clock
    app_began=$app_fine
    app_stable=$app_fine
    [ ! -f "$WORK/started" ] || read -r app_stable <"$WORK/started"
    probe_begin
    app_patience=$((${probe_longest:-0} > 0 ? probe_longest : 30))

    while :; do
        "${app_kind}_look" quick
        app_look=$?
        app_clock
        case $app_look in
            1)
                app_failed
                return 1
                ;;
            2)
                app_stable=$app_fine
                if [ $((app_fine - app_began)) -gt $(((app_patience + app_settle) * 100)) ]; then
                    app_reason="the app did not come up within $((app_patience + app_settle)) s: $app_reason"
                    app_failed
                    return 1
                fi
                ;;
        esac
        probe_due
        if [ $((app_fine - app_stable)) -ge $((app_settle * 100)) ] && [ "$app_look" -eq 0 ]; then
            probe_clear
            case $? in
                0)
                    app_conclude
                    case $? in
                        0) return 0 ;;
                        1) return 1 ;;
                    esac
                    ;;
                1)
                    app_failed
                    return 1
                    ;;
            esac
        fi
        app_nap
    done
}

# app_conclude: the last look before the verdict. 2 when it is too early after all.
app_conclude() {
    "${app_kind}_look" full
    case $? in
        1)
            app_failed
            return 1
            ;;
        2) return 2 ;;
    esac
    # What was healthy once may have died since; ask once more, at the end of the settle time.
    probe_due all || return 2
    say proof "${app_proof:-unprovable nothing tells which release a process came from}"
    probe_unasked
    return 0
}

# app_failed: prints why, and what the app wrote.
app_failed() {
    printf '%s\n' "$app_reason"
    "${app_kind}_words" 40
}

# app_stop: removes from the supervisor what this recipe registered. May be called again.
app_stop() {
    app_open || return
    "${app_kind}_stop"
}

# app_restore: puts back what BEFORE recorded. May be called again.
app_restore() {
    app_open || return
    "${app_kind}_restore"
}

# app_commit: the release stays. Removes what only the release that was left had, and makes the
# supervisor remember.
app_commit() {
    app_open || return
    app_left_kind
    "${app_kind}_commit"
}

# app_pids: prints the ids of the app's processes, one a line.
app_pids() {
    app_open || return
    "${app_kind}_pids"
}

# app_logs LINES: prints the last lines the app wrote.
app_logs() {
    app_open || return
    "${app_kind}_logs" "${1:-100}"
}

# A site without processes: everything is done when the files are there.
none_check() { :; }
none_compile() { :; }
none_record() { :; }
none_start() { :; }
none_stop() { :; }
none_restore() { :; }
none_commit() { :; }
none_pids() { :; }
none_logs() { echo "nothing is supervised here, so there are no logs to show"; }
none_words() { :; }
none_done() { :; }
none_look() {
    # shellcheck disable=SC3013 # every shell that runs this has it
    if ! [ -d "$RELEASE/" ] || ! [ "$ROOT/current/" -ef "$RELEASE/" ]; then
        app_reason="$ROOT/current does not lead to $RELEASE. Run \`rdeploy ENV status\` to see what is live."
        return 1
    fi
    app_proof="proven current leads to the release, and nothing is supervised"
}
