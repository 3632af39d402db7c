# shellcheck shell=sh disable=SC2015,SC2034,SC2154 # variables are shared with the other files
# Owns the control loop: hears the client, counts its silence, has one action at a time done in another
# session (worker.sh), and puts the host back when the client is gone. Nothing in the loop may block: a shell that
# waits for a hanging supervisor is deaf to the client's death. (What it writes to the client is an
# answer to each intent and what actions say; the pipe holds thousands of those.)
#
# From the client, a line an intent: "SEQ NAME ARGUMENTS". To it: "ok SEQ", "failed SEQ CODE", and
# "say KEY TEXT" at any time. Everything reaches the loop through one FIFO:
#   in LINE   from the client      eof    it is gone        tick N seconds passed
#   unlaid    what it gave could not be written
#   say ...   from the action      done N CODE   the action ended
#   received  from beside: every file of the release is there and proven
# To the worker, which does one action after the other: "N NAME TEXT", through another FIFO, which ends with this
# process.
#
# "SEQ then NAME ARGUMENTS" is announced: it is begun as soon as what was asked before it has ended well,
# without a way to the client and back in between. Where it did not end well, and when something else is
# asked, what was announced is skipped: "failed SEQ 95".
#
# Stages: locked, switched (from the moment the switch is asked for; again when what was proven does not
# hold any more), verified, committed, finished; reverting, reverted, undrained, stuck (a person must look);
# refused (what was found could not be recovered).

guardian() {
    stage=locked
    silence=0
    gone=
    action=
    action_n=0
    queue=
    broken=
    received=
    worker_n=0
    # Whether a worker was started that may not have registered yet.
    hired=
    unset AGENT_TEXT META_TEXT
    mkfifo "$RUN/fifo" "$RUN/todo1" || return
    exec 3<>"$RUN/fifo"
    exec 4<&0 </dev/null
    guardian_pid=$$
    # Signals are ignored in these two, not handled: a handler would end their `read`.
    (
        trap '' HUP TERM INT PIPE
        # What the client gave that had not come with the start. No action is asked for before it is there.
        [ -z "$meta_due" ] || ! read_meta <&4 || lay_meta "$RUN/meta" || printf 'unlaid\n' >&3
        while IFS= read -r heard; do
            # A longer line would not reach the loop in one piece.
            [ "${#heard}" -le 3500 ] || heard="${heard%% *} too-long"
            printf 'in %s\n' "$heard" >&3
        done <&4
        printf 'eof\n' >&3
    ) >/dev/null 2>&1 &
    reader=$!
    # Less would tell nothing of a lease as short as that.
    start_ticking $((LEASE < 12 ? 1 : 4))
    exec 4<&-
    action_seq=$lock_seq
    if each_dead_run false; then
        # Straight to the client: through the FIFO they would come after the answer.
        state_facts 3>&1
        answer "ok $lock_seq"
        # Its start takes as long as many an action; the client's answer is a round trip away.
        hire_ahead=
        [ "$VERB" != deploy ] || hire_ahead=${state_current:-}
        hire "${hire_ahead##*/}" && hired=1
    else
        act recover
    fi
    while [ "$stage" != ended ]; do
        # A signal may interrupt the read; the FIFO itself never ends.
        IFS=' ' read -r heard rest <&3 || continue
        case $heard in
            in)
                silence=0
                intent "$rest"
                ;;
            say)
                # The client has to ask what this host cannot, and then decides.
                case $rest in probe-needed*) broken=1 ;; esac
                answer "say $rest"
                ;;
            done) action_ended "$rest" ;;
            received)
                received=1
                go_on
                ;;
            tick) ticked "$rest" ;;
            unlaid)
                echo "could not write what the client gave to $RUN/meta; is the disk full?" >&2
                client_gone "its settings could not be written"
                ;;
            eof) client_gone "the connection to the client ended" ;;
        esac
    done
    # Shells tell of what was killed.
    exec 2>/dev/null
    stop_ticking
    kill -KILL "$reader"
    return 0
}

# start_ticking SECONDS: tells that they passed, again and again. While nothing is switched nobody waits for a second,
# and each tick is a process, on a machine that may have many guardians.
start_ticking() {
    ticking_every=$1
    (
        trap '' HUP TERM INT PIPE
        exec 4<&-
        while kill -0 "$guardian_pid" 2>/dev/null; do
            sleep "$ticking_every"
            printf 'tick %s\n' "$ticking_every" >&3
        done
    ) >/dev/null 2>&1 &
    ticker=$!
}

