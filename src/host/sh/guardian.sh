# shellcheck shell=sh
# Owns the control loop: hears the client, counts its silence, runs one action at a time in a process
# group of its own, and puts the host back when the client is gone. Nothing in the loop may block: a
# shell that waits for a hanging supervisor is deaf to the client's death.
#
# From the client, a line an intent: "SEQ NAME ARGUMENTS". To it: "ok SEQ", "failed SEQ CODE",
# "held SEQ OWNER", and "say KEY TEXT" at any time. Everything reaches the loop through one FIFO:
#   in LINE   from the client      eof    it is gone        tick   a second passed
#   say ...   from the action      done N CODE   the action ended

guardian() {
    stage=locked
    closing=
    silence=0
    action=
    action_seq=
    action_n=0
    gone=
    # Handlers, not "ignore": what is ignored stays ignored in every program started from here.
    trap : HUP TERM INT PIPE
    mkfifo "$RUN/fifo" || return
    exec 3<>"$RUN/fifo"
    rm -f "$RUN/fifo"
    exec 4<&0 </dev/null
    guardian_pid=$$
    (
        while IFS= read -r heard <&4; do
            printf 'in %s\n' "$heard" >&3
        done
        printf 'eof\n' >&3
    ) >/dev/null 2>&1 &
    reader=$!
    (
        exec 4<&-
        while kill -0 "$guardian_pid" 2>/dev/null; do
            sleep 1
            printf 'tick\n' >&3
        done
    ) >/dev/null 2>&1 &
    ticker=$!
    exec 4<&-
    printf 'ok %s\n' "$lock_seq"
    while [ "$stage" != ended ]; do
        # A signal may interrupt the read; the FIFO itself never ends.
        IFS=' ' read -r heard rest <&3 || continue
        case $heard in
            in)
                silence=0
                intent "$rest"
                ;;
            say) [ -n "$gone" ] || printf 'say %s\n' "$rest" ;;
            done) action_ended "$rest" ;;
            tick) ticked ;;
            eof) client_gone "the connection to the client ended" ;;
        esac
    done
    kill "$ticker" "$reader" 2>/dev/null
    exec 3>&-
}

answer() { [ -n "$gone" ] || printf '%s\n' "$1"; }

ticked() {
    silence=$((silence + 1))
    if [ -n "$action" ]; then
        action_left=$((action_left - 1))
        [ "$action_left" -gt 0 ] || kill_group "$RUN/pg/$action_n"
    fi
    [ -z "$gone" ] || return 0
    case $stage in
        switching) [ "$silence" -lt "$LEASE" ] || client_gone "the client was silent for $LEASE s" ;;
        *) [ "$silence" -lt "$((LEASE > 300 ? LEASE : 300))" ] || client_gone "the client was silent for long" ;;
    esac
}

# intent "SEQ NAME ARGUMENTS"
intent() {
    seq=${1%% *} args=${1#* }
    name=${args%% *} args=${args#"$name"}
    args=${args# }
    case $name in
        hb) answer "ok $seq" ;;
        begin)
            # Quoted by the client; read by every action.
            if printf '%s\n' "$args" >"$RUN/attempt" && load "$RUN"; then
                answer "ok $seq"
            else
                answer "failed $seq 1"
            fi
            ;;
        kill)
            for kill_file in "$RUN/pg/$args".*; do
                [ ! -f "$kill_file" ] || kill_group "$kill_file"
            done
            answer "ok $seq"
            ;;
        revert)
            closing=revert
            action_seq=$seq
            put_back
            ;;
        bye)
            # The answer means that the lock is free.
            leave
            answer "ok $seq"
            ;;
        prepare | ready | activate | commit | finish | stop)
            if [ -n "$closing$action" ]; then
                answer "failed $seq 98"
                return
            fi
            [ "$name" != activate ] || stage=switching
            action_seq=$seq
            # Only release ids follow, where anything does.
            # shellcheck disable=SC2086
            act "$name" $args
            ;;
        *) answer "failed $seq 99" ;;
    esac
}

