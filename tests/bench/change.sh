# shellcheck shell=bash disable=SC2034,SC2154,SC2029
# One host over a slower line, 10,000 files and 100 MB of which one file changes.
hosts=1 rtt=40 rate=100
contenders=(rdeploy rsync)

prepare() {
    trees tree "$BENCH_DIR/large" 10000 100000000 40
    make_projects "$BENCH_DIR/large"
}

run_rsync() {
    rsync -az --delete --link-dest=/srv/rsync/current/ app/ "deploy@10.77.0.1:/srv/rsync/releases/$release/" &&
        ssh deploy@10.77.0.1 "ln -s releases/$release /srv/rsync/new && mv -T /srv/rsync/new /srv/rsync/current"
}

criteria() {
    at_most rdeploy sent 100000
    ratio rdeploy seconds rsync 1
    ratio rdeploy sent rsync
}
