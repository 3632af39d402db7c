# shellcheck shell=sh disable=SC2015,SC2034,SC2154 # variables are shared with the other files
# Owns what the client gave: its settings, the recipe and the hooks. They come as a program (see src/host/settings.rs)
# that makes these files with the functions here: first in a private place, META, and with the lock in the attempt's
# own.

# make_meta: a private place for the client's settings until there is a lock.
make_meta() {
    for meta_at in "${TMPDIR:-/tmp}" /dev/shm "${HOME:-/}"; do
        # A name that nobody guesses, so that what is made is this guardian's own; where there is none, mktemp finds
        # one.
        if read -r META 2>/dev/null </proc/sys/kernel/random/uuid; then
            META=$meta_at/rdeploy.$META
            set -- "$META"
        else
            META=$(mktemp -d "$meta_at/rdeploy.XXXXXXXX" 2>/dev/null) || continue
            set --
        fi
        mkdir "$@" "$META/recipe" "$META/hooks" "$META/scratch" 2>/dev/null && return
    done
    echo "no temporary directory can be made on the host, neither in ${TMPDIR:-/tmp} nor in /dev/shm nor in the home directory; are they full or read-only?" >&2
    return 1
}

# read_meta: from standard input, of which it takes no byte more. Fails where that ends too early.
read_meta() {
    read -r meta_bytes meta_form || return
    case $meta_form in
        gzip) META_TEXT=$(exactly "$meta_bytes" | gzip -dc) ;;
        *) META_TEXT=$(exactly "$meta_bytes") ;;
    esac && case $META_TEXT in *"$new_line# end") ;; *) return 1 ;; esac
}

# lay_meta DIRECTORY: makes the files there. What is no program must not end this shell.
lay_meta() {
    meta_into=$1
    (eval "$META_TEXT")
}

meta_dirs() {
    for meta_dir; do
        shift
        [ -d "$meta_into/$meta_dir" ] || set -- "$@" "$meta_into/$meta_dir"
    done
    [ $# = 0 ] || mkdir "$@"
}

meta_file() { printf %s "$2" >"$meta_into/$1"; }

# drop_meta: what lies in the private place is secret.
drop_meta() { [ ! -d "$META" ] || rm -rf "$META"; }
