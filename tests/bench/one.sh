# shellcheck shell=bash disable=SC2034,SC2154,SC2029
# One host, a small app of 200 files and 2 MB of which one file changes, no supervisor.
hosts=1 rtt=100 rate=1000
contenders=(rdeploy floor)

prepare() {
    trees tree "$BENCH_DIR/small" 200 2000000 10
    make_projects "$BENCH_DIR/small"
}

# The floor: one command over one connection that checks nothing, locks nothing and keeps no way back.
run_floor() {
    tar -czf - -C app . | ssh deploy@10.77.0.1 "mkdir /srv/floor/releases/$release && tar -xzf - -C /srv/floor/releases/$release && ln -s releases/$release /srv/floor/new && mv -T /srv/floor/new /srv/floor/current"
}

criteria() { ratio rdeploy seconds floor 0.8; }
