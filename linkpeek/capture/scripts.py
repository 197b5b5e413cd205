"""The JavaScript that is run in a page, always in a world of its own.

An isolated world sees the page's document but none of its variables: a page that
replaced ``Array`` or ``requestAnimationFrame`` cannot lead these astray.
"""

#: Ends what moves and hides the caret. Endless animations stop where they are, others
#: jump to their end.
FREEZE = """(() => {
  for (const animation of document.getAnimations().slice(0, 2000)) {
    try {
      const finite = isFinite(animation.effect.getComputedTiming().endTime);
      if (finite) animation.finish(); else animation.pause();
    } catch {}
  }
  const focused = document.activeElement;
  if (focused && (focused.isContentEditable || 'value' in focused)) {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync('*, *::before, *::after {caret-color: transparent !important}');
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
  }
})()"""

#: Scrolls through the page once and back, a window's height a frame, so that what
#: waits to be seen is asked for; ``%d`` is the last pixel that can be in the picture.
REVEAL = """(async () => {
  const late = document.querySelectorAll('img[loading=lazy], iframe[loading=lazy]');
  for (const element of late) element.loading = 'eager';
  const frame = () => new Promise(requestAnimationFrame);
  const bottom = () => Math.min(document.scrollingElement?.scrollHeight ?? 0, %d);
  for (let top = innerHeight; top < bottom(); top += innerHeight) {
    scrollTo({top, behavior: 'instant'});
    await frame();
  }
  scrollTo({top: 0, behavior: 'instant'});
  await frame();
})()"""
