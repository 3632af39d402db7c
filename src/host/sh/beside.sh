# shellcheck shell=sh disable=SC2015,SC2034,SC2154 # variables are shared with the other files
# Owns what runs beside the guardian, on a channel of its own: `receive RUN ...` and `hook RUN ...`. A shell does what
# it reads as it reads it, so these never read what stands behind this file, which is most of the agent.

# still_ours: whether what runs beside the guardian may go on.
still_ours() {
    [ -e "$RUN/open" ] && read_lock "$PRIVATE/lock" && [ "$lock_token" = "$TOKEN" ]
}

# beside KIND [late]: what every program on a channel of its own does first. Late ones may also follow the
# host's being put back.
beside() {
    load "$RUN"
    trap 'rm -f "$RUN/pg/'"$1.$$"'".*' EXIT
    register "$1" && still_ours ||
        fail "the lock was lost or the host is being put back; nothing was done" || return
    # What was on its way while the host was put back has come too late.
    ! journaled reverted || [ -n "${2:-}" ] || fail "the host was put back; nothing was done"
}

set -u
# What hooks get back.
OWN_LC_ALL=${LC_ALL-}
LC_ALL=C
export LC_ALL
case ${1:-guardian} in
    receive | hook)
        # Not every sshd gives a command a process group of its own. (As no leader, it does not fork.)
        if read_stat $$ && [ "$stat_group" != $$ ]; then
            exec setsid sh "$2/agent.sh" "$@"
        fi
        RUN=$2
        beside_name=$1
        shift 2
        umask 077
        "$beside_name" "$@"
        exit
        ;;
esac
