# shellcheck shell=sh disable=SC2015,SC2034,SC2154 # variables are shared with the other files
# Owns the way of what arrived to a verified, linked release beside the live one.

# listing DIRECTORY: it and every path in it, `KIND MODE ./PATH`, links with a tab and where they lead. Where find
# cannot tell modes, they are 0.
listing() {
    (cd "$1" && find . \( -type d -printf 'd %m %p\n' -o -type f -perm -100 -printf 'x %m %p\n' \
        -o -type f -printf 'f %m %p\n' -o -type l -printf 'l - %p\t%l\n' -o -printf '? - %p\n' \) 2>/dev/null) ||
        (cd "$1" && listing_each)
}

listing_each() {
    find . -type d -exec printf 'd 0 %s\n' {} + &&
        find . -type f -perm -100 -exec printf 'x 0 %s\n' {} + &&
        find . -type f ! -perm -100 -exec printf 'f 0 %s\n' {} + &&
        find . -type l -exec sh -c 'for l; do printf "l - %s\t%s\n" "$l" "$(readlink "$l")"; done' sh {} + &&
        find . ! -type d ! -type f ! -type l -exec printf '? - %s\n' {} +
}

# verify DIRECTORY: every path there is as the manifest says, there is no other, and every file is proven. Their modes
# are right then, too.
verify() {
    first_line "$RUN/manifest" && [ "$line" = 'rdeploy-manifest 1' ] && is_proven ||
        fail "not every file of the release has arrived" || return
    compare "$1"
    verify_code=$?
    # To a directory that was taken as a whole something may have come just then.
    if [ "$verify_code" = 4 ] && [ -s "$RUN/same" ] && keep_listed "$1" 2>/dev/null; then
        compare "$1"
        verify_code=$?
    fi
    case $verify_code in
        0) ;;
        3)
            find "$1" \( -type d ! -perm 755 -o -type f -perm -100 ! -perm 755 \) -exec chmod 755 {} + \
                -o -type f ! -perm -100 ! -perm 644 -exec chmod 644 {} + ||
                fail "could not set the modes of the release"
            ;;
        4)
            fail "what was unpacked is not what was packed"
            sort "$RUN/differences" | head -n 20
            # Nothing of it is of use to the next attempt.
            rm -rf "$1" "$1.kept"
            return 1
            ;;
        5)
            fail "could not list $1"
            head -n 3 "$RUN/differences"
            return 1
            ;;
        *) fail "could not compare $1 with the manifest" ;;
    esac
}

# compare DIRECTORY: 0 as the manifest says, 3 but for modes, 4 not so, 5 it cannot be listed.
compare() {
    listing "$1" >"$RUN/listing" 2>"$RUN/differences" || return 5
    awk "$AWK_FOUND"'
        BEGIN { want["d ."] }
        part == 1 {
            if (/^[fx] /) want[$1 " ./" listed()]
            else if (/^[dl] /) want[$1 " ./" substr($0, 3)]
            next
        }
        {
            path = $1 " " substr($0, length($2) + 4)
            if (!(path in want) || path in seen) { print "> " path; wrong = 1 }
            seen[path]
            if ($2 != ($1 == "f" ? "644" : $1 == "l" ? "-" : "755")) modes = 3
        }
        END {
            for (path in want) if (!(path in seen)) { print "< " path; wrong = 1 }
            exit (wrong ? 4 : modes + 0)
        }
    ' part=1 "$RUN/manifest" part=2 "$RUN/listing" >"$RUN/differences"
}

