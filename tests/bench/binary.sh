# shellcheck shell=bash disable=SC2034,SC2154,SC2029
# A program of 50 MB that changes in places; to a host that has zstd, and to one that has not.
hosts=2 rtt=40 rate=100
contenders=(rdeploy rdeploy-plain rsync)

prepare() {
    trees binary "$BENCH_DIR/program/bin/app" 50000000
    make_projects "$BENCH_DIR/program"
    # As on a machine where nobody has installed it.
    rm -f "$(on_host 2 /usr/bin)"/*zstd*
    only_host rdeploy 2
    only_host rdeploy-plain 1
}

# Takes host $2 out of contender $1's project.
only_host() {
    sed -i "/deploy@${addresses[$2 - 1]}/d" "$projects/$1/deploy.toml"
    git_commit "$projects/$1"
}

before() {
    local tree
    tree=$(tree_of "$1")
    release=v$2
    trees patch "$tree/bin/app" "$2"
    case $1 in rdeploy*) git_commit "$tree" ;; esac
}

verify() {
    local host=1 to
    [[ $1 != rdeploy-plain ]] || host=2
    to=$(readlink "$(on_host "$host" "/srv/$1/current")") || return
    [[ $to == /* ]] || to=/srv/$1/$to
    cmp "$(tree_of "$1")/bin/app" "$(on_host "$host" "$to/bin/app")"
}

run_rdeploy-plain() { rdeploy prod; }

run_rsync() {
    rsync -az --delete --link-dest=/srv/rsync/current/ app/ "deploy@10.77.0.1:/srv/rsync/releases/$release/" &&
        ssh deploy@10.77.0.1 "ln -s releases/$release /srv/rsync/new && mv -T /srv/rsync/new /srv/rsync/current"
}

criteria() {
    ratio rdeploy sent rsync 1.2
    ratio rdeploy seconds rsync
    ratio rdeploy-plain sent rsync
}
