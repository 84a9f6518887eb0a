// A peer for the tests of wire/amqp: `node peer.mjs client <port>` talks to a
// server of ours and exits with 0 when all was well; `node peer.mjs server`
// prints its port, and is one until its input ends.
import { createRequire } from 'node:module';

const rhea = createRequire(import.meta.url)('rhea');
const [mode, port] = process.argv.slice(2);

const sizes = [0, 1, 100, 65_000, 65_536, 70_000, 300_000];
const body = (i) => Buffer.alloc(sizes[i % sizes.length], i & 0xff);

function fail(why) {
  console.error(why);
  process.exit(1);
}

// once waits for an event of an emitter, and fails on those that must not come.
function once(emitter, event, ...unwanted) {
  return new Promise((resolve, reject) => {
    const off = [];
    const on = (name, then) => {
      const f = (context) => {
        off.forEach((o) => o());
        then(context);
      };
      emitter.on(name, f);
      off.push(() => emitter.removeListener(name, f));
    };
    on(event, resolve);
    unwanted.forEach((name) => on(name, (context) => reject(new Error(
      `${name} instead of ${event}: ${context.error || (context.receiver || context.sender || context.connection).error}`))));
  });
}

async function client() {
  const container = rhea.create_container({ id: 'rhea' });
  const connection = container.connect({
    host: '127.0.0.1', port, username: 'user', password: 'secret', reconnect: false, max_frame_size: 4096, idle_time_out: 2000,
  });
  await once(connection, 'connection_open', 'connection_close', 'disconnected');

  // Messages of all sizes, each sent when there is credit, come back in order.
  const count = 200;
  const receiver = connection.open_receiver({ source: 'q', credit_window: 20 });
  let got = 0;
  const all = new Promise((resolve, reject) => receiver.on('message', (context) => {
    if (got === count) return;
    const want = body(got);
    if (context.message.message_id !== got || Buffer.compare(context.message.body.content, want) !== 0) {
      reject(new Error(`message ${context.message.message_id} instead of ${got}`));
    }
    if (++got === count) resolve();
  }));
  await once(receiver, 'receiver_open', 'receiver_error');
  const sender = connection.open_sender({ target: 'q' });
  let sent = 0;
  let settled = 0;
  const accepted = new Promise((resolve, reject) => {
    sender.on('accepted', () => { if (++settled === count) resolve(); });
    ['rejected', 'released', 'sender_error', 'sender_close'].forEach((e) => sender.on(e, () => reject(new Error(e))));
  });
  const pump = () => {
    while (sent < count && sender.sendable()) {
      sender.send({ message_id: sent, body: rhea.message.data_section(body(sent)) });
      sent++;
    }
  };
  sender.on('sendable', pump);
  await Promise.all([all, accepted]);

  // Settled by the sender.
  const settledSender = connection.open_sender({ target: 'q', snd_settle_mode: 1 });
  await once(settledSender, 'sendable', 'sender_error');
  const back = once(receiver, 'message');
  settledSender.send({ message_id: 'settled', body: rhea.message.data_section(Buffer.from('s')) });
  if ((await back).message.message_id !== 'settled') fail('the settled message has not come back');
  await closed(settledSender, 'sender_close');
  await closed(receiver, 'receiver_close');

  // Outcomes by hand, in both modes of settling; a drain in between.
  for (const mode of [0, 1]) {
    const manual = connection.open_receiver({ source: 'q', credit_window: 0, autoaccept: false, autosettle: mode === 0, rcv_settle_mode: mode });
    await once(manual, 'receiver_open', 'receiver_error');
    for (const settle of [(d) => d.accept(), (d) => d.release({ delivery_failed: true }), (d) => d.reject({ condition: 'a:b' }), (d) => d.modified({ undeliverable_here: true })]) {
      sender.send({ message_id: 'again', body: rhea.message.data_section(Buffer.from('x')) });
      const message = once(manual, 'message', 'receiver_close');
      manual.add_credit(1);
      const context = await message;
      const over = mode === 0 || once(manual, 'settled', 'receiver_close');
      settle(context.delivery);
      await over;
    }
    manual.drain_credit();
    manual.add_credit(5);
    manual.drain_credit();
    await once(manual, 'receiver_drained', 'receiver_close');
    await closed(manual, 'receiver_close');
  }

  // A node that is not there.
  const nowhere = connection.open_sender({ target: 'nowhere' });
  await once(nowhere, 'sender_error');
  if (nowhere.error.condition !== 'amqp:not-found') fail(nowhere.error);

  // Sessions of their own, begun and ended again and again.
  for (let i = 0; i < 5; i++) {
    const session = connection.create_session();
    session.begin();
    const s = session.open_sender({ target: 'q' });
    await once(s, 'sendable', 'sender_error');
    s.send({ message_id: i, body: rhea.message.data_section(Buffer.from('session')) });
    await once(s, 'accepted', 'rejected', 'released');
    const over = once(session, 'session_close', 'session_error');
    session.close();
    await over;
  }

  // Nothing is said for a while: heartbeats keep the connection alive.
  await new Promise((resolve) => setTimeout(resolve, 4500));
  if (!connection.is_open()) fail('the connection did not live');

  const over = once(connection, 'connection_close', 'connection_error');
  connection.close();
  await over;
}