# stop_ticking: the ticker's `sleep` with it.
stop_ticking() {
    kill -STOP "$ticker"
    # Not every kernel tells a process's children; looking for them costs as much as there are processes. What it tells
    # ends without a newline, which `read` takes for a failure.
    ticking=
    if [ -r "/proc/$ticker/task/$ticker/children" ]; then
        read -r ticking <"/proc/$ticker/task/$ticker/children" || :
    else
        ticking=$(family "$ticker")
    fi
    # shellcheck disable=SC2086
    kill -KILL "$ticker" $ticking
    # Here, where nobody hears of it.
    wait "$ticker"
} 2>/dev/null

# hurry: from now on seconds count. (Most deploys have left that state before the next tick.)
hurry() {
    [ "$ticking_every" != 1 ] || return 0
    stop_ticking
    start_ticking 1
}

answer() { [ -n "$gone" ] || printf '%s\n' "$1"; }

# ticked SECONDS: so many passed.
ticked() {
    silence=$((silence + $1))
    # Until what was left here is settled the client has nothing to say.
    [ "$action" != recover ] || silence=0
    [ -z "$action" ] || watch_action "$1"
    [ -z "$gone" ] || return 0
    if [ -e "$RUN/order" ]; then
        ordered
        return
    fi
    case $stage in
        switched | verified)
            ticked_limit=$LEASE
            hurry
            ;;
        *) ticked_limit=$((LEASE > 300 ? LEASE : 300)) ;;
    esac
    [ "$silence" -lt "$ticked_limit" ] || client_gone "the client was silent for $silence s"
}

# ordered: somebody had this host put back, by force. The client is told what can still be told, and
# then counts as gone: it may be one that hangs. What puts the host back already, or cannot be undone any
# more, first ends; the order is found again at the next tick, and the client has had its answer.
ordered() {
    ! goes_on || return 0
    first_line "$RUN/order"
    answer "say warning $line ordered the host to be put back (rdeploy $ENV unlock --force)"
    [ -z "$action" ] || answer "failed $action_seq 96"
    skip_queue 96
    client_gone "$line ordered it"
}

# asked "SEQ NAME ARGUMENTS": puts them into seq, name and args.
asked() {
    seq=${1%% *} args=${1#* }
    name=${args%% *} args=${args#"$name"}
    args=${args# }
}

# intent "SEQ NAME ARGUMENTS"
intent() {
    asked "$1"
    # That was answered as the guardian started.
    [ "$seq" != "$early" ] || return 0
    case $name in
        hb) answer "ok $seq" ;;
        kill)
            (end_entries "$RUN/pg/$args".*) >/dev/null 2>&1 &
            answer "ok $seq"
            ;;
        bye) say_goodbye ;;
        revert)
            case $stage:$action in
                reverting:*) action_seq=$seq ;;
                reverted:*) answer "ok $seq" ;;
                locked:recover) answer "failed $seq 98" ;;
                # What was announced goes on.
                committed:* | finished:*) answer "failed $seq 97" ;;
                *)
                    [ -z "$action" ] || answer "failed $action_seq 98"
                    skip_queue 95
                    action_seq=$seq
                    put_back
                    ;;
            esac
            ;;
        then)
            queue="$queue$seq $args
"
            go_on
            ;;
        *)
            skip_queue 95
            broken=
            if [ -n "$action" ]; then
                answer "failed $seq 98"
                return
            fi
            do_next
            ;;
    esac
}

# go_on: begins what was announced, as far as what comes before it has ended well.
go_on() {
    while [ -n "$queue" ] && [ -z "$action" ]; do
        asked "${queue%%
*}"
        # The files of the release come on a channel of their own.
        [ "$name:$received:$broken" != received:: ] || return 0
        queue=${queue#*
}
        if [ -n "$broken" ]; then
            answer "failed $seq 95"
        else
            do_next
        fi
    done
}

# skip_queue CODE: nothing of what was announced is done any more.
skip_queue() {
    while [ -n "$queue" ]; do
        answer "failed ${queue%% *} $1"
        queue=${queue#*
}
    done
}

