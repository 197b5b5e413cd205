// Peer: a stand-in for services such as url-to-png, made of the libraries that they use: a pool of
// browsers (generic-pool), a page of its own in one of them for each picture (Playwright), waiting for
// the load event, and a thumbnail of it (sharp).

import {createPool} from 'generic-pool';
import {chromium} from 'playwright-core';
import sharp from 'sharp';
import {answerRounds} from './peers_rounds.mjs';

const factory = {
  create: () => chromium.launch({executablePath: process.argv[2]}),
  destroy: browser => browser.close(),
};
const pool = createPool(factory, {min: 2, max: 10});

const take = browser => async uri => {
  const page = await browser.newPage({viewport: {width: 1024, height: 768}});
  try {
    await page.goto(uri, {waitUntil: 'load'});
    const image = await page.screenshot();
    await sharp(image).resize(336, 252).png().toBuffer();
    return image.length;
  } finally {
    await page.close();
  }
};

await answerRounds(uri => pool.use(browser => take(browser)(uri)));
await pool.drain();
await pool.clear();