async function closed(link, event) {
  const over = once(link, event);
  link.close();
  await over;
}

function server() {
  const container = rhea.create_container({ id: 'rhea-server' });
  container.sasl_server_mechanisms.enable_anonymous();
  container.sasl_server_mechanisms.enable_plain((user, password) => user === 'user' && password === 'secret');
  const queues = {};
  container.on('connection_open', (context) => {
    if (context.connection.hostname === 'redirect') {
      context.connection.close({ condition: 'amqp:connection:redirect', description: 'not here', info: { hostname: 'there' } });
    }
  });
  container.on('receiver_open', (context) => {
    const { address } = context.receiver.target || {};
    if (address === 'nowhere') {
      context.receiver.close({ condition: 'amqp:not-found', description: 'there is no such node' });
      return;
    }
    context.receiver.set_target({ address });
    context.receiver.set_credit_window(15);
  });
  container.on('sender_open', (context) => {
    const { address } = context.sender.source || {};
    if (address === 'nowhere') {
      context.sender.close({ condition: 'amqp:not-found', description: 'there is no such node' });
      return;
    }
    context.sender.set_source({ address });
    queues[address] = { sender: context.sender, messages: queues[address] ? queues[address].messages : [] };
  });
  const pump = (queue) => {
    while (queue && queue.sender && queue.messages.length > 0 && queue.sender.sendable()) queue.sender.send(queue.messages.shift());
  };
  container.on('sendable', (context) => pump(queues[context.sender.source.address]));
  container.on('sender_draining', (context) => context.sender.set_drained(true));
  container.on('message', (context) => {
    const { address } = context.receiver.target;
    const m = context.message;
    switch (m.subject) {
      case 'reject':
        context.delivery.reject({ condition: 'com.example:no', description: 'rejected' });
        return;
      case 'release':
        context.delivery.release();
        return;
      case 'detach':
        context.receiver.close({ condition: 'amqp:link:detach-forced', description: 'go' });
        return;
      case 'close':
        context.connection.close({ condition: 'amqp:connection:forced', description: 'go' });
        return;
      default:
    }
    queues[address] = queues[address] || { messages: [] };
    queues[address].messages.push(m);
    pump(queues[address]);
  });
  container.on('error', (e) => fail(e));
  const listener = container.listen({ port: 0, host: '127.0.0.1', max_frame_size: 2048, idle_time_out: 2000 });
  listener.on('listening', () => console.log(listener.address().port));
  process.stdin.on('end', () => process.exit(0)).resume();
}

if (mode === 'server') server();
else client().then(() => process.exit(0), fail);
