'use strict';

// A web app that can be replaced while it serves: it says which version answers and from which
// release, and it stops without dropping a request.

const http = require('node:http');
const { version } = require('./package.json');

const port = Number(process.env.PORT || 3000);
let stopping = false;

const server = http.createServer((request, response) => {
  // While stopping, every answer asks the client to come back on a new connection, which then
  // reaches the worker that took over.
  if (stopping) response.setHeader('Connection', 'close');
  response.setHeader('Content-Type', 'application/json');
  // Node resolves links when it loads a module, so __dirname is the release and not `current`.
  response.end(JSON.stringify({ version, release: __dirname, pid: process.pid }) + '\n');
});

// PM2 sends SIGINT to stop a process. Clients that keep connections open get half a second to be
// told to close them; then nothing new is accepted. When the last answer is out, the process stays for
// another half second: PM2 may just be handing a new connection over, which this process then hands
// back to be given to another. If it were gone, that connection would never be answered.
function stop() {
  if (stopping) return;
  stopping = true;
  setTimeout(() => {
    server.close(() => setTimeout(() => process.exit(0), 500));
    server.closeIdleConnections();
  }, 500);
}

process.on('SIGINT', stop);
process.on('SIGTERM', stop);

server.listen(port);
