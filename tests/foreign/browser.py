"""Headless Chromium, driven through playwright-core by browser.mjs: one line of JSON asks, one answers."""

import itertools
import json
import pathlib
import subprocess

from program import until


class Browser:
    def __init__(self, chromium, modules, profile, prepare=None):
        """`prepare`: what its process does before it begins."""
        script = pathlib.Path(__file__).with_name("browser.mjs")
        self._process = subprocess.Popen(
            ["node", script, chromium, modules, profile], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            preexec_fn=prepare,
        )
        self._pages = itertools.count(1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        try:
            self._process.wait(20)
        finally:
            self._process.kill()
            self._process.stdout.close()

    def ask(self, **question):
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline() or '{"error": "the browser is gone"}')
        if "error" in answer:
            raise AssertionError(f"{question}: {answer['error']}")
        return answer.get("value")

    def open(self, url, width=800, height=700, dark=False, calm=False, touch=False):
        """Opens a page in a profile of its own. `calm`: with as little motion as a reader can ask for."""
        page = Page(self, next(self._pages))
        page.status = self.ask(
            do="open", page=page.number, url=url, width=width, height=height, dark=dark, calm=calm, touch=touch
        )
        return page


class Page:
    def __init__(self, browser, number):
        self._browser, self.number = browser, number

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._browser.ask(do="close", page=self.number)

    def run(self, code):
        """The value of a JavaScript expression in the page; a promise is awaited."""
        return self._browser.ask(do="run", page=self.number, code=code)

    def until(self, code):
        """Waits until the expression is true."""
        return until(lambda: self.run(code), lambda: f"{code} in a page that shows {self.run('document.body.innerText')!r}")

    def click(self, selector):
        self._browser.ask(do="click", page=self.number, selector=selector)

    def reload(self):
        self._browser.ask(do="reload", page=self.number)

    def press(self, key):
        self._browser.ask(do="press", page=self.number, key=key)

    def type(self, text):
        self._browser.ask(do="type", page=self.number, text=text)

    def hover(self, selector):
        self._browser.ask(do="hover", page=self.number, selector=selector)

    def look(self, width, height, dark):
        """Another window, and another theme."""
        self._browser.ask(do="look", page=self.number, width=width, height=height, dark=dark)

    def shot(self, path, whole=False):
        self._browser.ask(do="shot", page=self.number, path=str(path), whole=whole)

    def axe(self):
        """What axe-core finds wrong: `id`, `impact`, `nodes`."""
        return self._browser.ask(do="axe", page=self.number)

    @property
    def seen(self):
        """What happened since it was opened: `errors`, `dialogs`, `violations`, `requests`."""
        return self._browser.ask(do="seen", page=self.number)
