# shellcheck shell=sh disable=SC2015,SC2016,SC2034,SC2154 # variables are shared with the other files, and awk has its own
# Owns the way of a release's files from the wire, and from what the host has already, into one tree in
# `incoming` of which every file is proven by its digest.
#
# The tree outlives an attempt that was cut off: the next one takes it over. Nothing that lies there, or in
# an older release, is believed: it is a guess at what need not travel, and only a digest proves it.

# receive FORM CODEC BYTES EDITS RELEASE...: on standard input BYTES of the gzipped manifest, EDITS of a tar with
# changes of large files, then a tar compressed by CODEC (`plain`: not at all). RELEASES are where files may be taken
# from, the first is what the changes are of. By FORM
#   all    the manifest is whole, and so is the content; nothing is taken from anywhere
#   whole  the manifest is whole, and files are taken from what is there
#   patch  the same, but the manifest is what the first release's has to be changed by
#   lines  the same as it stands, not gzipped: a process less, where it is small
#   more   (with CODEC alone) the content is what was said to be missing
# Files that are still missing are named by their lines in the manifest, `missing LINE`, and the code is 75. It is
# 76 when this cannot be done here, and everything has to be sent.
receive() {
    await_attempt || return
    beside receive || return
    receive_form=$1 receive_codec=$2 receive_tree=$PRIVATE/incoming/$DIGEST/$TOKEN
    printf '' >"$RUN/out/receive" || return
    if [ "$receive_form" = more ]; then
        [ -f "$RUN/sums.out" ] && [ -d "$receive_tree" ] || fail "nothing was received yet" || return
    else
        case $receive_form in all) ;; *) can_take "${5:-none}" || return 76 ;; esac
        receive_manifest "$1" "$3" "${5-}" && receive_edits "$4" || return
        [ "$receive_form" != lines ] || receive_form='patch'
        shift 4
        take_first=${1:-none}
        receive_begin 2>"$RUN/out/receive" || receive_failed || return
    fi
    umask 022
    receive_files "$@" || return
    none_missing && printf '%s\n' "$DIGEST" >"$RUN/proven" || return
    forget_others
    # Opened for both ways, which waits for nobody.
    [ ! -p "$RUN/fifo" ] || printf 'received\n' 1<>"$RUN/fifo"
}

# none_missing: names the files that are. It goes by the manifest, which was proven itself: the list of what to prove
# may have been cut short by a full disk.
none_missing() {
    awk "$AWK_FOUND$AWK_PROVEN"'
        !(("./" listed()) in proven) { print "missing " FNR; code = 75 }
        END { exit code }
    ' part=1 "$RUN/sums.out" part=2 "$RUN/manifest"
}

# receive_files RELEASE...
receive_files() {
    printf '' >"$RUN/names" || return
    receive_beside='' take_bytes=
    case $receive_form in all | more)
        meanwhile "$receive_tree" >/dev/null 2>&1 </dev/null &
        receive_beside=$!
        ;;
    esac
    receive_into "$receive_tree" 2>"$RUN/out/receive"
    receive_code=$?
    [ -z "$receive_beside" ] || { kill "$receive_beside" 2>/dev/null; wait "$receive_beside"; }
    [ "$receive_code" = 0 ] || receive_failed || return
    edit "$receive_tree" "$ROOT/releases/${1:-none}" 2>/dev/null
    case $receive_form in
        whole | patch)
            take_all "$@" 2>"$RUN/out/receive" && { [ -z "$receive_bare" ] || make_dirs "$RUN/tree"; } ||
                receive_failed || return
            ;;
    esac
    prove "$receive_tree" || receive_failed
}

# meanwhile TREE: has what arrived written to the disk, and proves it, while the rest arrives, until it is ended. In the
# end nothing goes on before all of that is done, and there would have been little to do up to then.
meanwhile() {
    trap 'kill "$!" 2>/dev/null; exit 0' TERM
    meanwhile_line=1
    while :; do
        sleep 1 &
        wait "$!"
        sync -f "$1" &
        # What comes is in the order of the manifest; the last that was named may not be there whole. (Some tars name
        # what they unpack somewhere else; then all is proven in the end.)
        if [ "$receive_form" = all ]; then
            meanwhile_names=$(wc -l <"$RUN/names") meanwhile_names=$((meanwhile_names))
            if [ "$meanwhile_names" -gt "$meanwhile_line" ]; then
                prove "$1" "$((meanwhile_line + 1))" "$meanwhile_names"
                meanwhile_line=$meanwhile_names
            fi
        fi
        wait
    done
}

