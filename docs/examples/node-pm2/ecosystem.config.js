'use strict';

// No `cwd` here: rdeploy registers the app in `current`, so that a reload runs the new release.
module.exports = {
  apps: [
    {
      name: 'shop',
      script: 'server.js',
      // Cluster mode, even with one instance, is what lets PM2 replace a process without a gap. With two
      // or more, one of them tries the new code before the others leave the old.
      exec_mode: 'cluster',
      instances: 2,
      // PM2 ends the old process when the new one has listened for connections, or after this time
      // (3 s if nothing is said here): longer than the app ever takes to start.
      listen_timeout: 8000,
      // From SIGINT to SIGKILL (1.6 s if nothing is said here): longer than the longest request.
      kill_timeout: 5000,
    },
  ],
};
