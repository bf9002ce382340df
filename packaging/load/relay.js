// A load of operators' consoles on a hub's relay: each user connects to a box, sends ten commands, waits for the
// ten answers, and comes again. Every answer must say success, and there must be one for every command.
//
//   k6 run -e RELAY=wss://HOST:8443/relay -e API_KEY=K packaging/load/relay.js
//
// The defaults are 100 users on box-1 to box-10: up within a minute, held for five, down within one. USERS, BOXES,
// UP_S, HOLD_S and DOWN_S change that. k6 ends with 99 where a threshold at the end of `options` is not met.

import { check, sleep } from 'k6';
import { Counter, Trend } from 'k6/metrics';
import ws from 'k6/ws';

const COMMANDS = 10;
const COMMAND = JSON.stringify({ type: 'bash.exec', command: 'echo test' });
// The hub answers every command within 60 s, if only to say that its task goes on.
const ANSWERS_WITHIN_MS = 70000;
const PAUSE_S = 1;

const boxes = number('BOXES', 10);
const users = number('USERS', 100);

const sent = new Counter('commands_sent');
const received = new Counter('answers_received');
const failed = new Counter('answers_failed');
const unanswered = new Counter('commands_unanswered');
const latency = new Trend('answer_ms', true);

export const options = {
  scenarios: {
    consoles: {
      executor: 'ramping-vus',
      startVUs: 0,
      stages: [
        { duration: `${number('UP_S', 60)}s`, target: users },
        { duration: `${number('HOLD_S', 300)}s`, target: users },
        { duration: `${number('DOWN_S', 60)}s`, target: 0 },
      ],
      // A user who is to leave waits for the answers that are on the way.
      gracefulRampDown: '75s',
      gracefulStop: '75s',
    },
  },
  thresholds: {
    checks: ['rate==1'],
    answers_failed: ['count==0'],
    commands_unanswered: ['count==0'],
  },
  summaryTrendStats: ['avg', 'min', 'med', 'p(95)', 'p(99)', 'max'],
};

export default function () {
  const box = `box-${((__VU - 1) % boxes) + 1}`;
  const url = `${__ENV.RELAY}?boxId=${box}&apiKey=${__ENV.API_KEY}&hwid=test`;
  // Without a name of its own every measurement would carry the address, and so the key.
  const answer = ws.connect(url, { tags: { name: 'relay', url: 'relay' } }, (socket) => {
    let open = COMMANDS;
    let began = 0;
    socket.on('open', () => {
      began = Date.now();
      for (let i = 0; i < COMMANDS; i++) {
        socket.send(COMMAND);
        sent.add(1);
      }
    });
    socket.on('message', (text) => {
      const frame = JSON.parse(text);
      received.add(1);
      latency.add(Date.now() - began);
      failed.add(check(frame, { 'the answer says success': (it) => it.success === true }) ? 0 : 1);
      if (!frame.success) {
        console.error(`${box}: ${frame.state} ${JSON.stringify(frame.error)}`);
      }
      open -= 1;
      if (open === 0) {
        socket.close();
      }
    });
    socket.on('close', () => unanswered.add(open));
    socket.setTimeout(() => socket.close(), ANSWERS_WITHIN_MS);
  });
  check(answer, { 'the relay takes the connection': (it) => it && it.status === 101 });
  sleep(PAUSE_S);
}

function number(name, otherwise) {
  const value = __ENV[name] === undefined ? otherwise : Number(__ENV[name]);
  if (!(value > 0)) {
    throw new Error(`${name} is '${__ENV[name]}', not a number above 0`);
  }
  return value;
}
