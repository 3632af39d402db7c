'use strict';

// No `cwd` here: rdeploy registers the app in `current`, so that a reload runs the new release.
module.exports = {
  apps: [
    {
      name: 'shop',
      script: 'server.js',
      // Cluster mode, even with one instance, is what lets PM2 replace a process without a gap.
      exec_mode: 'cluster',
      instances: 2,
    },
  ],
};
