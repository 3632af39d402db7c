# shellcheck shell=sh
# Owns finding `pm2` and `node` on a host whose non-interactive shell does not: version managers put
# them on the PATH of interactive shells only.
#
# shellcheck disable=SC2154 # variables are shared with the other files

# app_find_path: makes PATH one on which pm2 and node are found, and remembers in the recipe what had
# to be added. Fails, saying where it looked, when they are nowhere.
app_find_path() {
    app_read kind
    [ "$app_value" = pm2 ] || return 0
    app_path_of "$RECIPE"
    path_complete && return 0
    path_added=
    for path_dir in $(path_known); do
        path_try "$path_dir"
        path_complete && break
    done
    path_complete || path_nvm
    path_complete || path_login -lc
    path_complete || path_login -lic
    if [ -n "$path_added" ]; then
        printf '%s' "$path_added" >>"$RECIPE/path"
    fi
    path_complete && return 0
    path_missing=
    command -v pm2 >/dev/null 2>&1 || path_missing="pm2 is"
    command -v node >/dev/null 2>&1 || path_missing="${path_missing:+pm2 and }node ${path_missing:+are}"
    case $path_missing in *node\ ) path_missing="node is" ;; esac
    echo "$path_missing not on the PATH of a non-interactive shell, nor where volta, asdf, mise, nodenv, n, npm, pnpm, bun, Homebrew, snap or nvm put it, nor on the PATH of a login shell. Install it (npm install -g pm2), or name its directory in deploy.toml: path = [\"/directory/of/pm2\"]"
    echo "looked in: $PATH"
    return 1
}

# path_complete: whether both programs are found.
path_complete() {
    command -v pm2 >/dev/null 2>&1 && command -v node >/dev/null 2>&1
}

# path_try DIR: adds a directory when it has one of the programs that is still missing.
path_try() {
    for path_program in node pm2; do
        if [ -x "$1/$path_program" ] && ! command -v "$path_program" >/dev/null 2>&1; then
            path_add "$1"
            return
        fi
    done
}

# path_add DIR: puts it last on PATH, and on the list of what was added.
path_add() {
    PATH=$PATH:$1
    export PATH
    path_added="$path_added$1
"
}

# path_known: prints the directories in which version and package managers put programs. None of them
# may have white space in its name, which the caller splits at.
path_known() {
    for path_dir in \
        "${VOLTA_HOME:-$HOME/.volta}/bin" \
        "${ASDF_DATA_DIR:-$HOME/.asdf}/shims" "${ASDF_DIR:-$HOME/.asdf}/bin" \
        "${MISE_DATA_DIR:-$HOME/.local/share/mise}/shims" \
        "${NODENV_ROOT:-$HOME/.nodenv}/shims" "${NODENV_ROOT:-$HOME/.nodenv}/bin" \
        "${N_PREFIX:-$HOME/n}/bin" \
        "${NPM_CONFIG_PREFIX:-$HOME/.npm-global}/bin" "$HOME/.npm-packages/bin" \
        "${PNPM_HOME:-$HOME/.local/share/pnpm}" \
        "${BUN_INSTALL:-$HOME/.bun}/bin" \
        "$HOME/.local/bin" "$HOME/bin" \
        /usr/local/bin /opt/homebrew/bin /home/linuxbrew/.linuxbrew/bin "$HOME/.linuxbrew/bin" \
        /opt/node/bin /usr/local/lib/nodejs/bin /snap/bin; do
        case $path_dir in
            *[[:space:]]*) ;;
            *) [ ! -d "$path_dir" ] || printf '%s\n' "$path_dir" ;;
        esac
    done
}

# path_nvm: takes the version of node that nvm calls default when pm2 is installed for it, else the
# newest version that has pm2, else the newest that has node.
path_nvm() {
    path_versions=${NVM_DIR:-$HOME/.nvm}/versions/node
    [ -d "$path_versions" ] || return 0
    path_default=
    if [ -f "${NVM_DIR:-$HOME/.nvm}/alias/default" ]; then
        IFS= read -r path_default <"${NVM_DIR:-$HOME/.nvm}/alias/default" || :
        path_default=v${path_default#v}
    fi
    path_best=
    for path_want in pm2 node; do
        # Oldest first, so that the last one taken is the newest; the default ends the search.
        # shellcheck disable=SC2012 # names that are no version are dropped
        for path_version in $(ls "$path_versions" | sed -n 's/^v\([0-9][0-9.]*\)$/\1/p' |
            sort -t. -k1,1n -k2,2n -k3,3n); do
            path_dir=$path_versions/v$path_version/bin
            [ -x "$path_dir/$path_want" ] || continue
            path_best=$path_dir
        done
        for path_dir in "$path_versions/$path_default/bin" "$path_versions/$path_default".*/bin; do
            [ -n "$path_default" ] && [ -x "$path_dir/$path_want" ] && path_best=$path_dir
        done
        [ -z "$path_best" ] || break
    done
    [ -z "$path_best" ] || path_try "$path_best"
}

# path_login FLAGS: asks the user's own shell. A marker finds the answer in whatever a profile prints.
path_login() {
    path_shell=${SHELL:-/bin/sh}
    [ -x "$path_shell" ] || return 0
    # shellcheck disable=SC2016 # expanded by the inner shell, which is a POSIX one whatever SHELL is
    path_found=$(app_limit 10 "$path_shell" "$1" 'sh -c '\''echo "<rdeploy-path>$PATH</rdeploy-path>"'\''' \
        2>/dev/null </dev/null | sed -n 's/.*<rdeploy-path>\(.*\)<\/rdeploy-path>.*/\1/p')
    path_rest=$path_found:
    while [ -n "$path_rest" ]; do
        path_dir=${path_rest%%:*}
        path_rest=${path_rest#*:}
        # A shim needs the programs of its manager, so the whole PATH is taken, not one directory.
        case ":$PATH:" in
            *":$path_dir:"*) ;;
            *) [ "${path_dir#/}" = "$path_dir" ] || path_login_dirs="${path_login_dirs-}$path_dir
" ;;
        esac
    done
    [ -n "${path_login_dirs-}" ] || return 0
    path_before=$PATH
    path_listed=$path_added
    while IFS= read -r path_dir; do
        [ -z "$path_dir" ] || path_add "$path_dir"
    done <<END
$path_login_dirs
END
    path_login_dirs=
    if ! path_complete; then
        PATH=$path_before
        path_added=$path_listed
    fi
}
