# shellcheck shell=bash disable=SC2034,SC2154,SC2029
# The first deploy of 10,000 files and 100 MB to a host that has nothing of it, over a slower line.
hosts=1 rtt=40 rate=100
contenders=(rdeploy tar rsync)

prepare() {
    trees tree "$BENCH_DIR/large" 10000 100000000 40
    make_projects "$BENCH_DIR/large"
}

# Every time is the first: nothing is there, and nothing is left here of the time before.
before() {
    find "$(on_host 1 "/srv/$1")" -mindepth 1 -delete
    rm -rf "$HOME/.cache/rdeploy"
    change_project "$1" "$2"
}

verify() {
    local at
    at=$(on_host 1 "/srv/$1")
    [[ $1 != rdeploy ]] || at=$(on_host 1 "$(readlink "$at/current")")
    [[ $(find "$at/src" "$at/assets" -type f | wc -l) == 10001 ]] && grep -qx "// version $2" "$at/src/changed.js"
}

run_tar() { tar -czf - -C app . | ssh deploy@10.77.0.1 'tar -xzf - -C /srv/tar'; }
run_rsync() { rsync -az app/ deploy@10.77.0.1:/srv/rsync/; }

criteria() {
    ratio rdeploy seconds tar 1
    ratio rdeploy seconds rsync 1
}
