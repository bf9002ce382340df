"""Switches of Chromium without which something would go beside the proxy of its context, and one of its driver."""

from typing import Final

SWITCHES: Final = (
    # WebRTC would send UDP wherever a page says; so it has only what a proxy carries. The first is the headless shell's
    # switch, the second the whole browser's, and neither heeds the other.
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
    # What belongs to no context (and would have no proxy) goes to a port where nobody listens.
    "--proxy-server=http://127.0.0.1:9",
    "--proxy-bypass-list=<-loopback>",
    # Chromium looks up no name by itself, not even to be quicker later: a look-up tells whoever owns the name.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    # QUIC is UDP, which no proxy here carries.
    "--disable-quic",
    # Updates, metrics, lists of bad sites, and the search for a captive portal.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-domain-reliability",
    "--disable-sync",
    "--no-pings",
    "--no-first-run",
)

# For --disable-features, beside those that Playwright disables: a second switch of that name would replace its list.
DISABLED_FEATURES: Final = (
    # Prefetches through a proxy of the browser's maker.
    "PrefetchProxy",
)

# A screenshot would wait for fonts for ever (playwright#35972), and with no link they never come: the steps wait for
# them themselves, but not for long.
DRIVER_ENVIRONMENT: Final = {"PW_TEST_SCREENSHOT_NO_FONTS_READY": "1"}
