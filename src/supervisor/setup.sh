# shellcheck shell=sh
# Owns what is done once on a host so that an app can be kept up there: what this user may do is done, and
# the checks name the command for what only root may.
#
# shellcheck disable=SC2034,SC2154 # variables are shared with the other files

# app_setup look|take: says every step that is missing, or takes it. What a person made is left alone.
app_setup() {
    app_open || return
    setup_mode=$1
    case $app_kind in
        pm2) pm2_setup ;;
        systemd) systemd_setup ;;
        supervisord) supervisord_setup ;;
    esac
}

# setup_step TEXT FUNCTION: a step that is missing.
setup_step() {
    if [ "$setup_mode" = look ]; then
        say todo "$1"
        return
    fi
    setup_said=$("$2" 2>&1) || say not-taken "$1: $(printf '%s\n' "$setup_said" | head -n 1)"
}

# setup_linger: this user's processes start at boot, and go on when nobody is logged in.
setup_linger() {
    [ "$(id -u)" != 0 ] && [ ! -e "/var/lib/systemd/linger/$(id -un)" ] || return 0
    setup_step "let what $(id -un) runs start at boot and go on without a login (loginctl enable-linger)" setup_lingers
}

setup_lingers() {
    loginctl enable-linger </dev/null && return
    echo "it may not do that itself; run on the host: sudo loginctl enable-linger $(id -un)"
    return 1
}

# setup_lay: writes what setup_new holds to setup_file, for everybody to read.
setup_lay() {
    (umask 022 && cp "$setup_new" "$setup_file.new") && mv -f "$setup_file.new" "$setup_file"
}

# setup_written FILE: whether rdeploy may write it: it is not there, or rdeploy wrote it.
setup_written() {
    [ ! -e "$1" ] || head -n 1 "$1" | grep -q '^# Written by rdeploy'
}

# setup_units: prints the directory of this user's own units.
setup_units() {
    printf '%s\n' "${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user"
}

# setup_unit NAME FILE: makes FILE a unit of this user's, and lets it start at boot. Nothing is started.
setup_unit() {
    setup_at=$(setup_units)
    systemd_runtime
    mkdir -p "$setup_at" && cp "$2" "$setup_at/$1.new" && mv -f "$setup_at/$1.new" "$setup_at/$1" &&
        systemctl --user daemon-reload </dev/null && systemctl --user enable -q "$1" </dev/null
}

# pm2_setup: PM2 brings its list back when the host boots.
pm2_setup() {
    command -v pm2 >/dev/null 2>&1 && [ "$(pm2_boot)" = none ] || return 0
    # What only root may do is a note of the checks.
    [ -d /run/systemd/system ] && [ "$(id -u)" != 0 ] || return 0
    setup_linger
    setup_step "let PM2 bring its apps back when the host boots ($(setup_units)/pm2.service)" pm2_boots
}

pm2_boots() {
    pm2_unit >"$WORK/pm2.service" && setup_unit pm2.service "$WORK/pm2.service"
}

# pm2_unit: as PM2's own `startup` writes it, for a user. (Without blank lines: the agent has none.)
pm2_unit() {
    pm2_at=$(pm2_home)
    cat <<END_OF_UNIT
[Unit]
Description=PM2 brings its apps back
Documentation=https://pm2.keymetrics.io/
[Service]
Type=forking
Environment="PATH=$(systemd_word "$PATH")"
Environment="PM2_HOME=$(systemd_word "$pm2_at")"
PIDFile=$(systemd_word "$pm2_at")/pm2.pid
ExecStart="$(systemd_word "$(command -v pm2)")" resurrect
ExecReload="$(systemd_word "$(command -v pm2)")" reload all
ExecStop="$(systemd_word "$(command -v pm2)")" kill
Restart=on-failure
[Install]
WantedBy=default.target
END_OF_UNIT
}

# systemd_word TEXT: as systemd reads it back inside double quotes.
systemd_word() {
    printf '%s' "$1" | sed 's/\\/\\\\/g; s/"/\\"/g; s/%/%%/g; s/\$/$$/g'
}

# systemd_wanted FILE: writes the unit that deploy.toml describes. Only here is it known who runs it.
systemd_wanted() {
    [ -f "$RECIPE/systemd-unit" ] || return
    sed "s/@USER@/$(id -un)/" "$RECIPE/systemd-unit" >"$1"
}

# systemd_setup: the unit that deploy.toml describes, and that each starts at boot.
systemd_setup() {
    systemd_is_user || {
        systemd_setup_host
        return
    }
    setup_linger
    systemd_new=$WORK/systemd-unit
    IFS= read -r systemd_unit <"$RECIPE/systemd-units"
    systemd_at=$(setup_units)/$systemd_unit
    if systemd_wanted "$systemd_new" && setup_written "$systemd_at" && ! cmp -s "$systemd_new" "$systemd_at"; then
        setup_step "write the unit $systemd_at, and let it start at boot" systemd_install
        return
    fi
    while IFS= read -r systemd_unit; do
        if systemd_show "$systemd_unit" && [ "$systemd_file" = disabled ]; then
            setup_step "let $systemd_unit start at boot" systemd_enable
        fi
    done <"$RECIPE/systemd-units"
}

systemd_install() { setup_unit "$systemd_unit" "$systemd_new"; }
systemd_enable() { systemd_do 20 enable "$systemd_unit"; }

