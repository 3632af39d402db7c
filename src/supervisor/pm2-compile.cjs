'use strict';
// Owns turning an ecosystem file (or the apps of deploy.toml) into settings that name no release: one
// JSON file that starts the apps from `current`, today, in a rollback and after a reboot.
//
// Runs in the unpacked release, with the app's variables in its environment. An error is one line that
// starts with `rdeploy-error: `; everything else on the output is the user's own.

const crypto = require('crypto');
const fs = require('fs');
const path = require('path');
const url = require('url');

const MARK = 'RDEPLOY_PM2';
const [root, release, recipe, factsFile, pm2] = process.argv.slice(2);
const current = root + '/current';
const facts = [];

class Refused extends Error {}

const setting = (name) => {
    const file = path.join(recipe, name);
    return fs.existsSync(file) ? fs.readFileSync(file, 'utf8').replace(/\n$/, '') : '';
};

const fail = (text) => {
    console.log('\nrdeploy-error: ' + text.replace(/\s*\n\s*/g, ' '));
    process.exit(1);
};

// Variables in an app's environment that PM2 would take for its own settings: `name` renames the app,
// `status` and `pm_cwd` change what PM2 believes about it.
const RESERVED = new Set((
    'name namespace args node_args env instances exec_mode exec_interpreter status watch ignore_watch ' +
    'autorestart autostart restart_time unstable_restarts created_at max_restarts max_memory_restart min_uptime ' +
    'kill_timeout listen_timeout restart_delay exp_backoff_restart_delay wait_ready stop_exit_codes cron_restart ' +
    'merge_logs log_type log_date_format disable_logs vizion vizion_running versioning version treekill pmx ' +
    'pmx_module automation instance_var increment_var unique_id km_link username uid gid filter_env ' +
    'axm_actions axm_monitor axm_options axm_dynamic node_version exit_code current_conf updateEnv io ' +
    'shutdown_with_message source_map_support disable_source_map_support force windowsHide trace'
).split(' '));

// The spellings that PM2 accepts for the settings that matter here.
const ALIASES = {
    script: ['exec', 'cmd', 'command'],
    exec_interpreter: ['interpreter'],
    out_file: ['out', 'output', 'out_log'],
    error_file: ['error', 'err', 'err_file', 'err_log'],
    log_file: ['log'],
    pid_file: ['pid'],
    merge_logs: ['combine_logs'],
    cron_restart: ['cron'],
    node_args: ['interpreterArgs', 'interpreter_args'],
    uid: ['user'],
};

// Settings of a registered app that a reload from a file does not change.
const FIXED = [
    'exec_mode', 'out_file', 'error_file', 'log_file', 'pid_file', 'merge_logs', 'log_type', 'disable_logs',
    'log_date_format', 'time', 'watch', 'ignore_watch', 'watch_options', 'watch_delay', 'cron_restart', 'uid', 'gid',
    'instance_var', 'increment_var', 'filter_env', 'autostart', 'port',
];

// Reads the file as PM2 does, and a little more kindly: what counts is the end of its name.
async function evaluate(file, shown) {
    if (!fs.existsSync(file)) {
        throw new Refused('the release has no ' + shown + '. Is supervisor.ecosystem right, and is the file packed (.gitignore, build.include)?');
    }
    try {
        if (/\.json$/.test(file)) {
            return require('vm').runInThisContext('(' + fs.readFileSync(file, 'utf8') + '\n)', { filename: file, timeout: 5000 });
        }
        if (/\.ya?ml$/.test(file)) {
            return yaml(shown).load(fs.readFileSync(file, 'utf8'));
        }
        if (/\.mjs$/.test(file)) {
            const loaded = await import(url.pathToFileURL(file).href);
            return loaded.apps ? { apps: loaded.apps, deploy: loaded.deploy } : loaded.default;
        }
        return require(file);
    } catch (error) {
        if (error instanceof Refused) throw error;
        const esm = error.code === 'ERR_REQUIRE_ESM' || /in ES module scope/.test(error.message);
        if (esm && /\.js$/.test(file)) {
            throw new Refused(shown + ' is read as an ES module, because package.json says "type": "module". Rename it to ' + shown.replace(/\.js$/, '.cjs') + ', there and in deploy.toml.');
        }
        console.log(error.stack || error);
        throw new Refused('evaluating ' + shown + ' failed: ' + (error.message || error));
    }
}

// PM2 brings its own reader of YAML along.
function yaml(shown) {
    const places = [release];
    try {
        places.push(path.dirname(fs.realpathSync(pm2)));
    } catch (error) {
        // A shim leads nowhere.
    }
    places.push(path.join(path.dirname(pm2), '..', 'lib', 'node_modules', 'pm2'));
    try {
        return require(require.resolve('js-yaml', { paths: places }));
    } catch (error) {
        throw new Refused('no reader for ' + shown + ' was found beside PM2 (js-yaml). Write the file as .config.cjs or .json instead.');
    }
}

