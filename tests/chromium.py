"""A real Chromium without a window, driven through its DevTools protocol."""

import asyncio
import itertools
import json
import shutil
from contextlib import asynccontextmanager

from websockets.asyncio.client import connect

NAMES = ("chromium", "chromium-browser", "google-chrome")
PROGRAM = next(filter(None, map(shutil.which, NAMES)), None)
LISTENING = "DevTools listening on "
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"),
    *("--disable-extensions", "--disable-background-networking", "--lang=en-US"),
    *("--use-fake-device-for-media-stream", "--remote-debugging-port=0"),
)
UNTIL = """new Promise(done => {
  const look = async () => {
    const found = await (%s);
    found ? done(found) : setTimeout(look, 20);
  };
  look();
})"""
KEYS = {"Tab": 9, "Enter": 13, " ": 32, "ArrowRight": 39}


class Browser:
    """Args: a connection to it."""

    def __init__(self, connection):
        self.connection = connection
        self.numbers = itertools.count(1)
        self.answers = {}
        self.heard = {}  # by session: called with events

    async def listen(self):
        async for text in self.connection:
            message = json.loads(text)
            if "id" in message:
                self.answers.pop(message["id"]).set_result(message)
            elif message.get("sessionId") in self.heard:
                self.heard[message["sessionId"]](message)

    async def call(self, method, session=None, **params):
        number = next(self.numbers)
        self.answers[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": params}
        await self.connection.send(
            json.dumps(message | ({"sessionId": session} if session else {}))
        )
        answer = await self.answers[number]
        assert "error" not in answer, (method, answer)
        return answer["result"]

    @asynccontextmanager
    async def page(self, url, microphone=True, width=1100):
        """A page of its own, without what others have stored."""
        context = (await self.call("Target.createBrowserContext"))["browserContextId"]
        permission = {"name": "microphone"}, "granted" if microphone else "denied"
        keys = dict(zip(("permission", "setting"), permission))
        await self.call("Browser.setPermission", browserContextId=context, **keys)
        opened = {"url": "about:blank", "browserContextId": context}
        target = (await self.call("Target.createTarget", **opened))["targetId"]
        session = (
            await self.call("Target.attachToTarget", targetId=target, flatten=True)
        )["sessionId"]
        page = Page(self, session, context)
        for domain in ("Page", "Runtime", "Log", "DOM", "Network"):
            await page.call(f"{domain}.enable")
        await page.resize(width)
        await page.load("Page.navigate", url=url)
        try:
            yield page
        finally:
            await self.call("Target.disposeBrowserContext", browserContextId=context)


class Page:
    """A page.

    Attributes: faults of scripts and of the policy; addresses that were asked for.
    """

    def __init__(self, browser, session, context):
        self.browser, self.session, self.context = browser, session, context
        self.faults, self.asked = [], []
        self.loaded = asyncio.Event()
        browser.heard[session] = self.hear

    def hear(self, message):
        params = message["params"]
        if message["method"] == "Runtime.exceptionThrown":
            self.faults.append(params["exceptionDetails"])
        # an answer such as 401 is logged too: the page tells it to people
        elif message["method"] == "Log.entryAdded":
            if params["entry"]["source"] != "network":
                self.faults.append(params["entry"])
        elif message["method"] == "Runtime.consoleAPICalled":
            self.faults += [params] if params["type"] == "error" else []
        elif message["method"] == "Page.loadEventFired":
            self.loaded.set()
        elif message["method"] == "Network.requestWillBeSent":
            self.asked.append(params["request"]["url"])

    async def call(self, method, **params):
        return await self.browser.call(method, self.session, **params)

    async def load(self, method, **params):
        """What leads to a page, and wait until it is there."""
        self.loaded.clear()
        await self.call(method, **params)
        await self.loaded.wait()

    async def evaluate(self, expression):
        told = await self.call(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    async def until(self, expression, seconds=20):
        """What an expression gives as soon as it gives something."""
        try:
            return await asyncio.wait_for(self.evaluate(UNTIL % expression), seconds)
        except TimeoutError:
            seen = await self.evaluate("document.body.innerText")
            raise AssertionError(
                f"never: {expression}\n{seen}\n{self.faults}"
            ) from None

    async def text(self, selector):
        return await self.evaluate(f"document.querySelector('{selector}').innerText")

    async def press(self, *keys):
        """Keys, as from a keyboard."""
        for key in keys:
            code = KEYS.get(key, 0)
            text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
            sent = {"key": key, "windowsVirtualKeyCode": code}
            sent |= {"code": key} if len(key) > 1 else {}
            down = sent | ({"text": text} if text else {})
            await self.call("Input.dispatchKeyEvent", type="keyDown", **down)
            await self.call("Input.dispatchKeyEvent", type="keyUp", **sent)

    async def choose(self, path):
        """A file, as in the dialog that the page opens."""
        root = (await self.call("DOM.getDocument"))["root"]["nodeId"]
        found = await self.call("DOM.querySelector", nodeId=root, selector="#file")
        await self.call("DOM.setFileInputFiles", files=[str(path)], **found)

    async def resize(self, width, height=900):
        sizes = {"width": width, "height": height, "deviceScaleFactor": 1}
        mobile = {"mobile": width < 500}
        await self.call("Emulation.setDeviceMetricsOverride", **sizes, **mobile)

    async def dark(self, dark):
        feature = {
            "name": "prefers-color-scheme",
            "value": "dark" if dark else "light",
        }
        await self.call("Emulation.setEmulatedMedia", features=[feature])


@asynccontextmanager
async def chromium(folder, microphone):
    """A browser that runs within the block.

    Args:
        folder: For what it keeps.
        microphone: WAV that it hears, again and again.
    """
    process = await asyncio.create_subprocess_exec(
        *(PROGRAM, *FLAGS, f"--user-data-dir={folder}"),
        f"--use-file-for-fake-audio-capture={microphone}",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        url, lines = None, []
        while url is None:
            line = (await process.stderr.readline()).decode()
            lines.append(line)
            assert line, f"Chromium has not started: {''.join(lines)}"
            if line.startswith(LISTENING):
                url = line.removeprefix(LISTENING).strip()
        draining = asyncio.create_task(process.stderr.read())
        async with connect(url, max_size=None, ping_interval=None) as connection:
            browser = Browser(connection)
            listening = asyncio.create_task(browser.listen())
            try:
                yield browser
            finally:
                listening.cancel()
    finally:
        process.terminate()
        await process.wait()
        draining.cancel()