# exactly BYTES: hands on so much of standard input and takes no byte more, as BusyBox's `head -c` does.
# One block, waited for until it is whole; where dd cannot do that, one byte after the other.
exactly() { dd bs="$1" count=1 iflag=fullblock 2>/dev/null || dd bs=1 count="$1" 2>/dev/null; }

# await_attempt: the guardian hears what is received here at about the same time, on another channel.
await_attempt() {
    await_tries=0
    while [ ! -s "$RUN/attempt" ]; do
        await_tries=$((await_tries + 1))
        [ -p "$RUN/fifo" ] && [ "$await_tries" -le 300 ] || fail "the guardian was not told what is received" || return
        nap
    done
}

# receive_failed: why, as far as it is known. What fills a disk up does not wait there for the next attempt.
receive_failed() {
    receive_full=$(full_disk "$PRIVATE")
    if [ -n "$receive_full" ]; then
        printf '%s\n' "$receive_full"
        rm -rf "${PRIVATE:?}/incoming/$DIGEST"
    fi
    head -n 20 "$RUN/out/receive"
    return 1
}

# receive_manifest FORM BYTES RELEASE
receive_manifest() {
    forget "$RUN/manifest" "$RUN/sums.out" "$RUN/proven" "$RUN/tree" "$RUN/same"
    exactly "$2" >"$RUN/manifest.in"
    case $1 in
        lines) apply "$PRIVATE/manifests/${3:-none}" <"$RUN/manifest.in" ;;
        patch) gzip -dc <"$RUN/manifest.in" | apply "$PRIVATE/manifests/${3:-none}" ;;
        *) gzip -dc <"$RUN/manifest.in" ;;
    esac >"$RUN/manifest" 2>"$RUN/out/receive"
    receive_sum=$(sha256sum <"$RUN/manifest") && [ "${receive_sum%% *}" = "$DIGEST" ] && return
    rm -f "$RUN/manifest"
    case $1 in lines | patch) return 76 ;; esac
    fail "the manifest did not arrive whole"
    receive_failed
}

# receive_edits BYTES: a zstd frame for each file, named by its line in the manifest.
receive_edits() {
    [ ! -e "$RUN/edits" ] || rm -rf "$RUN/edits"
    [ "$1" = 0 ] || { mkdir "$RUN/edits" && exactly "$1" | tar -xopf - -C "$RUN/edits"; } 2>"$RUN/out/receive" || receive_failed
}

# edit TREE RELEASE: makes large files of those at the same paths there. As with all that is taken, only a digest
# proves what comes out; what does not come out is missing.
edit() {
    [ -d "$RUN/edits" ] || return 0
    for edit_by in "$RUN/edits"/*; do
        edit_line=$(sed -n "${edit_by##*/}p" "$RUN/manifest")
        edit_path=${edit_line#[fx] *\ *\ }
        zstd -dqf --long=31 --patch-from="$2/$edit_path" "$edit_by" -o "$1/$edit_path" </dev/null &&
            touch -r "$edit_by" "$1/$edit_path" && case $edit_line in
            x*) chmod 755 "$1/$edit_path" ;;
            *) chmod 644 "$1/$edit_path" ;;
            esac
    done
    rm -rf "$RUN/edits"
}

# apply FILE: what standard input makes of it; its directories, for `each_of`, go to RUN/tree. `=N` keeps N lines, `-N`
# leaves N out, `+LINE` is a new one.
apply() {
    APPLY_TO=$1 APPLY_TREE=$RUN/tree awk "$AWK_FOUND"'
        function put(line) {
            print line
            if (line ~ /^d /) print "./" quoted(substr(line, 3)) >ENVIRON["APPLY_TREE"]
        }
        function next_line() { if ((getline kept <ENVIRON["APPLY_TO"]) <= 0) exit 1 }
        /^=/ { for (n = substr($0, 2) + 0; n > 0; n--) { next_line(); put(kept) } next }
        /^-/ { for (n = substr($0, 2) + 0; n > 0; n--) next_line(); next }
        { put(substr($0, 2)) }'
}

