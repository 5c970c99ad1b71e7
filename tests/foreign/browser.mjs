// Drives Chromium for browser.py: one line of JSON asks, one line answers.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [chromium, modules, profile] = process.argv.slice(2);
const playwright = createRequire(`${modules}/`)("playwright-core");
const browser = await playwright.chromium.launch({
  executablePath: chromium,
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", `--crash-dumps-dir=${profile}`,
    // A name that an attacker bends to this machine (DNS rebinding).
    "--host-resolver-rules=MAP rebound.example 127.0.0.1"],
});
const DEADLINE_MS = 30_000;
const pages = new Map();

const does = {
  async open({ page: number, url, width, height, dark, calm, touch }) {
    // Certificates of tests are signed by nobody.
    const context = await browser.newContext({
      viewport: { width, height }, colorScheme: dark ? "dark" : "light", ignoreHTTPSErrors: true,
      reducedMotion: calm ? "reduce" : "no-preference", hasTouch: touch,
    });
    const seen = { errors: [], dialogs: [], violations: [], requests: [] };
    await context.exposeFunction("onViolation", (text) => seen.violations.push(text));
    await context.addInitScript(() => addEventListener("securitypolicyviolation", (event) =>
      window.onViolation(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`)));
    const page = await context.newPage();
    // What could not be fetched is only named by its place.
    page.on("console", (message) => { if (message.type() === "error") seen.errors.push(`${message.text()} ${message.location().url}`); });
    page.on("pageerror", (error) => seen.errors.push(String(error)));
    page.on("dialog", (dialog) => { seen.dialogs.push(dialog.message()); dialog.dismiss(); });
    page.on("request", (request) => seen.requests.push(request.url()));
    page.on("websocket", (socket) => seen.requests.push(socket.url()));
    pages.set(number, { context, page, seen });
    const answer = await page.goto(url);
    return answer?.status();
  },
  run: ({ page, code }) => pages.get(page).page.evaluate(code),
  click: ({ page, selector }) => pages.get(page).page.click(selector),
  reload: async ({ page }) => { await pages.get(page).page.reload(); },
  press: ({ page, key }) => pages.get(page).page.keyboard.press(key),
  type: ({ page, text }) => pages.get(page).page.keyboard.type(text),
  hover: ({ page, selector }) => pages.get(page).page.hover(selector),
  async look({ page, width, height, dark }) {
    await pages.get(page).page.setViewportSize({ width, height });
    await pages.get(page).page.emulateMedia({ colorScheme: dark ? "dark" : "light" });
  },
  shot: async ({ page, path, whole }) => { await pages.get(page).page.screenshot({ path, fullPage: whole }); },
  // axe-core's own rules; the policy of the page does not hold for what a test adds.
  async axe({ page }) {
    const source = readFileSync(`${modules}/axe-core/axe.min.js`, "utf8");
    await pages.get(page).page.evaluate(`${source}; undefined`);
    const { violations } = await pages.get(page).page.evaluate("axe.run(document, { resultTypes: ['violations'] })");
    return violations.map(({ id, impact, nodes }) => ({ id, impact, nodes: nodes.map(({ html, failureSummary }) => `${html}: ${failureSummary}`) }));
  },
  seen: ({ page }) => pages.get(page).seen,
  async close({ page }) {
    await pages.get(page).context.close();
    pages.delete(page);
  },
};

// What the page never answers must not hold the tests for ever.
async function inTime(promise) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error("no answer in time")), DEADLINE_MS); });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const question = JSON.parse(line);
  let answer;
  try {
    answer = { value: await inTime(does[question.do](question)) ?? null };
  } catch (error) {
    answer = { error: String(error) };
  }
  console.log(JSON.stringify(answer));
}
await browser.close();
