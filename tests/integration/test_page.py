"""The server's web page in a real browser, with a microphone that plays a file."""

import asyncio
import base64
import json

import numpy as np
import pytest
import soundfile
from websockets.asyncio.client import connect

from espnet_smoe.serve import server as server_module
from espnet_smoe.serve.access import Access
from tests import chromium
from tests.serve.fake import START, FakeRecognizer, FakeSpeechToText, model, running
from tests.serve.http import wav

pytestmark = pytest.mark.skipif(
    chromium.PROGRAM is None, reason="no Chromium here; Debian: apt install chromium"
)
TOKEN = "0123456789abcdef"
READY = "!document.querySelector('#input').hidden"
PANES = "document.querySelectorAll('#texts article')"
ERROR = "document.querySelector('#error').textContent"
SHOWN = "document.querySelector('#status').textContent.startsWith('Done')"
# colors of text that stands out too little from what is behind it (WCAG 2.1, 1.4.3)
PALE = """(() => {
  const numbers = color => color.match(/[\\d.]+/g).map(Number);
  const light = color => {
    const [r, g, b] = numbers(color).map(c => c / 255)
      .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = node => {
    const color = getComputedStyle(node).backgroundColor;
    return node.parentElement && numbers(color)[3] === 0 ?
      behind(node.parentElement) : color;
  };
  return [...document.querySelectorAll('body *')].filter(node => {
    const own = [...node.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!own || !node.checkVisibility() || node.disabled) return false;
    const pair = [getComputedStyle(node).color, behind(node)].map(light);
    return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05) < 4.5;
  }).map(node => node.outerHTML.slice(0, 80));
})()"""


class ASR(FakeSpeechToText):
    """Does not translate."""

    tasks = ("asr",)


class Wicked(FakeSpeechToText):
    """Writes what a browser must not take for a part of the page."""

    def _result(self, wave, task):
        found = super()._result(wave, task)
        text = "<img src=x onerror=\"document.title='taken'\"><script>"
        return type(found)(text, (), -1.0, (), (), 0.5)

    def is_timed(self, task):
        return False


@pytest.fixture(scope="module")
def runner():
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """A tone, which both the fake microphone and the file dialog give."""
    path = tmp_path_factory.mktemp("audio") / "talk.wav"
    wave = 0.25 * np.sin(np.arange(3 * 48000) * 2 * np.pi * 440 / 48000)
    soundfile.write(path, wave, 48000, "PCM_16")
    return path


@pytest.fixture(scope="module")
def browser(runner, recording, tmp_path_factory):
    opened = chromium.chromium(tmp_path_factory.mktemp("browser"), recording)
    yield runner.run(opened.__aenter__())
    runner.run(opened.__aexit__(None, None, None))


@pytest.fixture
def visit(runner, browser):
    """Look at the page of a server; it makes no mistake and asks nobody else."""

    def visit(test, served=None, access=None, page_options={}, path="/", **limits):
        async def run():
            served_model = served or model(recordings=FakeSpeechToText())
            async with running(served_model, access, **limits) as (server, url):
                address, url = url.replace("ws://", "http://") + path, url + path
                async with browser.page(address, **page_options) as page:
                    await asyncio.wait_for(test(page, server), 60)
                    assert not page.faults
                    own = (address, url, "blob:", "data:")  # nobody is asked for these
                    assert not [u for u in page.asked if not u.startswith(own)]

        runner.run(run())

    return visit


def test_a_file_is_shown_with_its_texts_times_and_experts(visit, recording):
    async def test(page, server):
        await page.until(READY)
        await page.choose(recording)
        await page.until(f"{SHOWN} && {PANES}.length == 2")
        panes = await page.evaluate(f"[...{PANES}].map(p => p.innerText)")
        assert panes[0].startswith("Transcript (Korean)")
        assert panes[1].startswith("Translation (English)")
        assert "asr 0.25" in panes[0] and "st 0.25" in panes[1]
        assert await page.evaluate("document.querySelectorAll('.word').length") == 4
        rows = "document.querySelectorAll('#words tbody tr')"
        assert await page.evaluate(f"{rows}.length") == 4
        told = await page.text("#experts-told")
        assert "The encoder used expert 0, that of the label “wb”." in told
        assert "In one layer of the encoder a router chose" in told
        drawn = """(() => { const c = document.querySelector('canvas');
          const all = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
          return new Set(all.filter((_, i) => i % 4 == 2)).size; })()"""
        assert await page.evaluate(drawn) > 3
        assert await page.evaluate("!document.querySelector('audio').hidden")

    visit(test)


