# shellcheck shell=sh disable=SC2015,SC2034,SC2154 # variables are shared with the other files
# Owns what is done for an attempt away from the guardian's loop, by the agent's first argument:
#   work RUN N NAME [TEXT]  one action, in a process of its own
#   worker RUN N            the actions that follow on each other, as they are asked for on standard input
#   undo RUN                finishes or undoes a dead attempt
#   output RUN NAME         what an action wrote
# As in beside.sh, these never read what stands behind this file: the guardian.

# work_main RUN N NAME [TEXT]: one action.
work_main() {
    RUN=$1 work_n=$2 work_name=$3
    umask 077
    # Only a violent end is not told; the guardian looks for that itself.
    trap 'work_code=$?; rm -f "$RUN/pg/$work_n".*; printf "done %s %s\n" "$work_n" "$work_code" >&3' EXIT
    register "$work_n"
    work "${4:-}"
}

# worker_main RUN N [RELEASE]: a shell's start and the reading of all this cost more than most actions. Each is done in
# a subshell, so that none leaves anything to the next. What ends violently may leave something that lives on; the
# register's entry stays then, and so does no worker.
worker_main() {
    RUN=$1 worker_n=$2
    umask 077
    register "w$worker_n" || {
        read -r work_n _
        printf 'done %s 126\n' "$work_n" >&3
        return
    }
    # While the client hears that it has the lock, there is nothing else to do.
    [ -z "${3:-}" ] || look_ahead "$3"
    while IFS=' ' read -r work_n work_name work_text; do
        (into_out "$work_name" work "$work_text")
        work_code=$?
        printf 'done %s %s\n' "$work_n" "$work_code" >&3
        [ "$work_code" -lt 128 ] || return 0
    done
    # The guardian is gone.
    rm -f "$RUN/pg/w$worker_n".*
}

# work TEXT: does work_name.
work() {
    load "$RUN"
    case $work_name in
        # A client that is gone, or a full disk, is no reason not to do these.
        revert | recover | finish) ;;
        *)
            [ -e "$RUN/open" ] || fail "the host is being put back" || return 98
            ;;
    esac
    cd "$ROOT" || return
    "work_$work_name" "$1" && return
    work_code=$?
    ! has_out_already "$work_name" || full_disk "$ROOT"
    return "$work_code"
}

# undo_main RUN [attended]: 0 when the host is as it was, 97 when the attempt had been committed (it is
# finished then), 3 when processes of it live on. Where the client lives that began it, it undrains.
undo_main() {
    RUN=$1
    load "$RUN"
    umask 077
    cd "$ROOT" || return
    rm -f "$RUN/open"
    work_revert 0
    undo_code=$?
    say fact "settled $TOKEN $undo_code $VERB ${RELEASE_ID:--} ${PREVIOUS_ID:--}"
    case $undo_code in
        0)
            history reverted 'its guardian ended; put back by the next attempt'
            if [ -z "${2:-}" ] && ! work_undrain >"$RUN/out/undrain" 2>&1; then
                say warning "the host was put back, but $(tail -n 1 "$RUN/out/undrain")"
            fi
            ;;
        97) work_finish ;;
        3) ;;
        *)
            history 'revert failed' 'its guardian ended; tried by the next attempt'
            ;;
    esac
    return "$undo_code"
}

case ${1:-guardian} in
    work | worker)
        act_part=$1
        shift
        "${act_part}_main" "$@"
        exit
        ;;
    undo)
        shift
        undo_main "$@"
        exit
        ;;
    output)
        tail -c 262144 "$2/out/$3"
        exit
        ;;
esac
