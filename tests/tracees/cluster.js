// A cluster of node on the port that is the argument: two workers that accept themselves. After
// forty connections each asks to be replaced, and ends when its successor listens. The cluster ends
// with 72 if a signal kills a worker.
const cluster = require('cluster');
cluster.schedulingPolicy = cluster.SCHED_NONE;
if (cluster.isMaster) {
  cluster.fork();
  cluster.fork();
  cluster.on('message', (worker) => {
    cluster.fork().once('listening', () => worker.disconnect());
  });
  cluster.on('exit', (worker, code, signal) => {
    if (signal) {
      console.error(`a worker was killed: ${signal}`);
      process.exit(72);
    }
  });
} else {
  let left = 40;
  const server = require('http').createServer((_, response) => {
    response.end('ok');
    left -= 1;
    if (left === 0) {
      process.send('replace me');
    }
  });
  server.on('clientError', (_, socket) => socket.destroy());
  server.listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 512 });
}
