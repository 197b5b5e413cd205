"""The browser's command line: no way out but the guard's, nothing kept, nothing asked.

https://peter.sh/experiments/chromium-command-line-switches/
"""

import os
from pathlib import Path

SHM = Path("/dev", "shm")

#: Bytes. Below this, shared memory goes to the throw-away folder instead: containers
#: often get 64 MB, and a full /dev/shm crashes pages.
SHM_NEEDED = 512 * 1024 * 1024

#: Variables of our environment that the browser may see.
KEPT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "FONTCONFIG_FILE", "FONTCONFIG_PATH", "LD_LIBRARY_PATH")

#: Megabytes of JavaScript heap one page may fill before it, alone, is ended.
HEAP_MB = 1024

DISABLED_FEATURES = (
    # ways out, and talk nobody asked for
    "AsyncDns", "DnsOverHttps", "DnsHttpsSvcb", "UseDnsHttpsSvcb", "EncryptedClientHello",
    "MediaRouter", "DialMediaRouteProvider", "CastMediaRouteProvider", "OptimizationHints",
    "NetworkTimeServiceQuerying", "CertificateTransparencyComponentUpdater", "AutofillServerCommunication",
    "InterestFeedContentSuggestions", "Translate", "WebOTP", "DirectSockets", "Reporting",
    "NetworkErrorLogging",
    # asks the local network, by multicast, for names in .local that a page gives WebRTC
    "WebRtcHideLocalIpsWithMdns",
    # pages fetched or drawn before anyone opens them
    "Prerender2", "PreloadingHeuristicsMLModel", "LoadingPredictorPrefetch", "SpeculationRulesPrefetchFuture",
    "PrefetchPrivacyChanges", "NavigationPredictor", "NoStatePrefetchHoldback",
    # keeps what was left behind
    "BackForwardCache", "PaintHolding", "AcceptCHFrame",
    # each capture has a context, and with it renderers, of its own that hold nobody's
    # data: a further process for every frame's site would isolate nothing from anything
    "IsolateOrigins", "site-per-process", "IsolateSandboxedIframes", "OriginKeyedProcessesByDefault",
    # has scripts and fonts come in without a word of their size, by which they are limited
    "BackgroundResourceFetch",
    # asks
    "AutomationControlled", "HttpsUpgrades", "HttpsFirstBalancedModeAutoEnable",
    "DestroyProfileOnBrowserClose",
)  # fmt: skip

FLAGS = (
    "--headless",
    "--remote-debugging-pipe",
    # network: everything through the context's proxy, which resolves names itself
    "--disable-quic",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    # a page outside any context, as the empty one of ``drawing``, has no way out at all
    "--proxy-server=socks5://127.0.0.1:9",
    "--proxy-bypass-list=<-loopback>",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-sync",
    "--dns-prefetch-disable",
    "--no-pings",
    # nothing but pages
    "--block-new-web-contents",
    "--deny-permission-prompts",
    "--disable-extensions",
    "--disable-default-apps",
    "--disable-component-extensions-with-background-pages",
    "--disable-client-side-phishing-detection",
    "--disable-notifications",
    "--disable-speech-api",
    "--disable-file-system",
    "--disable-print-preview",
    "--disable-remote-fonts-prefetch",
    "--disable-search-engine-choice-screen",
    "--disable-prompt-on-repost",
    "--noerrdialogs",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-service-autorun",
    "--password-store=basic",
    "--use-mock-keychain",
    # nothing kept; contexts hold their caches in memory, each its own, for as long as
    # no --disk-cache-dir is given: then they would share one on disk
    "--disable-breakpad",
    "--disable-crash-reporter",
    "--disable-gpu-shader-disk-cache",
    "--disable-field-trial-config",
    "--metrics-recording-only",
    # pictures
    "--disable-gpu",
    "--disable-site-isolation-trials",
    "--force-color-profile=srgb",
    "--font-render-hinting=none",
    "--disable-lcd-text",
    "--hide-scrollbars",
    # which hides them, but would leave the room that "scrollbar-gutter: stable" keeps for them
    "--blink-settings=forceAndroidOverlayScrollbar=true",
    "--mute-audio",
    "--autoplay-policy=user-gesture-required",
    # several pages at work at once, none of them in front
    "--disable-backgrounding-occluded-windows",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--disable-hang-monitor",
    f"--js-flags=--max-old-space-size={HEAP_MB}",
    "--disable-features=" + ",".join(DISABLED_FEATURES),
)


def command_line(executable: Path, *, profile: Path, sandbox: bool) -> list[str]:
    """Give the whole command.

    :param profile: the throw-away folder that takes everything the browser writes.
    :param sandbox: False only where the process is root: Chromium's sandbox cannot
        be had there.
    """
    words = [str(executable), *FLAGS, f"--user-data-dir={profile}"]
    if not sandbox:
        words.append("--no-sandbox")
    if _shared_memory() < SHM_NEEDED:
        words.append("--disable-dev-shm-usage")
    return words


def environment(profile: Path) -> dict[str, str]:
    """Give the browser's environment: nothing of ours (it may hold secrets) but what it needs."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return {**kept, "HOME": str(profile), "TMPDIR": str(profile), "XDG_CONFIG_HOME": str(profile)}


def _shared_memory() -> int:
    """Bytes free in /dev/shm; 0 where it cannot be written."""
    if not SHM.is_dir() or not os.access(SHM, os.W_OK | os.X_OK):
        return 0
    stat = os.statvfs(SHM)
    return stat.f_bavail * stat.f_frsize
