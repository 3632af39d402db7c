# shellcheck shell=sh
# Owns the way of an artifact from the wire to a verified, linked release beside the live one.

# beside NAME: what runs on a channel of its own registers its process group first and asks then, so
# that a closing guardian either sees it or has already forbidden it.
beside() {
    load "$RUN"
    beside_group=$(group_of $$) || return 1
    printf '%s %s\n' "$beside_group" "$(start_time "$beside_group")" >"$RUN/pg/$1.$$" || return 1
    still_ours || fail "the lock was lost or the host is being put back; nothing was done" || return 1
    trap 'rm -f "$RUN/pg/'"$1.$$"'"' EXIT
}

# receive: the gzipped artifact arrives on standard input.
receive() {
    beside receive || return
    receive_to=$PRIVATE/incoming/$DIGEST/$TOKEN
    rm -rf "$receive_to"
    mkdir -p "$receive_to" || return
    umask 022
    {
        gzip -dc || echo failed >"$RUN/receive.failed"
    } | tar -xopf - -C "$receive_to" && [ ! -e "$RUN/receive.failed" ]
}

# receive_manifest: the gzipped manifest arrives on standard input.
receive_manifest() {
    beside manifest && gzip -dc >"$RUN/manifest"
}

# listing DIRECTORY: every path as the manifest has it, without digests, sorted.
listing() (
    cd "$1" || exit
    {
        find . -mindepth 1 -type d -exec printf 'd %s\n' {} +
        find . -type f -perm -100 -exec printf 'x %s\n' {} +
        find . -type f ! -perm -100 -exec printf 'f %s\n' {} +
        # GNU find prints a link's target itself; elsewhere it is a process a link.
        find . -type l -printf 'l %p\t%l\n' 2>/dev/null ||
            find . -type l -exec sh -c 'for l; do printf "l %s\t%s\n" "$l" "$(readlink "$l")"; done' sh {} +
        find . ! -type d ! -type f ! -type l -exec printf '? %s\n' {} +
    } | sort
)

# expected: the same from the manifest.
expected() {
    sed -n -e 's/^\([dl]\) /\1 .\//p' -e 's/^\([fx]\) [0-9a-f]* [0-9]* /\1 .\//p' "$RUN/manifest" | sort
}

# verify DIRECTORY: every path there is as the manifest says, and there is no other.
verify() {
    [ "$(head -n 1 "$RUN/manifest")" = 'rdeploy-manifest 1' ] ||
        fail "the manifest did not arrive whole" || return
    expected >"$RUN/expected" && listing "$1" >"$RUN/listing" || fail "could not list $1" || return
    if ! cmp -s "$RUN/expected" "$RUN/listing"; then
        fail "what was unpacked is not what was packed"
        diff "$RUN/expected" "$RUN/listing" | head -n 20
        return 1
    fi
    sed -n 's/^[fx] \([0-9a-f]*\) [0-9]* /\1  .\//p' "$RUN/manifest" >"$RUN/sums"
    [ -s "$RUN/sums" ] || return 0
    (cd "$1" && sha256sum -c "$RUN/sums") >"$RUN/sums.out" 2>&1 && return
    fail "files arrived with a wrong digest"
    grep -v ': OK$' "$RUN/sums.out" | head -n 20
    return 1
}

link_shared() {
    umask 022
    while IFS= read -r link_dir; do
        mkdir -p "$ROOT/shared/$link_dir" && link_one "$link_dir" || return
    done <"$RUN/meta/linked_dirs"
    while IFS= read -r link_file; do
        [ -e "$ROOT/shared/$link_file" ] ||
            fail "the linked file $link_file is missing: put it at $ROOT/shared/$link_file" || return
        link_one "$link_file" || return
    done <"$RUN/meta/linked_files"
}

link_one() {
    mkdir -p "$(dirname "$RELEASE/$1")" && ln -s "$ROOT/shared/$1" "$RELEASE/$1" ||
        fail "could not link $RELEASE/$1 to $ROOT/shared/$1"
}

# work_prepare: from incoming to releases/<id>.
work_prepare() {
    prepare_from=$PRIVATE/incoming/$DIGEST/$TOKEN
    verify "$prepare_from" || return
    [ ! -e "$RELEASE" ] || fail "$RELEASE is already there" || return
    find "$prepare_from" -type d ! -perm 755 -exec chmod 755 {} + &&
        find "$prepare_from" -type f -perm -100 ! -perm 755 -exec chmod 755 {} + &&
        find "$prepare_from" -type f ! -perm -100 ! -perm 644 -exec chmod 644 {} + ||
        fail "could not set the modes of the release" || return
    prepare_record=$PRIVATE/releases/$RELEASE_ID
    mkdir -p "$prepare_record" && printf '%s\n' "$TOKEN" >"$prepare_record/attempt" &&
        set_state "$RELEASE_ID" preparing &&
        printf '%s\n' "$DIGEST" >"$prepare_record/digest" &&
        printf '%s\n' "$COMMIT" >"$prepare_record/commit" &&
        printf '%s\n' "$OWNER" >"$prepare_record/actor" &&
        date -u +%Y-%m-%dT%H:%M:%SZ >"$prepare_record/made" &&
        cp -R "$RUN/meta/recipe" "$prepare_record/recipe" &&
        cp "$RUN/manifest" "$PRIVATE/manifests/$RELEASE_ID" ||
        fail "could not write the release's record in $prepare_record" || return
    mv "$prepare_from" "$RELEASE" || fail "could not move the release to $RELEASE" || return
    rmdir "$PRIVATE/incoming/$DIGEST" 2>/dev/null
    link_shared
}

# work_ready: after the after_unpack hooks; from here to the switch nothing more can fail for want of
# space: the link forward and the link back are both made here.
work_ready() {
    mkdir -p "$RUN/forward" "$RUN/undo" && rm -f "$RUN/forward/current" "$RUN/undo/current" &&
        ln -s "$RELEASE" "$RUN/forward/current" || fail "could not make the link to $RELEASE" || return
    if [ -n "$PREVIOUS" ]; then
        ln -s "$PREVIOUS" "$RUN/undo/current" || fail "could not make the link back to $PREVIOUS" || return
    fi
    if [ "$VERB" = deploy ]; then
        app_compile || return
    fi
    app_record || return
    durable "$ROOT" && journal prepared || fail "could not make the release durable"
}

# hook N: a user's command on a channel of its own; output goes to the client as it comes.
hook() {
    beside hook || return
    hook_enter "$1" || return
    # The app must never hold the channel's ends open by inheriting more than it needs.
    sh "$RUN/meta/hooks/$1/run" </dev/null || return
    printf '%s\n' "$1" >>"$RUN/hooks.done"
}

# hook_enter N: the directory and the variables a hook sees.
hook_enter() {
    umask 022
    # shellcheck disable=SC1091
    . "$RUN/meta/hooks/env.sh"
    hook_at=$RELEASE
    [ -d "$hook_at" ] || hook_at=$ROOT
    if [ -s "$RUN/meta/hooks/$1/dir" ]; then
        hook_at=$hook_at/$(cat "$RUN/meta/hooks/$1/dir")
    fi
    cd "$hook_at" || fail "the hook's directory $hook_at is not there" || return
    RDEPLOY_RELEASE=$RELEASE_ID RDEPLOY_RELEASE_PATH=$RELEASE
    RDEPLOY_PREVIOUS_RELEASE=${PREVIOUS##*/}
    export RDEPLOY_RELEASE RDEPLOY_RELEASE_PATH RDEPLOY_PREVIOUS_RELEASE
}
