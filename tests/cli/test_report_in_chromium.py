"""Reports as a browser shows them: on a desk and on a phone, light and dark, without a request, and printed."""

import json
import re
import shutil
import subprocess
from html import escape, unescape

import pytest

import rooflinesim as rs

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed on this machine")

HOSTILE = "<script>alert(1)</script>"
SCENARIO = (
    f"name: 'chat with {HOSTILE}'\nmodel: hostile.yaml\nhardware: [h100, l4]\nbatch: 1:64\ncontext: [1k, 8k]\n"
    "objective: {tpot_mean: 20 ms}\nprice: {h100: 2.5 USD/h, l4: 0.7 USD/h}\n---\n"
    "name: tokens ahead\nmodel: llama3-8b\nhardware: h100\nstack: vllm\nbatch: [1, 64]\n"
    "speculation: {method: ngram, draft_length: 0:4:+1, acceptance_rate: 0.7}\n---\n"
    "name: requests\nquestion: serve\nmodel: llama3-8b\nhardware: h100\nstack: vllm\n"
    "traffic: {requests_per_s: [1, 4], prompt_tokens: 500, output_tokens: 100}\n"
)
MODEL = (
    f"name: '{HOSTILE}'\nsource: made up\nhidden_size: 4096\nvocabulary: 32000\nlayers:\n  - count: 32\n"
    "    attention: {heads: 32, kv_heads: 8, key_size: 128, value_size: 128}\n    mlp: {width: 14336}\n"
)
LOOK = """<!doctype html><body><pre id=said></pre><script>
const frame = document.createElement("iframe");
frame.width = %d; frame.height = 800; frame.srcdoc = %s;
frame.onload = () => {
  const inside = frame.contentDocument, view = frame.contentWindow;
  const figures = [...inside.querySelectorAll("figure svg")].map(one => one.getBoundingClientRect());
  const letters = [...inside.querySelectorAll("figure svg text")].map(one => one.getBoundingClientRect().height);
  const style = (query, name) => view.getComputedStyle(inside.querySelector(query))[name];
  inside.querySelectorAll("details").forEach(one => one.open = true);
  document.getElementById("said").textContent = JSON.stringify({
    width: inside.documentElement.scrollWidth,
    shown: inside.documentElement.clientWidth,
    scripts: inside.scripts.length,
    requests: view.performance.getEntriesByType("resource").length,
    text: inside.body.textContent,
    outside: figures.filter(one => one.right > %d).length,
    figures: figures.map(one => one.width),
    letters: Math.min(...letters),
    colours: {
      body: [style("p", "color"), style("article > section", "backgroundColor")],
      soft: [style(".lead", "color"), style("article > section", "backgroundColor")],
      figure: [style("figure svg text", "fill"), style("article > section", "backgroundColor")],
      answer: [style(".answer p.first", "color"), style(".answer", "backgroundColor")],
    },
  });
};
document.body.append(frame);
</script>"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    (folder / "hostile.yaml").write_text(MODEL)
    (folder / "asked.yaml").write_text(SCENARIO)
    path = folder / "report.html"
    path.write_text(rs.capacity_report(scenarios=rs.load_scenarios(folder / "asked.yaml")))
    return path


def chromium(folder, *options):
    """What the browser writes to stdout; it has no network to ask."""
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run"]
    offline = ["--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder / 'browser'}"]
    done = subprocess.run([*command, *offline, *options], capture_output=True, timeout=120, check=True)
    return done.stdout.decode()


def seen(written, width, scheme):
    """What a page looks like at a width, light (1) or dark (0)."""
    look = written.with_name("look.html")
    text = json.dumps(written.read_text()).replace("</", "<\\/")
    look.write_text(LOOK % (width, text, width))
    settings = f"--blink-settings=preferredColorScheme={scheme}"
    dom = chromium(written.parent, settings, "--virtual-time-budget=10000", "--dump-dom", f"file://{look}")
    said = re.search(r'<pre id="said">(.*?)</pre>', dom, flags=re.DOTALL)
    assert said, dom[-2000:]
    return json.loads(unescape(said[1]))


def contrast(colours):
    """Contrast of two colours after WCAG 2."""

    def luminance(colour):
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    light, dark = sorted(map(luminance, colours), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [1, 0], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390], ids=["desk", "phone"])
def test_a_page_fits_is_readable_and_asks_nobody(written, width, scheme):
    found = seen(written, width, scheme)
    assert found["width"] <= found["shown"] <= width
    assert found["outside"] == 0
    assert min(found["figures"]) > 250
    assert found["letters"] >= 8
    assert (found["scripts"], found["requests"]) == (0, 0)
    assert f"chat with {HOSTILE}" in found["text"]
    assert f"{HOSTILE} on H100-SXM5-80GB" in found["text"]
    for name, colours in found["colours"].items():
        assert contrast(colours) >= 4.5, (name, colours)


def test_dark_is_dark_and_light_is_light(written):
    backgrounds = [seen(written, 390, scheme)["colours"]["body"][1] for scheme in (1, 0)]
    light, dark = (sum(int(part) for part in re.findall(r"\d+", colour)[:3]) for colour in backgrounds)
    assert light > 700 > 200 > dark


def test_it_prints(written):
    pdf = written.with_suffix(".pdf")
    chromium(written.parent, f"--print-to-pdf={pdf}", "--no-pdf-header-footer", f"file://{written}")
    content = pdf.read_bytes()
    assert content.startswith(b"%PDF")
    assert 2 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 40


def test_a_screenshot_is_not_empty(written):
    png = written.with_suffix(".png")
    chromium(written.parent, "--hide-scrollbars", "--window-size=1280,2000", f"--screenshot={png}", f"file://{written}")
    assert png.stat().st_size > 50_000
    assert escape(HOSTILE) in written.read_text()