def test_files_to_keep_are_the_servers(visit, recording, browser, tmp_path):
    async def keep(page, kind):
        name = f"talk.{kind}"
        await page.evaluate(f"document.querySelector('[data-format={kind}]').click()")
        while not (tmp_path / name).is_file():
            await page.evaluate("new Promise(done => setTimeout(done, 20))")
        return (tmp_path / name).read_text()

    async def test(page, server):
        place = {"behavior": "allow", "downloadPath": str(tmp_path)}
        context = {"browserContextId": page.context}
        await browser.call("Browser.setDownloadBehavior", **place, **context)
        await page.until(READY)
        await page.choose(recording)
        await page.until(SHOWN)
        assert (await keep(page, "srt")).startswith("1\n00:00:00,000 --> 00:00:0")
        assert (await keep(page, "vtt")).startswith("WEBVTT\n")
        assert json.loads(await keep(page, "json"))["duration"] == 3.0

    visit(test)


def test_words_appear_while_one_speaks(visit):
    both = model(FakeRecognizer(), FakeSpeechToText())

    async def test(page, server):
        await page.until(READY)
        assert "while you speak" in await page.text("#note")
        await page.evaluate("document.querySelector('#speak').focus()")
        await page.press("Enter")
        await page.until("Number(document.querySelector('.partial')?.textContent) > 9")
        assert await page.text("#speak") == "Stop"
        assert await page.until("document.querySelector('#heard').textContent")
        await page.press("Enter")
        await page.until(f"{SHOWN} && {PANES}.length == 2")
        said = await page.evaluate(f"{PANES}[0].innerText")
        assert "asr 0." in said and "asr 0.00" not in said
        assert await page.text("#speak") == "Speak"

    visit(test, both)


def test_what_a_model_cannot_do_is_said_and_not_offered(visit):
    async def test(page, server):
        await page.until(READY)
        note = await page.text("#note")
        assert "does not translate" in note and "when you stop" in note
        assert await page.evaluate("document.querySelector('#tasks').hidden")
        await page.evaluate("document.querySelector('#speak').click()")
        await page.until("document.querySelector('#clock').textContent == '0:01'")
        await page.evaluate("document.querySelector('#speak').click()")
        await page.until(f"{SHOWN} && {PANES}.length == 1")

    visit(test, model(recordings=ASR()))


def test_a_proxy_may_have_the_page_at_another_path(visit, recording, monkeypatch):
    build = server_module.build_app

    def behind_proxy(*given):
        app = build(*given)

        async def strip(scope, receive, send):
            path = scope["path"].removeprefix("/speech")
            kept = {**scope, "path": path if path != scope["path"] else "/elsewhere"}
            await app(kept, receive, send)

        return strip

    async def test(page, server):
        await page.until(READY)
        await page.evaluate("document.querySelector('#speak').click()")
        await page.until("document.querySelector('.partial')?.textContent")
        await page.evaluate("document.querySelector('#speak').click()")
        await page.until(SHOWN)

    monkeypatch.setattr(server_module, "build_app", behind_proxy)
    visit(test, model(FakeRecognizer(), FakeSpeechToText()), path="/speech/")


def test_a_text_is_never_a_part_of_the_page(visit, recording):
    async def test(page, server):
        await page.until(READY)
        assert await page.text("#about") == "<b>x</b> transcribes and translates " + (
            "recordings of speech."
        )
        await page.choose(recording)
        await page.until(SHOWN)
        assert "<img src=x onerror" in await page.evaluate(f"{PANES}[0].innerText")
        assert await page.evaluate("document.querySelectorAll('img, b').length") == 0
        assert await page.evaluate("document.title") == "Speech to text"

    visit(test, model(recordings=Wicked(), name="<b>x</b>"))


