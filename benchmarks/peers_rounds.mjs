// What a peer's program in Node does; see peers_rounds.py for what it reads and writes.

import {createInterface} from 'node:readline';

const say = answer => process.stdout.write(JSON.stringify(answer) + '\n');

export const answerRounds = async take => {
  say({});
  for await (const line of createInterface({input: process.stdin})) {
    const {uris, at_once: atOnce} = JSON.parse(line);
    const waiting = [...uris.entries()].reverse();
    const latencies = [];
    let bytes = 0;
    const work = async () => {
      while (waiting.length > 0) {
        const [place, uri] = waiting.pop();
        const since = performance.now();
        bytes += await take(uri);
        latencies[place] = (performance.now() - since) / 1000;
      }
    };
    const since = performance.now();
    await Promise.all(Array.from({length: atOnce}, work));
    say({seconds: (performance.now() - since) / 1000, latencies, bytes});
  }
};
