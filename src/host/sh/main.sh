# shellcheck shell=sh disable=SC2015,SC2034,SC2154 # variables are shared with the other files
# Owns what a guardian does before it has the lock: what it is asked, one line after the other. It is what the agent
# does when it is not started for anything else (beside.sh, act.sh).

# Before the lock: one line after the other, read-only.
guardian_main() {
    # See `boot` in src/host/agent.rs.
    GUARDS=1
    umask 077
    exec 3>&1
    make_meta || return
    trap drop_meta EXIT
    # The settings hold secrets: a client that leaves now must not leave them behind.
    trap 'exit 1' HUP TERM INT PIPE
    # They are still on their way.
    ROOT=${AGENT_AT%/.rdeploy/*}
    look_up
    early='' meta_due=''
    if [ -n "$EARLY" ] && answer_early; then
        guardian
        return
    fi
    meta_due=
    read_meta && lay_meta "$META" || return
    # shellcheck disable=SC1091
    . "$META/settings"
    derive
    [ -n "$early" ] || printf 'rdeploy-guardian 1\n'
    while IFS=' ' read -r lock_seq name lock_rest; do
        # It is asked once more in its place.
        [ "$lock_seq" != "$early" ] || continue
        case $name in
            preflight)
                if checks "$lock_rest"; then
                    guardian
                    return
                fi
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

# answer_early: answers what is asked with the start, from what came with it, where that is enough: a supervisor is
# asked in the app's surroundings, which may be secret. Succeeds where the lock was taken.
answer_early() {
    META_TEXT=$EARLY
    lay_meta "$META" || return
    first_line "$META/recipe/kind"
    [ "$line" = none ] || return
    # shellcheck disable=SC1091
    . "$META/settings"
    derive
    lock_seq=${EARLY_ASKED%% *}
    early=$lock_seq meta_due=1
    printf 'rdeploy-guardian 1\n'
    checks "${EARLY_ASKED#* preflight }" && return
    printf 'ok %s\n' "$lock_seq"
    return 1
}

# checks [lock]: says what is found, and takes the lock along where the client has what it needs to go on, unless
# somebody has to decide something first. Succeeds where it was taken.
checks() {
    preflight
    if [ "$1" = lock ] && [ ! -e "$META/problem" ] && leaves_no_trace; then
        about_now=$looked_now
        if try_lock; then
            # Nobody may hear it any more; the lock is there all the same, and is the guardian's to free.
            say fact locked
            return 0
        fi
        about_now=
    fi
    state_facts
    return 1
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

guardian_main