// Every path into a release becomes one through `current`, wherever in a text it stands.
function releaseFree(value) {
    if (typeof value === 'string') return patterns.reduce((text, pattern) => text.replace(pattern, () => current), value);
    if (Array.isArray(value)) return value.map(releaseFree);
    if (value && typeof value === 'object' && !(value instanceof RegExp)) {
        return Object.keys(value).reduce((copy, key) => Object.assign(copy, { [key]: releaseFree(value[key]) }), {});
    }
    return value;
}

const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
const patterns = Array.from(new Set([root, fs.realpathSync(root)])).map(
    (base) => new RegExp('(?<![\\w.-])' + escaped(base) + '/releases/[^/\\s"\':;,]+', 'g'),
);

// Where a path through `current` will lead to once the release is live.
const inRelease = (file) => (file === current || file.startsWith(current + '/') ? release + file.slice(current.length) : file);

function onPath(program) {
    return (process.env.PATH || '').split(':').some((directory) => {
        try {
            fs.accessSync(path.join(directory, program), fs.constants.X_OK);
            return true;
        } catch (error) {
            return false;
        }
    });
}

// Gives each setting the name in PM2's own list.
function canonical(app) {
    const copy = {};
    for (const key of Object.keys(app)) {
        const snake = /^env/.test(key) ? key : key.replace(/([a-z])([A-Z])/g, (_, a, b) => a + '_' + b.toLowerCase());
        const name = Object.keys(ALIASES).find((one) => ALIASES[one].includes(key) || ALIASES[one].includes(snake)) || snake;
        if (copy[name] === undefined && app[key] !== undefined && app[key] !== null) copy[name] = app[key];
    }
    return copy;
}

function variables(app, config, envNames, vars, ofDeployToml) {
    const merged = {};
    const take = (from, what) => {
        if (from === undefined || from === null) return;
        if (typeof from !== 'object') throw new Refused(what + ' of app ' + app.name + ' is not an object');
        for (const key of Object.keys(from)) {
            const value = from[key];
            if (value === undefined || value === null) delete merged[key];
            else merged[key] = typeof value === 'object' ? JSON.stringify(value) : String(value);
        }
    };
    if (ofDeployToml) take(vars, 'vars');
    for (const name of envNames) take(((config.deploy || {})[name] || {}).env, 'deploy.' + name + '.env');
    take(app.env, 'env');
    for (const name of envNames) take(app['env_' + name], 'env_' + name);
    if (!ofDeployToml) take(vars, 'vars');
    if (merged.PATH === undefined) merged.PATH = process.env.PATH;
    for (const key of Object.keys(merged)) {
        if (RESERVED.has(key) || /^pm_/.test(key) || key === MARK) {
            throw new Refused('the variable ' + key + ' of app ' + app.name + ' is one that PM2 takes for a setting of its own. Give it another name.');
        }
    }
    return merged;
}

function instancesOf(app) {
    if (app.instances === undefined) return 1;
    if (app.instances === 'max') return 0;
    const number = typeof app.instances === 'number' ? app.instances : parseInt(app.instances, 10);
    if (isNaN(number)) throw new Refused('instances of app ' + app.name + ' is neither a number nor "max"');
    return number;
}

// The mode PM2 would choose; undefined leaves the choice to PM2.
function modeOf(app) {
    if (app.exec_mode) return String(app.exec_mode).replace(/^(fork|cluster)$/, '$1_mode');
    if (app.instances === undefined) return 'fork_mode';
    const number = instancesOf(app);
    const node = app.exec_interpreter ? /(node|bun)$/.test(app.exec_interpreter) : /\.[cm]?js$/.test(app.script);
    return node && number >= -1 ? 'cluster_mode' : undefined;
}

function nameOf(app, envNames) {
    let name = app.name === undefined ? path.basename(app.script).replace(/(.)\.[^.]*$/, '$1') : String(app.name);
    if (app.append_env_to_name && envNames.length) name += '-' + envNames[0];
    if (app.name_prefix && !name.includes(app.name_prefix)) name = app.name_prefix + ':' + name;
    // PM2 reads these as an id, as every app, or as a pattern.
    if (name === 'all' || /^[-+]?[0-9.]*$/.test(name) || /^\/.*\/$/.test(name) || /[\s\x00-\x1f]/.test(name)) {
        throw new Refused('an app cannot be named `' + name + '`, which PM2 reads as something else. Choose another name.');
    }
    return name;
}