# receive_begin: makes the tree, or takes over what an earlier attempt at this very artifact left.
receive_begin() {
    if [ "$receive_form" = all ]; then
        [ ! -e "$receive_tree" ] || rm -rf "$receive_tree"
        forget_others
    fi
    for receive_left in "$PRIVATE/incoming/$DIGEST"/*; do
        [ ! -d "$receive_tree" ] && [ -d "$receive_left" ] && ours "$receive_left" || continue
        mv "$receive_left" "$receive_tree" || return
    done
    # `receive_bare` is set as long as the tree has nothing but what tar unpacks.
    receive_new='' receive_bare=''
    [ -d "$receive_tree" ] || receive_new=1
    # Nobody else comes to where it lies, and as a release all may read it.
    (umask 022 && mkdir -p "$receive_tree") && copy_how "$PRIVATE/incoming/$DIGEST" || return
    printf '' >"$RUN/sums.out" || return
    [ "$receive_form" != all ] || return 0
    [ -n "$receive_new" ] || sift "$receive_tree" || return
    [ "$receive_form" = patch ] ||
        sed -n "/^d /{ s/^d //; s/[ \"']/\\\\&/g; s/^/.\\//p; }" "$RUN/manifest" >"$RUN/tree" || return
    # What is taken brings most directories along.
    [ -n "$receive_new" ] && [ -n "$copy_linked" ] && [ ! -d "$RUN/edits" ] && receive_bare=1 || make_dirs "$RUN/tree"
}

# make_dirs LIST: so that none is left out that is empty.
make_dirs() { [ ! -s "$1" ] || (umask 022 && cd "$receive_tree" && each_of "$1" mkdir -p); }

# receive_into DIRECTORY. A pipe has the last one's status only, and a cut stream may hold a whole tar.
receive_into() {
    [ ! -e "$RUN/receive.failed" ] || rm -rf "$RUN/receive.failed"
    case $receive_codec in plain) untar "$1"; return ;; esac
    {
        unpack || mkdir "$RUN/receive.failed"
    } | untar "$1" && [ ! -e "$RUN/receive.failed" ]
}

# untar DIRECTORY. GNU tar would read 10 KiB at a time; others do not look there.
untar() { TAR_OPTIONS=-b256 tar -xopvf - -C "$1" >"$RUN/names"; }

unpack() {
    case $receive_codec in
        zstd) zstd -dcq ;;
        *) gzip -dc ;;
    esac
}

# each_of LIST COMMAND...: calls it with the paths of the list, as many as go in one call. They are quoted there
# as xargs has it: that spares a program in between, and not every xargs knows another form.
each_of() (
    each_list=$1
    shift
    [ ! -s "$each_list" ] || xargs "$@" <"$each_list"
)

# found_in DIRECTORY [EXPRESSION]: its regular files: time, size, number of names, mode, path.
found_in() {
    found_dir=$1
    shift
    (cd "$found_dir" && find . -type f -printf '%T@ %s %n %m %p\n' "$@" 2>/dev/null) ||
        (cd "$found_dir" && find . -type f -exec stat -c '%Y %s %h %a %n' {} +)
}

# For awk: the path in a line of a manifest or of `found_in`, and time and size in one of these; the time that a file
# with this digest has in every release (see src/release/manifest.rs); a path for `each_of`; what `sha256sum -c` found
# to be right.
AWK_FOUND='
    BEGIN { for (n = 0; n < 16; n++) hex[substr("0123456789abcdef", n + 1, 1)] = n }
    function due(digest,    n, at) {
        for (at = 1; at <= 16; at++) n = (n * 16 + hex[substr(digest, at, 1)]) % 599529600
        return n + 978307200
    }
    function listed() { return substr($0, length($2) + length($3) + 5) }
    function found() { return substr($0, length($1) + length($2) + length($3) + length($4) + 7) }
    function stamp() { return int($1) " " $2 }
    function quoted(path) { gsub("[ \"\047]", "\\\\&", path); return path }'
AWK_PROVEN='
    part == 1 { if (sub(/: OK$/, "")) proven[$0]; next }
    !/^[fx] / { next }'

# sift TREE: leaves in it what may be whole files of the release. A cut stream ends in the middle of one; its
# time was not set then.
sift() {
    (cd "$1" && find . ! -type f ! -type d -exec rm -f {} + && find . -mindepth 1 -type d) >"$RUN/dirs" &&
        found_in "$1" >"$RUN/found" || return
    awk "$AWK_FOUND"'
        part == 1 && /^d / { dir["./" substr($0, 3)] }
        part == 1 && /^[fx] / { want["./" listed()] = due($2) " " $3 }
        part == 2 && !($0 in dir) { exit 3 }
        # Not even a name that would make two lines.
        part == 3 && (!/^[-.0-9]+ [0-9]+ [0-9]+ [0-7]+ \.\/./ || /\/\.\.(\/|$)/) { exit 3 }
        part == 3 && want["./" found()] != stamp() { print "./" quoted(found()) }
    ' part=1 "$RUN/manifest" part=2 "$RUN/dirs" part=3 "$RUN/found" >"$RUN/list"
    case $? in
        0) (cd "$1" && each_of "$RUN/list" rm -f) ;;
        # Not what this program left there.
        3) rm -rf "$1" && mkdir "$1" ;;
        *) return 1 ;;
    esac
}

# prove TREE [FROM TO]: notes which of its files have the digests that they should have, of those not proven yet; of
# those lines of the manifest, or of all.
prove() {
    # Where files were taken nothing is proven yet, and all is listed.
    prove_bytes=$take_bytes
    [ -n "$prove_bytes" ] || prove_bytes=$(cd "$RUN" && awk "$AWK_FOUND$AWK_PROVEN"'
        BEGIN { printf "" >"sums" }
        to && (FNR < from || FNR > to) { next }
        !(("./" listed()) in proven) { print $2 "  ./" listed() >"sums"; bytes += $3 }
        END { printf "%.0f", bytes }
    ' from="${2-0}" to="${3-0}" part=1 sums.out part=2 manifest) || return
    [ -s "$RUN/sums" ] || return 0
    # Many a sha256sum knows nothing of what the processor has for this, and takes six times as long. The other's start
    # takes longer.
    if [ "$prove_bytes" -gt 33554432 ] && prove_can; then
        prove_fast "$1"
    else
        # What was cut short, by a full disk, proves less, and never more.
        (cd "$1" && sha256sum -c "$RUN/sums") >>"$RUN/sums.out" 2>/dev/null
    fi
    return 0
}

# prove_can: whether there is an openssl that makes such digests.
prove_can() {
    have openssl && have xargs || return
    case $(openssl dgst -sha256 -r </dev/null 2>/dev/null) in
        e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\ *) ;;
        *) return 1 ;;
    esac
}

# prove_fast TREE: the paths begin at the same place in its lines, `DIGEST *PATH`, and in those of the list.
prove_fast() {
    sed "s/^.\{66\}//; s/[ \"']/\\\\&/g" "$RUN/sums" >"$RUN/list" &&
        (cd "$1" && each_of "$RUN/list" openssl dgst -sha256 -r) 2>/dev/null | awk '
            part == 1 { due[substr($0, 67)] = $1; next }
            due[substr($0, 67)] == $1 { print substr($0, 67) ": OK" }
        ' part=1 "$RUN/sums" part=2 - >>"$RUN/sums.out"
}

# is_proven: every file of the manifest.
is_proven() { [ -s "$RUN/proven" ]; }

# forget_others: what other attempts left of their uploads.
forget_others() {
    for forget_at in "$PRIVATE"/incoming/* "$PRIVATE/incoming/$DIGEST"/*/; do
        case $forget_at in
            "$PRIVATE/incoming/$DIGEST" | "$receive_tree/") ;;
            *) [ ! -e "$forget_at" ] || rm -rf "$forget_at" 2>/dev/null ;;
        esac
    done
    return 0
}
