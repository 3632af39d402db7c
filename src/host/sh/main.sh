# shellcheck shell=sh disable=SC2015,SC2034,SC2154 # variables are shared with the other files
# Owns what the agent does when it is started, by its first argument:
#   guardian           (default) preflight, lock, guard; the client's lines come on standard input
#   work RUN N NAME [TEXT]  one action, in a process of its own
#   worker RUN N       the actions that follow on each other, as they are asked for on standard input
#   undo RUN           finishes or undoes a dead attempt
#   output RUN NAME    what an action wrote
# What runs beside the guardian is in beside.sh.

# make_meta: a private place for the client's settings until there is a lock.
make_meta() {
    for meta_at in "${TMPDIR:-/tmp}" /dev/shm "${HOME:-/}"; do
        META=$(mktemp -d "$meta_at/rdeploy.XXXXXXXX" 2>/dev/null) && return
    done
    echo "no temporary directory can be made on the host, neither in ${TMPDIR:-/tmp} nor in /dev/shm nor in the home directory; are they full or read-only?" >&2
    return 1
}

# Before the lock: one line after the other, read-only.
guardian_main() {
    umask 077
    exec 3>&1
    make_meta || return
    trap '[ ! -d "$META" ] || rm -rf "$META"' EXIT
    # The settings hold secrets: a client that leaves now must not leave them behind.
    trap 'exit 1' HUP TERM INT PIPE
    IFS= read -r meta_bytes || return
    exactly "$meta_bytes" | gzip -dc | tar -xf - -C "$META" || return
    # shellcheck disable=SC1091
    . "$META/settings"
    derive
    printf 'rdeploy-guardian 1\n'
    while IFS=' ' read -r lock_seq name lock_rest; do
        case $name in
            preflight)
                preflight
                # The client has what it needs to go on, unless somebody has to decide something first.
                if [ "$lock_rest" = lock ] && [ ! -e "$META/problem" ] && leaves_no_trace && try_lock; then
                    say fact locked
                    guardian
                    return
                fi
                state_facts
                ;;
            look) look ;;
            status) status ;;
            setup) setup_look ;;
            logs)
                # shellcheck disable=SC2086 # words
                logs $lock_rest || {
                    printf 'failed %s 1\n' "$lock_seq"
                    continue
                }
                case $lock_rest in *follow) return ;; esac
                ;;
            order)
                order "$lock_rest" || {
                    printf 'failed %s 1\n' "$lock_seq"
                    continue
                }
                ;;
            lock)
                if try_lock; then
                    guardian
                    return
                fi
                [ "$lock_code" = 2 ] || say reason "$(head -n 3 "$META/lock.out")"
                printf 'failed %s %s\n' "$lock_seq" "$lock_code"
                continue
                ;;
            bye)
                printf 'ok %s\n' "$lock_seq"
                return
                ;;
        esac
        printf 'ok %s\n' "$lock_seq"
    done
}

# try_lock: takes the lock and goes where it holds; or puts into lock_code why it could not.
try_lock() {
    # Handlers, not "ignore": what is ignored stays ignored in every program started here.
    trap : HUP TERM INT PIPE
    derive
    take_lock >"$META/lock.out" 2>&1
    lock_code=$?
    if [ "$lock_code" = 0 ]; then
        cd "$ROOT" && return
        lock_code=1
    fi
    free_lock
    return 1
}

# work_main RUN N NAME [TEXT]: one action.
work_main() {
    RUN=$1 work_n=$2 work_name=$3
    umask 077
    # Only a violent end is not told; the guardian looks for that itself.
    trap 'work_code=$?; rm -f "$RUN/pg/$work_n".*; printf "done %s %s\n" "$work_n" "$work_code" >&3' EXIT
    register "$work_n"
    work "${4:-}"
}

# worker_main RUN N: a shell's start and the reading of all this cost more than most actions. Each is done in a subshell,
# so that none leaves anything to the next. What ends violently may leave something that lives on; the register's entry
# stays then, and so does no worker.
worker_main() {
    RUN=$1 worker_n=$2
    umask 077
    register "w$worker_n" || {
        read -r work_n _
        printf 'done %s 126\n' "$work_n" >&3
        return
    }
    while IFS=' ' read -r work_n work_name work_text; do
        (into_out "$work_name" work "$work_text")
        work_code=$?
        worker_ends=
        [ "$work_name" != finish ] || worker_ends=1
        if [ "$work_code" -ge 128 ]; then
            worker_ends=1
        elif [ -n "$worker_ends" ]; then
            # Before it is told: who hears that the last one has ended goes home.
            rm -f "$RUN/pg/w$worker_n".*
        fi
        printf 'done %s %s\n' "$work_n" "$work_code" >&3
        [ -z "$worker_ends" ] || return 0
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
    guardian) guardian_main ;;
    work | worker)
        main_part=$1
        shift
        "${main_part}_main" "$@"
        ;;
    undo)
        shift
        undo_main "$@"
        ;;
    output) tail -c 262144 "$2/out/$3" ;;
esac