function place(app, cwd) {
    const script = String(app.script);
    // PM2 gives a script with a space in it to a shell, and knows its own `serve`.
    if (script.includes(' ') || script === 'serve') return script;
    const file = releaseFree(path.resolve(inRelease(cwd), script));
    if (fs.existsSync(inRelease(file))) return file;
    if (!script.includes('/') && onPath(script)) return script;
    throw new Refused('the script of app ' + app.name + ' is not in the release: ' + file + '. Does the build write it, and is it packed (.gitignore, build.include)?');
}

function compiled(given, config, envNames, vars, ofDeployToml) {
    if (!given || typeof given !== 'object') throw new Refused('an app of the ecosystem file is not an object');
    let app = canonical(given);
    if (!app.script) throw new Refused('app ' + (app.name || '(without a name)') + ' has no script');
    app.name = nameOf(app, envNames);
    const env = variables(app, config, envNames, vars, ofDeployToml);
    if (app.port !== undefined && env.PORT === undefined) env.PORT = String(app.port);
    const instances = instancesOf(app);
    const mode = modeOf(app);
    const cwd = releaseFree(path.resolve(release, app.cwd === undefined ? '.' : String(app.cwd)));
    if (!fs.existsSync(inRelease(cwd))) throw new Refused('the working directory of app ' + app.name + ' is not in the release: ' + cwd);
    for (const key of Object.keys(app)) {
        if (/^env/.test(key) || ['append_env_to_name', 'name_prefix', 'username', 'port'].includes(key)) delete app[key];
    }
    app = releaseFree(app);
    app.cwd = cwd;
    app.script = place(app, cwd);
    app.instances = instances;
    if (mode) app.exec_mode = mode;
    app.env = releaseFree(env);
    const fixed = FIXED.map((key) => (app[key] === undefined ? null : app[key]));
    if (mode !== 'fork_mode') fixed.push(app.exec_interpreter || null);
    app.env[MARK] = JSON.stringify({
        root,
        env: Object.keys(env).sort(),
        set: Object.keys(app).sort(),
        shape: crypto.createHash('sha256').update(JSON.stringify(fixed)).digest('hex').slice(0, 16),
    });
    return app;
}

// `env_production` is what most files call it, `prod` what most people type.
function environmentNames(name, apps) {
    const long = { prod: 'production', stage: 'staging', dev: 'development' }[name];
    const has = (one) => one && apps.some((app) => app && app['env_' + one]);
    if (has(name) || !has(long)) return name ? [name] : [];
    facts.push('note the ecosystem file has no env_' + name + '; its env_' + long + ' is used');
    return [long];
}

async function main() {
    const ecosystem = setting('pm2-ecosystem');
    const ofDeployToml = !ecosystem;
    const shown = ecosystem || 'pm2-apps.json';
    let config = await evaluate(ofDeployToml ? path.join(recipe, shown) : path.join(release, ecosystem), shown);
    if (typeof config === 'function') throw new Refused(shown + ' exports a function; PM2 wants an object with `apps`');
    if (!config || typeof config !== 'object') throw new Refused(shown + ' gives no apps');
    if (config.default && !config.apps) config = config.default;
    if (config.static) throw new Refused('`static` in ' + shown + ' is not supported. Write an app with script: "serve" instead.');
    const found = config.apps || config.pm2 || config;
    const apps = Array.isArray(found) ? found : [found];
    if (!apps.length) throw new Refused(shown + ' has no apps');

    const vars = {};
    for (const name of setting('env-names').split('\n').filter(Boolean)) {
        vars[name] = name === 'NODE_OPTIONS' ? process.env.RDEPLOY_NODE_OPTIONS : process.env[name];
    }
    delete vars.PATH;
    const envNames = environmentNames(setting('environment'), apps);
    const done = apps.map((app) => compiled(app, config, envNames, vars, ofDeployToml));
    const names = done.map((app) => app.name);
    const twice = names.find((name, at) => names.indexOf(name) !== at);
    if (twice) throw new Refused('two apps are named ' + twice + '. PM2 would run both and tell them apart nowhere.');
    for (const app of done) {
        if (app.exec_mode === 'fork_mode' && app.instances !== 1) {
            facts.push('note ' + app.name + ' runs several processes in fork mode; they cannot share a port (exec_mode: "cluster" can)');
        }
    }
    const options = { mode: 0o600 };
    fs.writeFileSync(path.join(recipe, 'pm2-names'), names.map((name) => name + '\n').join(''), options);
    fs.writeFileSync(factsFile, facts.map((fact) => fact + '\n').join(''), options);
    fs.writeFileSync(path.join(recipe, 'pm2.json'), JSON.stringify({ apps: done }, null, 1), options);
    // What the file left running (timers, connections) is of no use here.
    process.exit(0);
}

process.on('unhandledRejection', (error) => fail(String((error && error.message) || error)));
main().catch((error) => fail(error instanceof Refused ? error.message : 'compiling the apps failed: ' + (error.stack || error)));
