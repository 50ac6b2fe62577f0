"""Chromium over its DevTools pipe: real pointers, keys and schemes, and what its console says.

A command is a line of JSON that ends in NUL, written to the browser's descriptor 3; answers and
events come back on 4 (Chrome DevTools Protocol, `--remote-debugging-pipe`). No port is opened.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
_WAIT_S = 90.0
_KEYS = {"Enter": 13, "Escape": 27, "End": 35, "Home": 36, "ArrowLeft": 37, "ArrowRight": 39}
_TEXTS = {"Enter": "\r"}
_KEYS |= {"Tab": 9, "ArrowUp": 38, "ArrowDown": 40}


def find_chromium() -> str | None:
    """Return where Chromium is; None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


class Tab:
    """One page.

    Attributes:
        complaints: Errors and warnings of its console, and exceptions that nobody caught.
        requests: Addresses that it asked for.
    """

    def __init__(self, sent: int, received: int) -> None:
        self._sent, self._received = sent, received
        self._left = b""
        self._number = 0
        self._session: str | None = None
        self.complaints: list[str] = []
        self.requests: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self.ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Return the answer to a command of the protocol."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        _write(self._sent, json.dumps(message).encode() + b"\0")
        while True:
            said = self._next()
            if said.get("id") == self._number:
                assert "error" not in said, said
                return dict(said["result"])

    def size(self, width: int, height: int = 900, *, is_phone: bool = False) -> None:
        """Give the page a screen of so many CSS pixels."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone}
        self.ask("Emulation.setDeviceMetricsOverride", **metrics)
        self.ask("Emulation.setTouchEmulationEnabled", enabled=is_phone)

    def show(
        self,
        *,
        scheme: Literal["light", "dark"] = "light",
        media: Literal["screen", "print", ""] = "",
        motion: Literal["reduce", "no-preference"] = "no-preference",
    ) -> None:
        """Prefer a scheme, and show the page as on a screen or on paper whatever it is shown on."""
        features = [
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": motion},
        ]
        self.ask("Emulation.setEmulatedMedia", media=media, features=features)

    def open(self, address: str) -> None:
        """Open a page and wait until it is read."""
        self.ask("Page.navigate", url=address)
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def run(self, script: str) -> Any:
        """Return the value of an expression, of a promise what it comes to."""
        options = {"returnByValue": True, "awaitPromise": True}
        answer = self.ask("Runtime.evaluate", expression=script, **options)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, script: str, *, seconds: float = _WAIT_S) -> Any:
        """Return the value of an expression as soon as it is true."""
        until = time.monotonic() + seconds
        while True:
            value = self.run(f"(() => {{ try {{ return {script} }} catch {{ return null }} }})()")
            if value:
                return value
            assert time.monotonic() < until, f"not true in {seconds:g} s: {script}"
            time.sleep(0.1)

    def point(self, x: float, y: float, *, kind: str = "mouseMoved") -> None:
        """Move the mouse to a place of the window, or press or release it there."""
        press = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
        self.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, **press)

    def click(self, x: float, y: float) -> None:
        """Click at a place of the window."""
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            self.point(x, y, kind=kind)

    def tap(self, x: float, y: float) -> None:
        """Touch the window with a finger."""
        self.ask("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self.ask("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def press(self, key: str) -> None:
        """Press a key and let it go."""
        named = {"key": key, "code": key, "windowsVirtualKeyCode": _KEYS[key]}
        text = {"text": _TEXTS[key]} if key in _TEXTS else {}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **named, **text)
        self.ask("Input.dispatchKeyEvent", type="keyUp", **named)

    def screenshot(self, path: Path, *, is_whole: bool = False) -> None:
        """Save what is seen, or the whole page, as a PNG."""
        shot = self.ask("Page.captureScreenshot", captureBeyondViewport=is_whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def print_to(self, path: Path) -> None:
        """Save the page as a PDF, A4."""
        paper = {"paperWidth": 8.27, "paperHeight": 11.69, "preferCSSPageSize": True}
        done = self.ask("Page.printToPDF", printBackground=True, **paper)
        path.write_bytes(base64.b64decode(done["data"]))

    def _next(self) -> dict[str, Any]:
        """Return the next answer; events on the way are noted."""
        until = time.monotonic() + _WAIT_S
        while b"\0" not in self._left:
            assert select.select([self._received], [], [], max(0.0, until - time.monotonic()))[0]
            chunk = os.read(self._received, 1 << 20)
            assert chunk, "Chromium has ended"
            self._left += chunk
        line, _, self._left = self._left.partition(b"\0")
        said: dict[str, Any] = json.loads(line)
        self._note(said.get("method", ""), said.get("params", {}))
        return said

    def _note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Runtime.consoleAPICalled" and params["type"] in {"error", "warning"}:
            self.complaints.append(str([part.get("value") for part in params["args"]]))
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in {"error", "warning"}:
            self.complaints.append(str(params["entry"]["text"]))
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


@contextmanager
def open_tab(chromium: str, profile: Path) -> Iterator[Tab]:
    """Yield a tab of a browser of its own, which ends with the block."""
    to_browser, sent = os.pipe()
    received, from_browser = os.pipe()
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (to_browser, from_browser)]
    command = [chromium, *QUIET, "--remote-debugging-pipe", f"--user-data-dir={profile}"]
    quiet = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in range(3)]
    piped = [(os.POSIX_SPAWN_DUP2, end, number) for end, number in zip(ends, (3, 4), strict=True)]
    process_id = os.posix_spawn(chromium, command, os.environ, file_actions=[*quiet, *piped])
    for end in (to_browser, from_browser, *ends):
        os.close(end)
    try:
        yield Tab(sent, received)
    finally:
        os.close(sent)  # which ends the browser
        os.close(received)
        os.waitpid(process_id, 0)