# keep_listed DIRECTORY: leaves in it what the manifest names, found by these names alone. The files stay the same ones,
# which are proven.
keep_listed() {
    [ ! -e "$1.kept" ] || rm -rf "$1.kept"
    (cd "$RUN" && awk "$AWK_FOUND"'
        BEGIN { printf "" >"dirs" }
        /^d / { print "./" quoted(substr($0, 3)) >"dirs" }
        /^l / { sub(/\t.*/, ""); print "./" quoted(substr($0, 3)) }
        /^[fx] / { print "./" quoted(listed()) }
    ' manifest >list) &&
        (umask 022 && mkdir "$1.kept" && cd "$1.kept" && each_of "$RUN/dirs" mkdir -p) &&
        (cd "$1" && each_of "$RUN/list" cp -lP --parents -t "$1.kept" --) && rm -rf "$1" && mv "$1.kept" "$1"
}

link_shared() {
    umask 022
    while IFS= read -r link_dir; do
        { [ -d "$ROOT/shared/$link_dir" ] || mkdir -p "$ROOT/shared/$link_dir"; } && link_one "$link_dir" || return
    done <"$RUN/meta/linked_dirs"
    while IFS= read -r link_file; do
        [ -e "$ROOT/shared/$link_file" ] ||
            fail "the linked file $link_file is missing: put it at $ROOT/shared/$link_file" || return
        link_one "$link_file" || return
    done <"$RUN/meta/linked_files"
}

# link_one PATH: in the place of whatever the artifact has there. Not through a link of the artifact's,
# which could lead out of the release.
link_one() {
    link_at=$RELEASE/$1
    link_at=${link_at%/*}
    { [ -d "$link_at" ] || mkdir -p "$link_at"; } && [ "$(cd "$link_at" && pwd -P)" = "$(cd "$RELEASE" && pwd -P)${link_at#"$RELEASE"}" ] &&
        { [ ! -e "$RELEASE/$1" ] && [ ! -L "$RELEASE/$1" ] || rm -rf "${RELEASE:?}/$1"; } && ln -s "$ROOT/shared/$1" "$RELEASE/$1" ||
        fail "could not link $RELEASE/$1 to $ROOT/shared/$1"
}

# forget_attempt ID: what an earlier attempt at this very release left on a host that was then left behind.
forget_attempt() {
    [ -d "$PRIVATE/releases/$1" ] || return 0
    state_of "$1"
    case $line in failed | preparing | '') remove_release "$1" ;; esac
}

# made_here: whether this attempt made the release, rather than going to one that was there.
made_here() { [ -e "$RUN/made" ]; }

# work_prepare: from incoming to releases/<id>.
work_prepare() {
    prepare_from=$PRIVATE/incoming/$DIGEST/$TOKEN
    verify "$prepare_from" || return
    forget_attempt "$RELEASE_ID"
    [ ! -e "$RELEASE" ] || fail "$RELEASE is already there" || return
    prepare_record=$PRIVATE/releases/$RELEASE_ID
    [ ! -e "$prepare_record" ] || fail "$prepare_record is already there" || return
    # From here on it is this attempt's: what fails is marked or removed. Said before it is there, so that
    # a kill in between leaves nothing that nobody removes.
    mark "$RUN/made" && mkdir "$prepare_record" && set_state "$RELEASE_ID" preparing &&
        printf '%s\n' "$DIGEST" >"$prepare_record/digest" &&
        printf '%s\n' "$COMMIT" >"$prepare_record/commit" &&
        printf '%s\n' "$OWNER" >"$prepare_record/actor" &&
        date -u +%Y-%m-%dT%H:%M:%SZ >"$prepare_record/made" &&
        cp -R "$RUN/meta/recipe" "$prepare_record/recipe" &&
        cp "$RUN/manifest" "$PRIVATE/manifests/$RELEASE_ID" ||
        fail "could not write the release's record in $prepare_record" || return
    mv "$prepare_from" "$RELEASE" || fail "could not move the release to $RELEASE" || return
    rm -rf "${PRIVATE:?}/incoming/$DIGEST"
    link_shared
}

# work_ready: after the after_unpack hooks; from here to the commit nothing more can fail for want of
# space: the link forward, the link back and the note of what ran before are all made here.
work_ready() {
    [ -d "$RELEASE" ] && [ -f "$RECIPE/kind" ] ||
        fail "release $RELEASE_ID is not on this host, or not whole" || return
    # A client may ask twice.
    if [ -L "$RUN/forward/current" ] || [ -L "$RUN/undo/current" ]; then
        rm -f "$RUN/forward/current" "$RUN/undo/current"
    fi
    ln -s "$RELEASE" "$RUN/forward/current" || fail "could not make the link to $RELEASE" || return
    if [ -n "$PREVIOUS" ]; then
        ln -s "$PREVIOUS" "$RUN/undo/current" || fail "could not make the link back to $PREVIOUS" || return
    fi
    if made_here; then
        printf '%s\n' "$PREVIOUS_ID" >"$PRIVATE/releases/$RELEASE_ID/previous" ||
            fail "could not note what ran before" || return
        (app_compile) || return
    fi
    ready_ask
    ready_rest
    ready_code=$?
    ready_told
    return "$ready_code"
}

# ready_rest: what is done while the health check is asked.
ready_rest() {
    (app_record) || return
    durable "$ROOT" && journal_soon prepared || fail "could not make the release durable"
}

# ready_ask: has the new release's health check asked of the one that is live, beside what else there is to
# do. A check that never passed says nothing of a release; a person should know that before it fails.
ready_ask() {
    ready_asked=
    forget "$BEFORE"/unwell.*
    if [ "$VERB" = deploy ] && [ -e "$ROOT/current" ] && [ -f "$RECIPE/health" ]; then
        app_do probe_before </dev/null >/dev/null 2>&1 3>&- &
        ready_asked=$!
    fi
}

# ready_told: says what came of it, without waiting for long.
ready_told() {
    [ -n "$ready_asked" ] || return 0
    if ! app_await "$ready_asked" 4; then
        # shellcheck disable=SC2046
        kill -KILL $(family "$ready_asked") 2>/dev/null
        wait "$ready_asked" 2>/dev/null
    fi
    probe_told
}
