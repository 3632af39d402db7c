# shellcheck shell=bash
# What the contenders deploy, where to, and how it is seen that they did. Sourced by tests/bench/room.
#
# Each contender has a project of its own, $projects/NAME, and a directory of its own on the hosts, /srv/NAME. Of the
# peers, `app` in the project is what is deployed; rdeploy's and Capistrano's project is a git repository.

# shellcheck disable=SC2034 # the scenarios' too
projects=$BENCH_DIR/projects/$BENCH_SCENARIO
read -ra addresses <<<"${FLEET_HOSTS-}"
# shellcheck disable=SC2034 # what the one-liners name a release
release=

trees() { python3 "$BENCH_HERE/trees.py" "$@"; }

# What of a contender's project is deployed.
tree_of() {
    case $1 in
        rdeploy* | capistrano) echo "$projects/$1" ;;
        *) echo "$projects/$1/app" ;;
    esac
}

# Makes the project of contender $1 out of the tree in $2, and its directories on the hosts.
make_project() {
    local who=$1 tree host
    tree=$(tree_of "$who")
    mkdir -p "$tree"
    cp -a "$2/." "$tree"
    case $who in
        rdeploy*) write_configuration "$who" ;;
        capistrano)
            cp -r "$BENCH_HERE"/peers/capistrano/{Capfile,config} "$tree"
            mkdir -p "$tree/config/deploy"
            ;;
        ansible) cp "$BENCH_HERE"/peers/ansible/* "$projects/ansible" ;;
    esac
    for host in "${!addresses[@]}"; do
        case $who in
            capistrano) echo "server '${addresses[host]}', user: 'deploy', roles: %w[app]" >>"$tree/config/deploy/bench.rb" ;;
            ansible) echo "${addresses[host]} ansible_user=deploy" >>"$projects/ansible/hosts" ;;
        esac
        # The hosts' `deploy`.
        install -d -o 6001 -g 6001 "$(on_host $((host + 1)) "/srv/$who")"{,/releases}
    done
    # Its own, which it makes itself.
    case $who in
        rdeploy*) for host in "${!addresses[@]}"; do rmdir "$(on_host $((host + 1)) "/srv/$who")/releases"; done ;;
    esac
    case $who in
        rdeploy* | capistrano) git_init "$tree" ;;
    esac
}

# Makes the projects of all contenders out of the tree in $1.
# shellcheck disable=SC2154 # the scenario's
make_projects() {
    local who
    for who in "${contenders[@]}"; do make_project "$who" "$1"; done
}

git_init() {
    git -C "$1" init -q -b main
    git_commit "$1"
    # Capistrano's hosts get theirs from here; nobody waits for the push.
    if [[ $1 == */capistrano ]]; then
        git clone -q --bare "$1" "$BENCH_DIR/git/app.git"
        git -C "$1" remote add origin "$BENCH_DIR/git/app.git"
    fi
}

git_commit() {
    git -C "$1" add -A
    git -C "$1" -c user.name=bench -c user.email=bench@localhost commit -q --allow-empty -m "a change"
}

# The project of rdeploy, with everything on; scenarios add what they need to `more_configuration`.
write_configuration() {
    {
        printf 'app = "bench"\ndeploy_to = "/srv/%s"\n' "$1"
        printf '%s\n' "${more_configuration:-[supervisor]
kind = \"none\"}"
        printf '[env.prod]\nhosts = [\n'
        printf '  "deploy@%s",\n' "${addresses[@]}"
        printf ']\n'
    } >"$(tree_of "$1")/deploy.toml"
}

# A path of host $1, seen from here. Links on the way are not followed, since absolute ones would lead here.
on_host() { echo "/run/fleet/$1/root$2"; }

# Changes one file of contender $1's project to version $2, and commits and pushes it where that is how it is deployed.
change_project() {
    local tree
    tree=$(tree_of "$1")
    release=v$2
    trees change "$tree" "$2"
    case $1 in
        rdeploy*) git_commit "$tree" ;;
        capistrano) git_commit "$tree" && git -C "$tree" push -q origin main ;;
    esac
}

# Whether `current` of contender $1 on every host is that version.
is_live() {
    local host to
    for host in "${!addresses[@]}"; do
        to=$(readlink "$(on_host $((host + 1)) "/srv/$1/current")") || return
        [[ $to == /* ]] || to=/srv/$1/$to
        grep -qx "// version $2" "$(on_host $((host + 1)) "$to/src/changed.js")" || return
    done
}

# What a scenario does that does not say otherwise: one file changes, and its new version is live.
before() { change_project "$1" "$2"; }
verify() { is_live "$1" "$2"; }
run_rdeploy() { rdeploy prod; }
