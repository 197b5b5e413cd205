// Peer: capture-website. It starts a browser for every page: it has no other documented way.
// It waits until the network is idle for half a second; here a hook makes that the load event.

import captureWebsite from 'capture-website';
import {answerRounds} from './peers_rounds.mjs';

const onLoad = page => {
  const goto = page.goto.bind(page);
  page.goto = (uri, options) => goto(uri, {...options, waitUntil: 'load'});
};

await answerRounds(async uri => {
  const image = await captureWebsite.buffer(uri, {
    width: 1024,
    height: 768,
    scaleFactor: 1,
    blockAds: false,
    beforeNavigation: onLoad,
    launchOptions: {headless: 'shell', executablePath: process.argv[2], args: ['--no-sandbox']},
  });
  return image.length;
});