# act NAME ARGUMENTS: runs work_NAME in its own session, with a deadline in ticks.
act() {
    action=$1
    action_n=$((action_n + 1))
    case $1 in
        activate) action_left=$ACTIVATE_LIMIT ;;
        revert) action_left=$ACTIVATE_LIMIT ;;
        *) action_left=1800 ;;
    esac
    (
        setsid sh "$RUN/agent.sh" work "$RUN" "$@" </dev/null >"$RUN/out/$1" 2>&1 &
        act_pid=$!
        printf '%s %s\n' "$act_pid" "$(start_time "$act_pid")" >"$RUN/pg/$action_n"
        wait "$act_pid"
        act_code=$?
        rm -f "$RUN/pg/$action_n"
        printf 'done %s %s\n' "$action_n" "$act_code" >&3
    ) >/dev/null 2>&1 &
}

# action_ended "N CODE"
action_ended() {
    ended_n=${1%% *} ended_code=${1#* }
    [ "$ended_n" = "$action_n" ] || return 0
    ended=$action
    action=
    if [ "$ended" = revert ]; then
        if [ "$ended_code" = 0 ]; then
            stage=reverted
            # The client may still run its on_failure hooks.
            rm -f "$RUN/closing"
            history reverted
            answer "ok $action_seq"
        else
            stage=stuck
            history 'revert failed'
            answer "failed $action_seq $ended_code"
        fi
        [ -z "$gone" ] || leave
        return
    fi
    if [ "$ended" = finish ]; then
        stage=finished
        answer "ok $action_seq"
        [ -z "$gone" ] || leave
        return
    fi
    if [ -n "$closing" ]; then
        # It was killed for the revert, or ended just before it.
        put_back
        return
    fi
    if [ "$ended_code" = 0 ]; then
        [ "$ended" != commit ] || stage=committed
        answer "ok $action_seq"
    else
        answer "failed $action_seq $ended_code"
    fi
}

client_gone() {
    [ -z "$gone" ] || return 0
    gone=$1
    exec >/dev/null 2>&1
    case $stage in
        reverted | stuck | finished) leave ;;
        *)
            closing=${closing:-gone}
            # A revert or a clean-up that runs goes on to its end.
            case $action in
                revert | finish) ;;
                *) put_back ;;
            esac
            ;;
    esac
}

# put_back: ends all work of this attempt, awaits it, and undoes. Comes again from action_ended when an
# action had to be killed first.
put_back() {
    : >"$RUN/closing"
    for back_file in "$RUN"/pg/*; do
        [ ! -f "$back_file" ] || kill_group "$back_file"
    done
    [ -z "$action" ] || return 0
    if journaled committed; then
        # Past the point of no return: forward is the only way.
        stage=committed
        if [ -n "$gone" ]; then
            act finish
        else
            # The client goes on as after any commit.
            closing=
            rm -f "$RUN/closing"
            answer "failed $action_seq 97"
        fi
        return
    fi
    stage=reverting
    # Unattended, hosts do not all restart their apps in the same second.
    if [ -n "$gone" ] && [ "$ORDINAL" -gt 0 ] && journaled starting; then
        sleep "$((ORDINAL < 5 ? ORDINAL : 5))"
    fi
    act revert
}

# kill_group FILE: ends the process group whose number and leader's start time are in it, and waits a
# moment for it to be gone.
kill_group() {
    kill_n=0
    while [ ! -s "$1" ] && [ "$kill_n" -lt 10 ]; do
        sleep 0.1 2>/dev/null || sleep 1
        kill_n=$((kill_n + 1))
    done
    kill_pg='' kill_start=''
    IFS=' ' read -r kill_pg kill_start 2>/dev/null <"$1"
    case $kill_pg in '' | *[!0-9]* | 0 | 1) return 0 ;; esac
    # When the guardian died long ago, the number may be another process's by now.
    [ ! -d "/proc/$kill_pg" ] || [ "$(start_time "$kill_pg")" = "$kill_start" ] || return 0
    kill -KILL "-$kill_pg" 2>/dev/null || kill -KILL "$kill_pg" 2>/dev/null
    kill_n=0
    while kill -0 "-$kill_pg" 2>/dev/null && [ "$kill_n" -lt 20 ]; do
        kill -KILL "-$kill_pg" 2>/dev/null
        sleep 0.1 2>/dev/null || sleep 1
        kill_n=$((kill_n + 1))
    done
    if kill -0 "-$kill_pg" 2>/dev/null; then
        say warning "process group $kill_pg could not be ended"
    fi
}

# leave: frees the lock; a host that could not be put back keeps what a person needs to look at.
leave() {
    if [ "$stage" = stuck ]; then
        cp "$RUN/out/revert" "$PRIVATE/revert-failed.log" 2>/dev/null
    fi
    stage=ended
    free_lock
}
