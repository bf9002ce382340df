"""All the ways in which a page can make a browser connect somewhere, for the test of what it may reach."""

from typing import Final

# Each is the body of a function of `to`, the URL to reach, and `via`, which gives the URL of a page of the test's own
# site that answers as its arguments say. What it returns is of no interest.
VECTORS: Final[dict[str, str]] = {
    "fetch": "return fetch(to, {mode: 'no-cors'})",
    "xhr": "const x = new XMLHttpRequest(); x.open('GET', to); x.send()",
    "beacon": "navigator.sendBeacon(to, 'x')",
    "image": "new Image().src = to",
    "css image": "add('i', {style: `background: url('${to}')`})",
    "stylesheet": "add('link', {rel: 'stylesheet', href: to})",
    "import in css": "add('style', {textContent: `@import url('${to}')`})",
    "font": "return new FontFace('x' + Math.random(), `url('${to}')`).load()",
    "script": "add('script', {src: to})",
    "module": "return import(to)",
    "video": "add('video', {src: to, preload: 'auto'})",
    "object": "add('object', {data: to})",
    "embed": "add('embed', {src: to})",
    "frame": "add('iframe', {src: to})",
    "frame of text": "add('iframe', {srcdoc: `<img src='${to}'>`})",
    "frame of data": "add('iframe', {src: 'data:text/html;charset=utf-8,' + encodeURIComponent(`<img src='${to}'>`)})",
    "frame of blob": """
        const type = 'text/html;charset=utf-8';
        add('iframe', {src: URL.createObjectURL(new Blob([`<img src='${to}'>`], {type}))})""",
    "sandboxed frame": "add('iframe', {sandbox: 'allow-scripts', srcdoc: `<script>fetch('${to}')</script>`})",
    "meta refresh": "add('iframe', {src: via({html: `<meta http-equiv=refresh content='0;url=${to}'>`})})",
    "refresh header": "add('iframe', {src: via({refresh: encodeURI(to)})})",
    "redirect of a frame": "add('iframe', {src: via({status: 302, to})})",
    "redirect of fetch": "return fetch(via({status: 307, to}), {mode: 'no-cors'})",
    "redirect of a post": "return fetch(via({status: 308, to}), {mode: 'no-cors', method: 'POST', body: 'x'})",
    "redirect of an image": "new Image().src = via({status: 301, to})",
    "two redirects": "return fetch(via({status: 302, to: via({status: 303, to})}), {mode: 'no-cors'})",
    "form": "const f = add('form', {action: to, method: 'POST', target: frame()}); f.submit()",
    "popup": "open(to)",
    "popup by link": "add('a', {href: to, target: '_blank', rel: 'opener'}).click()",
    "popup redirected": "open(via({status: 302, to}))",
    "popup by script": "const w = open(''); w.location = to",
    "ping": "add('a', {href: '#x', ping: to}).click()",
    "event source": "new EventSource(to)",
    "websocket": "new WebSocket(to.replace('http', 'ws'))",
    "websocket of a worker": "worker(`new WebSocket('${to.replace('http', 'ws')}')`)",
    "worker": "worker(`fetch('${to}', {mode: 'no-cors'})`)",
    "import in a worker": "worker(`importScripts('${to}')`)",
    "shared worker": "new SharedWorker(via({script: `fetch('${to}', {mode: 'no-cors'})`}))",
    "service worker": """
        const scope = '/sw' + Math.random() + '/';
        return navigator.serviceWorker.register(via({script: `fetch('${to}', {mode: 'no-cors'})`}), {scope})""",
    "preload": "add('link', {rel: 'preload', as: 'fetch', crossOrigin: 'anonymous', href: to})",
    "module preload": "add('link', {rel: 'modulepreload', href: to})",
    "prefetch": "add('link', {rel: 'prefetch', href: to})",
    "report": "add('iframe', {src: via({csp: `img-src 'none'; report-uri ${encodeURI(to)}`, html: '<img src=/x>'})})",
    "svg": "add('div', {innerHTML: `<svg><image href='${to}'/></svg>`})",
}

# The same for a URL of https, which is given as one of http.
SECURE_VECTORS: Final[dict[str, str]] = {
    "secure fetch": "return fetch(secure(to), {mode: 'no-cors'})",
    "secure frame": "add('iframe', {src: secure(to)})",
    "secure websocket": "new WebSocket(secure(to).replace('http', 'ws'))",
}

# What Chromium does not do through a proxy, or not under Playwright; should a later one do it, it is held to the rest.
IDLE_VECTORS: Final[dict[str, str]] = {
    "preconnect": "add('link', {rel: 'preconnect', href: secure(to)})",
    "preconnect with credentials": "add('link', {rel: 'preconnect', crossOrigin: 'use-credentials', href: secure(to)})",
    "look-up ahead": "add('link', {rel: 'dns-prefetch', href: to})",
    "prefetch by rules": """
        const prefetch = [{urls: [secure(to), to], eagerness: 'immediate'}];
        add('script', {type: 'speculationrules', textContent: JSON.stringify({prefetch})})""",
    "prerender by rules": """
        const prerender = [{urls: [to], eagerness: 'immediate'}];
        add('script', {type: 'speculationrules', textContent: JSON.stringify({prerender})})""",
    "web transport": "return new WebTransport(secure(to)).ready",
}

# Puts a function for each way into a page.
PRELUDE: Final = (
    """
var add = (name, fields) => document.body.appendChild(Object.assign(document.createElement(name), fields));
var frame = () => add('iframe', {name: 'f' + Math.random()}).name;
var via = fields => new URL('/as?' + new URLSearchParams(fields), location).href;
var secure = to => to.replace('http:', 'https:');
var worker = script => new Worker(URL.createObjectURL(new Blob([script])));
window.vectors = {
"""
    + ",\n".join(
        f"{name!r}: async to => {{ {body.strip()} }}"
        for name, body in (VECTORS | SECURE_VECTORS | IDLE_VECTORS).items()
    )
    + "\n};"
)