# systemd_setup_host: root's units are root's to install; the file for that is made ready.
systemd_setup_host() {
    IFS= read -r systemd_unit <"$RECIPE/systemd-units"
    setup_new=$WORK/systemd-unit setup_file=$ROOT/.rdeploy/$systemd_unit
    systemd_wanted "$setup_new" && setup_written "/etc/systemd/system/$systemd_unit" || return 0
    ! cmp -s "$setup_new" "/etc/systemd/system/$systemd_unit" || return 0
    ! cmp -s "$setup_new" "$setup_file" || return 0
    setup_step "write the unit $systemd_unit to $ROOT/.rdeploy, for root to install" setup_lay
}

# systemd_cure: what to do about a unit that is not on the host, or is another one than deploy.toml describes.
# shellcheck disable=SC2016 # the quotes are for a person
systemd_cure() {
    if [ ! -f "$RECIPE/systemd-unit" ]; then
        printf 'install it, then run `%s`' "$(systemd_command enable "$systemd_unit")"
    elif systemd_is_user || [ ! -f "$ROOT/.rdeploy/$systemd_unit" ]; then
        printf 'run `rdeploy %s setup`' "${ENV:-ENVIRONMENT}"
    else
        printf 'run on the host: sudo install -m 644 %s /etc/systemd/system/ && sudo systemctl daemon-reload && sudo systemctl enable %s' \
            "$ROOT/.rdeploy/$systemd_unit" "$systemd_unit"
    fi
}

# systemd_compare: notes a unit of rdeploy's that deploy.toml describes otherwise by now.
systemd_compare() {
    systemd_at=/etc/systemd/system/$systemd_unit
    ! systemd_is_user || systemd_at=$(setup_units)/$systemd_unit
    [ -e "$systemd_at" ] && setup_written "$systemd_at" && systemd_wanted "$WORK/systemd-unit" || return 0
    cmp -s "$WORK/systemd-unit" "$systemd_at" ||
        say note "deploy.toml describes another $systemd_unit than is installed; $(systemd_cure)"
}

# supervisord_wanted FILE: writes the program that deploy.toml describes. Only here is it known who runs it.
supervisord_wanted() {
    [ -f "$RECIPE/supervisord-program" ] || return
    IFS= read -r supervisord_program <"$RECIPE/supervisord-programs"
    sed "s/^user=@USER@$/user=$(id -un)/" "$RECIPE/supervisord-program" >"$1"
}

# supervisord_place: prints the file that the program belongs into; fails where the configuration includes no
# directory.
supervisord_place() {
    supervisord_patterns | while IFS= read -r supervisord_pattern; do
        case ${supervisord_pattern##*/} in
            \*.*) [ ! -d "${supervisord_pattern%/*}" ] || printf '%s\n' "${supervisord_pattern%/*}/$supervisord_program${supervisord_pattern##*/\*}" ;;
        esac
    done | head -n 1 | grep .
}

# supervisord_setup: the program that deploy.toml describes, unless it is in a file of a person's. supervisord
# learns of it when the app is started.
supervisord_setup() {
    supervisord_find
    setup_new=$WORK/supervisord-program
    [ -f "$supervisord_config" ] && supervisord_wanted "$setup_new" && setup_file=$(supervisord_place) || return 0
    supervisord_read
    if [ -e "$setup_file" ]; then
        setup_written "$setup_file" && ! cmp -s "$setup_new" "$setup_file" || return 0
    elif [ "$supervisord_sure" = no ] || supervisord_says known "$supervisord_program"; then
        return 0
    fi
    if [ -w "${setup_file%/*}" ]; then
        setup_step "write the program $supervisord_program to $setup_file" setup_lay
        return
    fi
    # Root's are root's to install.
    setup_file=$ROOT/.rdeploy/${setup_file##*/}
    ! cmp -s "$setup_new" "$setup_file" || return 0
    setup_step "write the program $supervisord_program to $ROOT/.rdeploy, for root to install" setup_lay
}

# supervisord_cure: what to do about a program that is in no file, or is another one than deploy.toml describes.
# shellcheck disable=SC2016 # the quotes are for a person
supervisord_cure() {
    if ! supervisord_wanted "$WORK/supervisord-program" || ! supervisord_at=$(supervisord_place); then
        printf 'write it into a file that %s includes, then run on the host: %s' \
            "$supervisord_config" "$(supervisord_command update)"
    elif [ ! -w "${supervisord_at%/*}" ] && cmp -s "$WORK/supervisord-program" "$ROOT/.rdeploy/${supervisord_at##*/}"; then
        printf 'run on the host: sudo install -m 644 %s %s' "$ROOT/.rdeploy/${supervisord_at##*/}" "$supervisord_at"
    else
        printf 'run `rdeploy %s setup`' "${ENV:-ENVIRONMENT}"
    fi
}

# supervisord_compare: notes a program of rdeploy's that deploy.toml describes otherwise by now.
supervisord_compare() {
    supervisord_wanted "$WORK/supervisord-program" && supervisord_at=$(supervisord_place) || return 0
    [ -e "$supervisord_at" ] && setup_written "$supervisord_at" || return 0
    cmp -s "$WORK/supervisord-program" "$supervisord_at" ||
        say note "deploy.toml describes another program $supervisord_program than is installed; $(supervisord_cure)"
}
