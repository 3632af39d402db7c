# shellcheck shell=sh
# Owns who may change this tree. The lock is published complete, by a hard link, and names its owner's
# process by pid and start time; a dead owner is succeeded by its own token, so that there is one heir.

lock_value() { sed -n "s/^$2=//p" "$1" 2>/dev/null | head -n 1; }

# lock_line FILE: the owner in one line.
lock_line() {
    printf '%s from %s since %s, doing %s%s' "$(lock_value "$1" who)" "$(lock_value "$1" from)" \
        "$(lock_value "$1" since)" "$(lock_value "$1" what)" \
        "$(lock_value "$1" ci | sed 's/^\(.\)/ (\1/; s/\(.\)$/\1)/')"
}

# make_tree: the directories of design, once the lock is wanted.
make_tree() {
    # The guardian runs with umask 077; what the application reads must not inherit it.
    (umask 022 && mkdir -p "$ROOT" "$ROOT/releases" "$ROOT/shared") &&
        mkdir -p "$PRIVATE/releases" "$PRIVATE/manifests" "$PRIVATE/incoming" "$PRIVATE/run" &&
        chmod 700 "$PRIVATE"
}

# take_lock: 0 taken, 1 failed (reason printed), 2 held (owner said).
take_lock() {
    make_tree 2>&1 || fail "could not make the directories below $ROOT" || return 1
    mkdir "$RUN" && mkdir "$RUN/pg" "$RUN/out" "$RUN/undo" "$WORK" "$BEFORE" && cp -R "$META" "$RUN/meta" &&
        printf '%s\n' "$AGENT_TEXT" >"$RUN/agent.sh" && journal_new ||
        fail "could not prepare $RUN" || return 1
    {
        printf 'token=%s\npid=%s\nstart=%s\n' "$TOKEN" "$$" "$(start_time $$)"
        printf 'who=%s\nfrom=%s\nwhat=%s %s\nci=%s\n' "$OWNER" "$FROM" "$VERB" "$ENV" "$CI_URL"
        printf 'since=%s\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
    } >"$RUN/lock" || fail "could not write the lock" || return 1
    lock_tries=0
    while ! ln "$RUN/lock" "$PRIVATE/lock" 2>/dev/null; do
        lock_tries=$((lock_tries + 1))
        if [ ! -f "$PRIVATE/lock" ]; then
            # Freed between the two looks; but a directory without hard links never gives it.
            [ "$lock_tries" -lt 20 ] && continue
            fail "could not publish the lock in $PRIVATE (does its file system have hard links?)"
            return 1
        fi
        succeed_dead && break
        say held "$(lock_line "$PRIVATE/lock")"
        return 2
    done
    if [ ! -f "$PRIVATE/app" ]; then
        printf '%s %s\n' "$APP" "$ENV" | put_file "$PRIVATE/app"
    fi
    [ "$(cat "$PRIVATE/app")" = "$APP $ENV" ] ||
        fail "$ROOT belongs to \`$(cat "$PRIVATE/app")\`" || return 1
}

# succeed_dead: takes over from an owner whose process is gone, undoing first what it left switched.
succeed_dead() {
    lock_dead=$(lock_value "$PRIVATE/lock" token)
    [ -n "$lock_dead" ] || return 1
    alive "$(lock_value "$PRIVATE/lock" pid)" "$(lock_value "$PRIVATE/lock" start)" && return 1
    # One heir: the link's name holds the dead token, and only one process can make it.
    ln "$RUN/lock" "$PRIVATE/lock.after.$lock_dead" 2>/dev/null || return 1
    if [ "$(lock_value "$PRIVATE/lock" token)" != "$lock_dead" ]; then
        rm -f "$PRIVATE/lock.after.$lock_dead"
        return 1
    fi
    mv -f "$PRIVATE/lock.after.$lock_dead" "$PRIVATE/lock" || return 1
    lock_undone=reverted
    if [ -f "$PRIVATE/run/$lock_dead/attempt" ]; then
        say note "an earlier attempt died here; what it left behind is settled first"
        setsid sh "$RUN/agent.sh" undo "$PRIVATE/run/$lock_dead" </dev/null >"$RUN/out/undo" 2>&1
        case $? in
            0) grep '^say reverted_link ' "$RUN/out/undo" ;;
            97) lock_undone=committed ;;
            *)
                cp "$RUN/out/undo" "$PRIVATE/revert-failed.log"
                # The steps have written before it; the last line sums up.
                lock_reason=$(grep -v '^say ' "$RUN/out/undo" | tail -n 1)
                say note "the earlier attempt could not be undone: $lock_reason"
                say undone "failed $lock_reason"
                return 0
                ;;
        esac
    fi
    say undone "$lock_undone"
    rm -rf "$PRIVATE/run/$lock_dead"
}

# free_lock: removes it only if it is this attempt's.
free_lock() {
    if [ "$(lock_value "$PRIVATE/lock" token)" = "$TOKEN" ]; then
        rm -f "$PRIVATE/lock"
    fi
    rm -rf "$RUN"
}

# still_ours: for what runs beside the guardian on another channel.
still_ours() {
    [ ! -e "$RUN/closing" ] && [ "$(lock_value "$PRIVATE/lock" token)" = "$TOKEN" ]
}
