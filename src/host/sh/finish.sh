# shellcheck shell=sh
# Owns the end that went well: the commit, and after it what may fail without harm.

# work_commit: one journal record decides; everything before it can be done again.
work_commit() {
    if [ "$VERB" = deploy ]; then
        printf '%s\n' "${PREVIOUS##*/}" >"$PRIVATE/releases/$RELEASE_ID/previous" || return
    fi
    set_state "$RELEASE_ID" good || fail "could not mark the release good" || return
    durable "$ROOT"
    journal committed || fail "could not write the journal"
    # Going back says that what was left is bad; going forward again says nothing about it.
    case ${PREVIOUS##*/} in
        '' | *[!0-9]*) ;;
        *)
            if [ "$VERB" = rollback ] && [ -d "$PRIVATE/releases/${PREVIOUS##*/}" ] &&
                [ "$RELEASE_ID" -lt "${PREVIOUS##*/}" ]; then
                set_state "${PREVIOUS##*/}" bad
            fi
            ;;
    esac
    return 0
}

# work_finish ID...: save, prune, note. Problems are told, never fatal.
work_finish() {
    (app_env && app_find_path && app_commit) >"$RUN/out/commit" 2>&1 ||
        say warning "the supervisor's process list could not be saved: $(head -n 1 "$RUN/out/commit")"
    adopt_previous
    for finish_id; do
        remove_release "$finish_id"
    done
    umask 022
    if [ "$VERB" = rollback ]; then
        printf '%s rolled back to release %s\n' "$OWNER" "$RELEASE_ID" >>"$ROOT/revisions.log" 2>/dev/null
    else
        printf 'Branch %s (at %s) deployed as release %s by %s\n' "${BRANCH:-none}" "${COMMIT:-none}" \
            "$RELEASE_ID" "$OWNER" >>"$ROOT/revisions.log" 2>/dev/null
    fi
    umask 077
    history 'done'
    return 0
}

# adopt_previous: a release of another tool that was live until now can be gone back to, with the recipe
# of the release that follows it, whose paths lead through `current`. It is never removed.
adopt_previous() {
    adopt_id=${PREVIOUS##*/}
    case $adopt_id in
        *[!0-9]*) return 0 ;;
        ??????????????) ;;
        *) return 0 ;;
    esac
    [ -d "$ROOT/releases/$adopt_id" ] && [ ! -d "$PRIVATE/releases/$adopt_id" ] || return 0
    adopt_record=$PRIVATE/releases/$adopt_id
    if ! { mkdir -p "$adopt_record" && cp -R "$RECIPE" "$adopt_record/recipe" && set_state "$adopt_id" adopted; }; then
        rm -rf "$adopt_record"
        say warning "release $adopt_id of another tool could not be recorded, so it cannot be gone back to"
    fi
}

# work_stop: ends the live release's app; only for hosts inside rdeploy, which have a supervisor of their own.
work_stop() {
    use_release "$(basename "$(readlink "$ROOT/current")")"
    [ -f "$RECIPE/kind" ] || return 0
    app_env && app_find_path && app_stop || return
    # The daemon was started in the sandbox, for this app alone.
    if [ "$(cat "$RECIPE/kind")" = pm2 ] && pm2_alive; then
        pm2_run 30 kill
    fi
}

# history OUTCOME: one line an attempt, for people. Best effort.
history() {
    [ -d "$PRIVATE" ] || return 0
    printf '{"time":"%s","verb":"%s","release":"%s","previous":"%s","outcome":"%s","digest":"%s","commit":"%s","actor":"%s","from":"%s","ci":"%s","attempt":"%s"}\n' \
        "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$VERB" "$RELEASE_ID" "${PREVIOUS##*/}" "$1" "${DIGEST:-}" \
        "$(json "${COMMIT:-}")" "$(json "$OWNER")" "$(json "$FROM")" "$(json "$CI_URL")" "$TOKEN" \
        >>"$PRIVATE/history.ndjson" 2>/dev/null
}

json() { printf %s "$1" | sed 's/\\/\\\\/g; s/"/\\"/g'; }
