# shellcheck shell=sh
# Owns what the agent does when it is started, by its first argument:
#   guardian           (default) preflight, lock, guard; the client's lines come on standard input
#   work RUN NAME ...  one action, as the guardian's child
#   undo RUN           undo of a dead attempt; 97 when it had committed
#   receive|receive_manifest|hook RUN ...   what runs beside the guardian on a channel of its own
#   output RUN NAME    what an action wrote

# Before the lock: one line after the other, read-only.
guardian_main() {
    umask 077
    META=$(mktemp -d "${TMPDIR:-/tmp}/rdeploy.XXXXXXXX") || {
        say problem "no temporary directory can be made on the host; is /tmp full?"
        return 1
    }
    trap 'rm -rf "$META"' EXIT
    IFS= read -r meta_bytes || return
    dd bs=1 count="$meta_bytes" 2>/dev/null | tar -xf - -C "$META" || return
    # shellcheck disable=SC1091
    . "$META/settings"
    PRIVATE=$ROOT/.rdeploy
    printf 'rdeploy-guardian 1\n'
    while IFS=' ' read -r lock_seq name _; do
        case $name in
            preflight) preflight ;;
            lock)
                derive
                take_lock >"$META/lock.out" 2>&1 3>&1
                lock_code=$?
                grep '^say ' "$META/lock.out"
                case $lock_code in
                    0)
                        state_facts
                        cd "$ROOT" || return
                        guardian
                        return
                        ;;
                    *)
                        say reason "$(grep -v '^say ' "$META/lock.out" | head -n 3)"
                        free_lock
                        ;;
                esac
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

set -u
LC_ALL=C
export LC_ALL
case ${1:-guardian} in
    guardian) guardian_main ;;
    work)
        # Facts go to the guardian's FIFO; nothing that outlives the action may hold it.
        SAY_FD=3
        RUN=$2
        load "$RUN"
        umask 077
        cd "$ROOT" || exit
        name=$3
        shift 3
        "work_$name" "$@"
        ;;
    undo)
        SAY_FD=1
        RUN=$2
        load "$RUN"
        umask 077
        cd "$ROOT" && : >"$RUN/closing" || exit
        # What the dead guardian had started may still be at work.
        for undo_group in "$RUN"/pg/*; do
            [ ! -f "$undo_group" ] || kill_group "$undo_group"
        done
        if journaled committed; then
            (app_env && app_find_path && app_commit)
            history 'done'
            exit 97
        fi
        if work_revert; then
            history reverted
        else
            history 'revert failed'
            exit 1
        fi
        ;;
    receive | receive_manifest | hook)
        RUN=$2
        name=$1
        shift 2
        umask 077
        "$name" "$@"
        ;;
    output)
        tail -c 262144 "$2/out/$3"
        ;;
esac
