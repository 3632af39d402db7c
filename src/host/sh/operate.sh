# shellcheck shell=sh disable=SC2015,SC2034,SC2154 # variables are shared with the other files
# Owns what people do with the app that is live, without a deploy: looking at it, hearing what it writes,
# restarting, stopping and starting it. It is always the live release's own recipe that says how.

# live_release: makes the live release the one that all this is about. Fails where rdeploy did not make it.
live_release() {
    PREVIOUS='' LEAVING=''
    RELEASE_ID=$(readlink "$ROOT/current" 2>/dev/null) || return
    RELEASE_ID=${RELEASE_ID%"${RELEASE_ID##*[!/]}"}
    RELEASE_ID=${RELEASE_ID##*/}
    [ -n "$RELEASE_ID" ] || return
    use_release "$RELEASE_ID"
    [ -f "$RECIPE/kind" ]
}

# look_place: scratch for those who have no lock.
look_place() { BEFORE=$META/none WORK=$META/scratch; }

# status: what `look` tells, and how the app is. Takes nothing, changes nothing.
status() {
    look
    look_place
    live_release || return 0
    (app_do app_status) </dev/null >"$META/status" 2>&1 ||
        say fact "unseen $(grep -v '^[[:space:]]*$' "$META/status" | head -n 1)"
}

# logs LINES [follow]: what the app writes, a line each; with `follow` until the client says anything or leaves.
logs() {
    look_place
    if ! live_release; then
        say reason "nothing is live here that rdeploy deployed, so it is not known where the app writes"
        return 1
    fi
    logs_lines=$1
    if [ "${2:-}" != follow ]; then
        (app_do logs_end) </dev/null 2>&1 | logs_say
        return
    fi
    mkfifo "$META/logs" || return
    (app_do logs_go_on) </dev/null >"$META/logs" 2>&1 &
    logs_writer=$!
    # The last word is this one's: the writer may end by itself.
    (
        logs_say <"$META/logs"
        printf 'ok %s\n' "$lock_seq" >&3
    ) </dev/null &
    logs_reader=$!
    trap 'logs_stop; exit 1' HUP TERM INT PIPE
    read -r _
    logs_stop
}

logs_stop() {
    # shellcheck disable=SC2046 # one word a process
    kill -KILL "$logs_reader" $(family "$logs_writer") 2>/dev/null
}

logs_end() { app_logs "$logs_lines"; }
logs_go_on() { app_stream "$logs_lines"; }

logs_say() {
    while IFS= read -r logs_line || [ -n "$logs_line" ]; do
        say log "$logs_line"
    done
}

# setup_look: the steps that would be taken to set this host up. Takes nothing, changes nothing.
setup_look() {
    look_place
    RECIPE=$META/recipe
    if [ ! -e "$ROOT" ] && [ ! -w "$(standing "$(dirname "$ROOT")")" ] || [ -e "$ROOT" ] && [ ! -w "$ROOT" ]; then
        # What keeps it from being one, and the cure, is told by the checks.
        say fact 'place none'
        return
    fi
    [ -d "$ROOT/releases" ] && [ -d "$ROOT/shared" ] || say todo "make $ROOT, with releases and shared"
    setup_app look
}

# setup_app look|take
setup_app() {
    setup_how=$1
    [ -f "$RECIPE/kind" ] || return 0
    (app_env && app_setup "$setup_how") </dev/null
}

# work_setup: the directories were made with the lock.
work_setup() {
    RECIPE=$RUN/meta/recipe
    setup_app take
}

# operate OUTCOME FUNCTION...: calls these for the live release, and notes that it was done.
operate() {
    operate_outcome=$1
    shift
    live_release || fail "nothing is live on this host that rdeploy deployed; deploy first" || return
    app_do "$@" && history "$operate_outcome" '' || {
        operate_code=$?
        history "$operate_outcome, which failed" ''
        return "$operate_code"
    }
}

work_restart() {
    operate restarted app_record app_start say_verifying app_verify
}

work_start() {
    operate started app_up
}

work_halt() {
    operate stopped app_halt
}
