// A server on the port that is the argument. Node asks accept for no address.
const server = require('http').createServer((_, response) => response.end('ok'));
server.on('clientError', (_, socket) => socket.destroy());
server.listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 512 });
