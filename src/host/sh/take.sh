# shellcheck shell=sh disable=SC2015,SC2016,SC2034,SC2154 # variables are shared with the other files, and awk has its own
# Owns what an upload need not bring: files that lie on the host already, in releases and in uploads that were cut off, and
# become copies in the tree that is received.

# can_take RELEASE: whether the host has the programs to take files from what is there.
can_take() { have xargs && { [ ! -d "$ROOT/releases/$1" ] || found_in "$ROOT/releases/$1" >"$RUN/found.first"; }; }

# take_all RELEASE...: takes what is missing from one after the other, then from other uploads that were cut off.
take_all() {
    take_left=1
    for take_id; do
        [ "$take_left" != 0 ] || return 0
        take "$ROOT/releases/$take_id" "$PRIVATE/manifests/$take_id" || return
    done
    for take_dir in "$PRIVATE"/incoming/*/*; do
        [ "$take_left" != 0 ] && [ -d "$take_dir" ] && [ "$take_dir" != "$receive_tree" ] || continue
        take "$take_dir" "${take_dir%/*}/manifest" || return
    done
}

# take DIRECTORY MANIFEST: copies from there what the tree still needs; `take_left` is how many files it lacks then.
# What lies at another path there needs a copy of its own, or one together with its neighbours; more than 200 such
# copies would take longer than sending. (The client counts in the same way, see src/artifact/delta.)
take() {
    [ -d "$1" ] && [ -s "$2" ] || return 0
    take_found=$RUN/found
    if [ "$1" = "$ROOT/releases/$take_first" ]; then
        take_found=$RUN/found.first
    else
        found_in "$1" >"$take_found" || return
    fi
    found_in "$receive_tree" >"$RUN/have" || return
    forget "$RUN/same" "$RUN/moved" "$RUN/taken" "$RUN/modes.f" "$RUN/modes.x"
    take_left=$(cd "$RUN" && awk "$AWK_FOUND"'
        function into(path) { return sub(/\/[^\/]*$/, "", path) ? "./" path : "." }
        function name(path) { sub(/^.*\//, "", path); return path }
        function runs(mode) { return substr(mode, length(mode) - 2, 1) % 2 }
        # A copy has the mode of what it is of, but for others that may write.
        function taken(source) {
            if (!linked) print "./" quoted(path) >"taken"
            if (runs(modes[source]) != ($1 == "x")) print "./" quoted(path) >("modes." $1)
        }
        part == 1 { have[found()]; next }
        part == 2 { there[found()] = stamp(); names[found()] = $3; modes[found()] = $4; next }
        !/^[fx] / { next }
        { path = listed() }
        part == 3 {
            if (there[path] == due($2) " " $3 && (linked || names[path] == 1)) {
                at[path] = $2
                if (!($2 in from)) from[$2] = path
            }
            next
        }
        path in have { next }
        at[path] == $2 {
            print "./" quoted(path) >"same"
            taken(path)
            next
        }
        $2 in from {
            source = from[$2]
            key = into(path) "\t" into(source)
            if (name(path) != name(source)) key = path
            if (!(key in group) && groups < 200) { group[key]; groups++ }
            if (key in group) {
                print into(path) "\t" (key == path ? "=" : "+") into(source) "\t./" source "\t./" path >"moved"
                taken(source)
                next
            }
        }
        { left++ }
        END { print left + 0 }
    ' linked="$copy_linked" part=1 have part=2 "$take_found" part=3 "$2" part=4 manifest) || return
    (umask 022 && cd "$1" && copy_same && copy_moved) ||
        [ -z "$(full_disk "$PRIVATE")" ] || return
    for take_mode in f:644 x:755; do
        take_list=$RUN/modes.${take_mode%:*}
        (cd "$receive_tree" && each_of "$take_list" chmod "${take_mode#*:}")
    done
    [ ! -s "$RUN/taken" ] || (cd "$receive_tree" && each_of "$RUN/taken" chown "$(id -u):$(id -g)")
    return 0
}

# copy_how DIRECTORY: copies the manifest there, and learns with it how this host copies. The cp of GNU shares the blocks
# where the file system can. Others may know no --parents, and a tar would make files with several names into one again.
copy_how() {
    copy_linked='' COPY='cp -p' COPY_TO=$receive_tree
    if (cd "$RUN" && cp --reflink=auto --preserve=timestamps --parents ./manifest "$1") 2>/dev/null; then
        copy_linked=1 COPY='cp --reflink=auto --preserve=timestamps'
    else
        cp "$RUN/manifest" "$1/manifest" || return
    fi
    export COPY COPY_TO
}

# copy_same: from here to the same paths below COPY_TO.
copy_same() {
    if [ -n "$copy_linked" ]; then
        # shellcheck disable=SC2086 # words
        each_of "$RUN/same" $COPY --parents -t "$COPY_TO" --
    else
        each_of "$RUN/same" sh -c 'tar -cf - "$@" | tar -xopf - -C "$COPY_TO"' sh
    fi
}

# copy_moved: from here to other paths. Neighbours that stay neighbours and keep their names go together.
copy_moved() {
    [ -s "$RUN/moved" ] || return 0
    sort "$RUN/moved" >"$RUN/list" || return
    copy_key=''
    set --
    while IFS=$tab read -r copy_to copy_from copy_source copy_target; do
        if [ "$copy_key" != "$copy_to$tab$copy_from" ] || [ $# -ge 200 ]; then
            copy_these "$@" || return
            set --
        fi
        copy_key=$copy_to$tab$copy_from
        case $copy_from in
            =*) $COPY -- "$copy_source" "$COPY_TO/$copy_target" || return ;;
            *) set -- "$@" "$copy_source" ;;
        esac
        copy_into=$copy_to
    done <"$RUN/list"
    copy_these "$@"
}

copy_these() { [ $# = 0 ] || $COPY -- "$@" "$COPY_TO/$copy_into/"; }