# do_next: what $name asks with $args, where this is the time for it.
do_next() {
    case $name:$stage in
        begin:locked) begin ;;
        received:locked) answer "ok $seq" ;;
        absent:locked)
            action_seq=$seq
            act absent "$args"
            ;;
        freeze:locked)
            action_seq=$seq
            if put_line "$RUN/message" "$args"; then
                act freeze
            else
                refuse 1
            fi
            ;;
        prepare:locked | ready:locked | stop:locked | thaw:locked | restart:locked | start:locked | halt:locked | setup:locked | activate:locked | recheck:verified | commit:verified | \
            commit:committed | finish:committed | finish:finished | finish:locked)
            [ "$name" != activate ] || stage=switched
            action_seq=$seq
            act "$name" "$args"
            ;;
        bye:finished) say_goodbye ;;
        *) refuse 98 ;;
    esac
}

# refuse CODE: what is asked now is not done.
refuse() {
    broken=1
    answer "failed $seq $1"
}

# say_goodbye: the answer means that the lock is free.
say_goodbye() {
    leave
    answer "ok $seq"
}

# begin: what the attempt is about, quoted by the client, read by every action.
begin() {
    received=
    # Whoever waits for it waits until something is there: it is one write.
    if printf '%s\n' "$args" >"$RUN/attempt" && load "$RUN"; then
        answer "ok $seq"
    else
        # A part of it would end every shell that reads it.
        rm -f "$RUN/attempt"
        refuse 1
    fi
}

# action_ended "N CODE"
action_ended() {
    [ -n "$action" ] && [ "${1%% *}" = "$action_n" ] || return 0
    ended=$action ended_code=${1#* }
    action=
    case $ended:$ended_code in
        activate:0) stage=verified ;;
        recheck:0) ;;
        # What was proven does not hold any more: nothing but the way back is left.
        recheck:*) stage=switched ;;
        commit:0) stage=committed ;;
        finish:*) stage=finished ;;
        recover:0) ;;
        recover:*)
            stage=refused
            first_line "$RUN/out/recover"
            answer "say reason $line"
            ;;
        revert:0)
            stage=reverted
            # The client may still run its on_failure hooks.
            mark "$RUN/open" 2>/dev/null
            # Else it is noted when that is done.
            undrains || note_revert reverted
            ;;
        undrain:*)
            stage=undrained
            if [ "$ended_code" != 0 ]; then
                line=$(tail -n 1 "$RUN/out/undrain")
                gone="$gone; $line"
            fi
            note_revert reverted
            ;;
        revert:97)
            # The client goes on as after any commit.
            stage=committed
            mark "$RUN/open" 2>/dev/null
            ;;
        revert:*)
            stage=stuck
            note_revert 'revert failed'
            ;;
    esac
    if [ -n "$gone" ]; then
        go_alone
    elif [ "$ended_code" = 0 ]; then
        answer "ok $action_seq"
        go_on
    else
        broken=1
        answer "failed $action_seq $ended_code"
        go_on
    fi
}

# note_revert OUTCOME: for people, and for a client that slept and asks what became of its attempt. One
# that had not begun anything and goes in peace is not worth a line.
note_revert() {
    [ ! -f "$RUN/attempt" ] && [ -z "$gone" ] || history "$1" "${gone:-the client asked for it}"
}

client_gone() {
    [ -z "$gone" ] || return 0
    gone=$1
    queue=
    exec >/dev/null 2>&1
    goes_on || go_alone
}

# goes_on: whether what runs now goes on to its end, whatever becomes of the client.
goes_on() {
    case $action in
        recover | revert | finish | restart | start | halt) ;;
        *) return 1 ;;
    esac
}

# go_alone: what a guardian does whose client is gone.
go_alone() {
    case $stage in
        locked | switched | verified) put_back ;;
        committed) act finish ;;
        reverted) if undrains; then act undrain; else leave; fi ;;
        *) leave ;;
    esac
}

# undrains: whether this guardian has to take its host back into service, for want of a client.
undrains() { [ -n "$gone" ] && [ -e "$RUN/drained" ]; }

# put_back: forbids, ends and undoes all work of this attempt. The action that does it decides by the
# journal: what is committed already is not undone (97).
put_back() {
    rm -f "$RUN/open"
    hurry
    dismiss
    stage=reverting
    if [ -n "$gone" ]; then
        act revert "$ORDINAL"
    else
        act revert 0
    fi
}

# leave: frees the lock, unless something of this attempt cannot be ended. A host that could not be put
# back keeps what a person needs to look at.
leave() {
    dismiss "$RUN/open"
    [ "$stage" != stuck ] || keep_log "$RUN/out/revert"
    stage=ended
    ! end_all || free_lock
}
