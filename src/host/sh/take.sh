# shellcheck shell=sh disable=SC2015,SC2016,SC2034,SC2154 # variables are shared with the other files, and awk has its own
# Owns what an upload need not bring: files that lie on the host already, in releases and in uploads that were cut off,
# and become copies in the tree that is received.

# can_take RELEASE: whether the host has the programs to take files from what is there.
can_take() {
    have xargs || return
    [ -d "$ROOT/releases/$1" ] || return 0
    first_line "$RUN/found.of" && [ "$line" = "$1" ] && take_listed=$RUN/found.ahead && return
    take_listed=$RUN/found.first
    all_in "$ROOT/releases/$1" >"$take_listed"
}

# look_ahead RELEASE: lists it, before it is known what will be taken from it.
look_ahead() {
    all_in "${RUN%/.rdeploy/run/*}/releases/$1" >"$RUN/found.ahead" && printf '%s\n' "$1" >"$RUN/found.of"
} 2>/dev/null

# all_in DIRECTORY: as `found_in` lists it, and what else is there, with its kind instead of a time.
all_in() { found_in "$1" -o ! -name . -printf '%y - - - %p\n'; }

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

# take DIRECTORY MANIFEST: copies from there what the tree still needs; `take_left` is how many files it lacks then, and
# RUN/sums what is to be proven, of `take_bytes`. A directory of which all is needed and where nothing else is goes as a
# whole. What lies at another path there needs a copy of its own, or one together with its neighbours; more than 200
# such copies would take longer than sending. (The client counts in the same way, see src/artifact/delta.)
take() {
    [ -d "$1" ] && [ -s "$2" ] || return 0
    take_found=$RUN/found
    if [ "$1" = "$ROOT/releases/$take_first" ]; then
        take_found=$take_listed
    else
        all_in "$1" >"$take_found" || return
    fi
    if [ -n "$receive_bare" ]; then
        take_have=names
    else
        take_have=have
        found_in "$receive_tree" >"$RUN/have" || return
    fi
    forget "$RUN/same" "$RUN/moved" "$RUN/taken" "$RUN/modes.f" "$RUN/modes.x" "$RUN/rest"
    take_left=$(cd "$RUN" && awk "$AWK_FOUND"'
        BEGIN { printf "" >"sums" }
        function above(path) { return sub(/\/[^\/]*$/, "", path) ? path : "" }
        function into(path) { path = above(path); return path == "" ? "." : "./" path }
        function name(path) { sub(/^.*\//, "", path); return path }
        function runs(mode) { return substr(mode, length(mode) - 2, 1) % 2 }
        # A copy has the mode of what it is of, but for others that may write.
        function taken(source) {
            if (!linked) print "./" quoted(path) >"taken"
            if (runs(modes[source]) != ($1 == "x")) print "./" quoted(path) >("modes." $1)
        }
        # No directory above it goes as a whole.
        function spoil(path) { while ((path = above(path)) != "" && !(path in spoilt)) spoilt[path] }
        # The highest directory that takes it along, or itself.
        function goes(path,    names, n, at, dir) {
            n = split(path, names, "/")
            for (at = 1; at < n; at++) {
                dir = dir names[at]
                if (kind[dir] == "d" && !(dir in spoilt)) return dir
                dir = dir "/"
            }
            return path
        }
        part == "names" { sub(/^(\.\/)*/, ""); have[$0]; next }
        part == "have" { have[found()]; next }
        part == 2 && (path = found()) == "" { whole = 0; next }
        part == 2 && /^[^-0-9]/ { kind[path] = $1; next }
        part == 2 { there[path] = stamp(); names[path] = $3; modes[path] = $4; next }
        part == 4 && /^d / { dirs[++last_dir] = substr($0, 3); is_dir[substr($0, 3)] }
        !/^[fx] / { next }
        { path = listed() }
        part == 3 {
            if (there[path] == due($2) " " $3 && (linked || names[path] == 1)) {
                at[path] = $2
                if (!($2 in from)) from[$2] = path
            }
            next
        }
        { print $2 "  ./" path >"sums"; bytes += $3 }
        path in have { next }
        at[path] == $2 {
            same[++last_same] = path
            is_same[path]
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
        END {
            for (path in there) if (!(path in is_same)) spoil(path)
            for (path in kind) if (kind[path] != "d" || !(path in is_dir)) { spoilt[path]; spoil(path) }
            for (n = 1; n <= last_same; n++) {
                path = whole ? goes(same[n]) : same[n]
                if (path in gone) continue
                gone[path]
                print "./" quoted(path) >"same"
                while ((path = above(path)) != "" && !(path in made)) made[path]
            }
            for (n = 1; n <= last_dir; n++) {
                path = dirs[n]
                if (path in made) continue
                while (kind[dirs[n]] == "d" && path != "" && !(path in gone)) path = above(path)
                if (!(path in gone)) print "./" quoted(dirs[n]) >"rest"
            }
            printf "%d %.0f", left, bytes
        }
    ' linked="$copy_linked" whole="$copy_linked" part="$take_have" "$take_have" part=2 "$take_found" part=3 "$2" part=4 manifest) || return
    take_bytes=${take_left#* } take_left=${take_left% *}
    (umask 022 && cd "$1" && copy_same && { [ -z "$receive_bare" ] || make_dirs "$RUN/rest"; } && copy_moved) ||
        { [ -z "$(full_disk "$PRIVATE")" ] && make_dirs "$RUN/tree"; } || return
    for take_mode in f:644 x:755; do
        take_list=$RUN/modes.${take_mode%:*}
        [ ! -s "$take_list" ] || (cd "$receive_tree" && each_of "$take_list" chmod "${take_mode#*:}")
    done
    [ ! -s "$RUN/taken" ] || (cd "$receive_tree" && each_of "$RUN/taken" chown "$(id -u):$(id -g)")
    receive_bare=
    return 0
}

# copy_how DIRECTORY: copies the manifest there, and learns with it how this host copies. The cp of GNU shares the
# blocks where the file system can. Others may know no --parents, and a tar would make files with several names into one
# again.
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
        each_of "$RUN/same" $COPY -R --parents -t "$COPY_TO" --
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
