"""Headless Chromium, driven through its DevTools protocol over two pipes: no driver, no library, no port."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Self

COMMAND = shutil.which("chromium")


class Chromium:
    """One tab of a browser without a window and without network; it ends with the `with` block."""

    def __init__(self, profile: Path) -> None:
        options = ["--headless=new", "--remote-debugging-pipe", "--disable-gpu", "--disable-dev-shm-usage",
                   "--hide-scrollbars", "--no-first-run", "--proxy-server=127.0.0.1:9", f"--user-data-dir={profile}",
                   *(["--no-sandbox"] if os.geteuid() == 0 else [])]  # fmt: skip
        # It reads commands from descriptor 3 and writes answers to 4.
        shell = ["sh", "-c", 'exec "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1', "sh", str(COMMAND), *options]
        self._process = subprocess.Popen(shell, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        assert self._process.stdin
        assert self._process.stdout
        self._commands, self._answers = self._process.stdin, self._process.stdout
        self._rest, self._count, self._session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Log", "Runtime", "Network"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._commands.close()  # it ends when nobody can send commands any more
        self._process.wait(timeout=60)
        self._answers.close()

    def call(self, method: str, **parameters: Any) -> Any:
        """Send a command and return its result; what happens meanwhile goes to `events`."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        self._commands.write(json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._count:
            self.events.append(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = self._answers.read(1 << 20)
            if not more:
                raise RuntimeError("chromium ended")
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(line))

    def open(self, page: Path, width: int, scheme: str) -> None:
        """Load a page from disk, as wide as `width` pixels, in the colour scheme ``light`` or ``dark``."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.events.clear()
        self.call("Page.navigate", url=page.absolute().as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def value(self, expression: str) -> Any:
        """The value of a JavaScript expression on the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"]["text"])
        return result["result"]["value"]

    def said(self) -> list[str]:
        """Messages on the console, and requests that leave the disk, since the page was opened."""
        words = []
        for event in self.events:
            body = event.get("params", {})
            if event["method"] == "Log.entryAdded":
                words.append(body["entry"]["text"])
            elif event["method"] in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
                words.append(json.dumps(body))
            elif event["method"] == "Network.requestWillBeSent" and not body["request"]["url"].startswith("file:"):
                words.append(f"asks for {body['request']['url']}")
        return words