def test_what_goes_wrong_is_said_in_plain_words(visit, recording, tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("no recording\n" * 100)
    long = tmp_path / "long.wav"
    long.write_bytes(wav(6))
    large = tmp_path / "large.wav"
    large.write_bytes(wav(20))

    async def told(page, path):
        await page.evaluate("document.querySelector('#error').textContent = ''")
        await page.choose(path)
        return await page.until(ERROR)

    async def test(page, server):
        await page.until(READY)
        assert "notes.txt" in await told(page, text)
        assert "long.wav: more than 5 s of audio" in await told(page, long)
        assert "too large for this server" in await told(page, large)
        server.admission.stopping = True
        assert "The server is busy" in await told(page, recording)
        server.stop()
        await page.until("fetch('health').then(() => false, () => true)")
        assert "The server does not answer" in await told(page, recording)
        assert await page.text("#status") == ""

    visit(test, seconds=5, upload=500e3)


def test_a_file_may_be_dropped_and_its_reading_cancelled(visit):
    drop = """(() => {
      const files = new DataTransfer();
      files.items.add(new File(
        [Uint8Array.from(atob('%s'), c => c.charCodeAt(0))], 'dropped.wav'));
      const given = { dataTransfer: files, bubbles: true, cancelable: true };
      document.body.dispatchEvent(new DragEvent('drop', given));
    })()""" % base64.b64encode(wav()).decode()

    async def test(page, server):
        await page.until(READY)
        await page.evaluate(drop)
        await page.until("!document.querySelector('#cancel').hidden")
        assert await page.text("#status") == "Reading dropped.wav…"
        await page.evaluate("document.querySelector('#cancel').click()")
        await page.until("document.querySelector('#cancel').hidden")
        assert await page.text("#status") == "Cancelled."
        assert await page.text("#error") == ""
        await page.evaluate(drop)
        await page.until(SHOWN)

    visit(test, model(recordings=FakeSpeechToText(seconds=0.3)))


def test_speech_goes_on_where_there_is_no_place_for_its_stream(visit):
    both = model(FakeRecognizer(), FakeSpeechToText())

    async def test(page, server):
        await page.until(READY)
        async with connect(f"ws://{await page.evaluate('location.host')}") as other:
            await other.send(START)
            while not server.feeds:
                await asyncio.sleep(0.01)
            await page.evaluate("document.querySelector('#speak').click()")
            told = await page.until(ERROR)
            assert told.startswith("The server is busy. Try again later.")
            assert told.endswith("the text comes when you stop.")
            await page.until("document.querySelector('#clock').textContent == '0:01'")
            await page.evaluate("document.querySelector('#speak').click()")
            await page.until(SHOWN)

    visit(test, both, sessions=1)


def test_a_microphone_that_is_refused_is_told_with_the_cure(visit):
    async def test(page, server):
        await page.until(READY)
        await page.evaluate("document.querySelector('#speak').click()")
        assert "may not use the microphone" in await page.until(ERROR)
        assert await page.text("#speak") == "Speak"

    visit(test, page_options={"microphone": False})


def test_the_page_asks_for_the_token_and_streams_with_it(visit, recording):
    both = model(FakeRecognizer(), FakeSpeechToText())

    async def give(page, token):
        await page.until("document.activeElement.id == 'token'")
        await page.evaluate("document.querySelector('#token').value = ''")
        await page.call("Input.insertText", text=token)
        await page.press("Enter")

    async def test(page, server):
        await give(page, "another-token")
        await page.until(f"{ERROR} == 'The token is wrong.'")
        await give(page, TOKEN)
        await page.until(READY)
        assert await page.evaluate("document.querySelector('#token-form').hidden")
        await page.evaluate("document.querySelector('#speak').click()")
        await page.until("document.querySelector('.partial')?.textContent")
        await page.evaluate("document.querySelector('#speak').click()")
        await page.until(SHOWN)
        await page.load("Page.reload")
        await page.until(READY)  # the tab has kept it

    visit(test, both, Access(tokens=[TOKEN]))


def test_a_phone_a_keyboard_and_a_screen_reader_can_use_it(visit, recording):
    async def test(page, server):
        await page.until(READY)
        stops = []
        for _ in range(4):
            await page.press("Tab")
            stops.append(
                await page.evaluate(
                    "document.activeElement.id || document.activeElement.value"
                )
            )
        assert stops == ["asr", "st", "speak", "file"]
        await page.choose(recording)
        await page.until(SHOWN)
        await page.evaluate(
            "document.querySelectorAll('details').forEach(d => d.open = true)"
        )
        width = "document.documentElement.scrollWidth"
        assert await page.evaluate(width) <= 360
        for dark in (False, True):
            await page.dark(dark)
            assert await page.evaluate(PALE) == []
        nodes = (await page.call("Accessibility.getFullAXTree"))["nodes"]
        used = ("button", "checkbox", "combobox", "textbox", "region", "Audio")
        unnamed = [
            node
            for node in nodes
            if node.get("role", {}).get("value") in used
            and not node.get("name", {}).get("value")
        ]
        assert not unnamed

    visit(test, page_options={"width": 360})
