package browser_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// pages serves the journeys of tests as kubectl journey ui would. What is written to the
// second result changes them.
func pages(t *testing.T) (address string, say io.Writer) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "pages")
	build := exec.Command("go", "test", "-c", "-o", program, "./cmd/kubectl-journey/internal/web")
	build.Dir = filepath.Join("..", "..")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	command := exec.Command(program)
	command.Env = append(os.Environ(), "SOJOURN_SERVE_FIXTURE=1")
	command.Stderr = os.Stderr
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line), in
}

// chineseFont lets Chromium find letters that few machines have.
func chineseFont(t *testing.T) {
	t.Helper()
	root, err := localstack.Debian(t.Context(), "fonts-wqy-microhei")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_DATA_HOME", filepath.Join(root, "usr", "share"))
}

// TestPages looks at every kind of page, on a phone, on a desk and on a wall, by day and by
// night.
func TestPages(t *testing.T) {
	chineseFont(t)
	address, say := pages(t)
	const long = "a-journey-with-a-name-that-is-as-long-as-kubernetes-lets-it-bee"
	looks := map[string]string{
		"all": "", "shop": "journeys/shop/online-purchase", "long": "journeys/shop/" + long, "silent": "journeys/shop/silent",
		"single": "journeys/shop/single", "hostile": "journeys/shop/hostile", "checkout": "touchpoints/shop/checkout",
		"silent-page": "touchpoints/shop/silent-page", "long-touchpoint": "touchpoints/shop/touchpoint-1-1-" + strings.Repeat("x", 47), "hostile-touchpoint": "touchpoints/shop/hostile",
		"not-found": "journeys/shop/nothing",
	}
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{400, 1280, 1920} {
			b := open(t)
			b.run(t, chromedp.EmulateViewport(width, 900),
				emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}))
			for name, path := range looks {
				var wide bool
				var faint, hidden []string
				b.run(t, chromedp.Navigate(address+path), chromedp.WaitVisible("h1", chromedp.ByQuery),
					chromedp.Evaluate(`document.documentElement.scrollWidth > innerWidth`, &wide),
					chromedp.Evaluate(faintTexts, &faint), chromedp.Evaluate(overlapping, &hidden))
				at := fmt.Sprintf("%s at %d, %s", name, width, scheme)
				if wide {
					t.Errorf("%s: one has to scroll sideways", at)
				}
				for _, text := range faint {
					t.Errorf("%s: too faint: %s", at, text)
				}
				for _, text := range hidden {
					t.Errorf("%s: out of its place: %s", at, text)
				}
				b.shoot(t, name, width, scheme)
			}
			b.onlyAsked(t, address)
		}
	}

	t.Run("a score moves by itself", func(t *testing.T) {
		b := open(t)
		var before, after, told string
		b.run(t, chromedp.EmulateViewport(1280, 900), chromedp.Navigate(address+looks["shop"]), chromedp.Text(".score .figure", &before, chromedp.ByQuery),
			chromedp.Evaluate(`document.querySelector(".map").scrollLeft = 40; document.querySelector('.map a').focus()`, nil))
		fmt.Fprintln(say, "score 61")
		var scrolled int
		var focused string
		b.run(t, chromedp.Poll(`document.querySelector(".score .figure").textContent == "61"`, nil), chromedp.Text(".score .figure", &after, chromedp.ByQuery),
			chromedp.Evaluate(`document.querySelector(".map").scrollLeft`, &scrolled), chromedp.Evaluate(`document.activeElement.getAttribute("href")`, &focused))
		if before != "52" || after != "61" || scrolled != 40 || !strings.HasPrefix(focused, "/touchpoints/shop/") {
			t.Errorf("from %s to %s, scrolled to %d, focus on %q", before, after, scrolled, focused)
		}
		fmt.Fprintln(say, "fail")
		b.run(t, chromedp.Poll(`document.querySelector(".notice")?.textContent.includes("connection refused")`, nil), chromedp.Text("#live", &told, chromedp.ByQuery))
		b.onlyAsked(t, address)
	})

	t.Run("without JavaScript", func(t *testing.T) {
		b := open(t)
		var heading string
		b.run(t, emulation.SetScriptExecutionDisabled(true), chromedp.Navigate(address), chromedp.Click(`a[href="/journeys/shop/online-purchase"]`, chromedp.ByQuery),
			chromedp.WaitVisible(".map", chromedp.ByQuery), chromedp.Click(`.map a[href="/touchpoints/shop/checkout"]`, chromedp.ByQuery),
			chromedp.WaitVisible("#history", chromedp.ByQuery), chromedp.Text("h1", &heading, chromedp.ByQuery))
		if heading != "Checkout · 结账" {
			t.Errorf("led to %q", heading)
		}
	})
}

// TestStreamBreaks: a page whose server is gone says since when.
func TestStreamBreaks(t *testing.T) {
	address, say := pages(t)
	b := open(t)
	b.run(t, chromedp.Navigate(address), chromedp.WaitVisible("h1", chromedp.ByQuery))
	if err := say.(io.Closer).Close(); err != nil {
		t.Fatal(err)
	}
	b.run(t, chromedp.Poll(`/^not connected since \d\d:\d\d:\d\d UTC$/.test(document.querySelector("#live").textContent)`, nil))
}

// shoot leaves a picture of what is shown in the folder that SOJOURN_SCREENSHOTS names.
func (b *browser) shoot(t *testing.T, name string, width int64, scheme string) {
	t.Helper()
	folder := os.Getenv("SOJOURN_SCREENSHOTS")
	if folder == "" {
		return
	}
	var shot []byte
	b.run(t, chromedp.ActionFunc(func(ctx context.Context) (err error) {
		shot, err = page.CaptureScreenshot().WithCaptureBeyondViewport(true).WithFormat(page.CaptureScreenshotFormatPng).
			WithClip(full(ctx, width)).Do(ctx)
		return err
	}))
	if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("%s-%d-%s.png", name, width, scheme)), shot, 0o644); err != nil {
		t.Fatal(err)
	}
}

func full(ctx context.Context, width int64) *page.Viewport {
	_, _, _, _, _, size, err := page.GetLayoutMetrics().Do(ctx)
	if err != nil {
		return &page.Viewport{Width: float64(width), Height: 900, Scale: 1}
	}
	return &page.Viewport{Width: float64(width), Height: min(size.Height, 6000), Scale: 1}
}

// onlyAsked makes sure that the pages asked nobody but their server, and that the browser,
// its policy included, complains of nothing.
func (b *browser) onlyAsked(t *testing.T, address string) {
	t.Helper()
	b.lock.Lock()
	defer b.lock.Unlock()
	for _, request := range b.requests {
		if !strings.HasPrefix(request, address) {
			t.Errorf("a page asks %s", request)
		}
	}
	for _, complaint := range b.complaints {
		t.Errorf("the browser says: %s", complaint)
	}
}

// faintTexts lists texts, those of drawings too, that stand out less from what is behind
// them than 4.5 to 1: level AA of the accessibility guidelines.
const faintTexts = `(() => {` + contrasts + `
	const found = []
	for (const e of document.querySelectorAll("h1, h2, h3, p, a, li, dt, dd, td, th, b, small, span, summary, caption, time, code, figcaption")) {
		if (e.closest("svg") || !e.textContent.trim() || e.closest(".quiet, .skip")) continue
		const value = contrast(getComputedStyle(e).color, behind(e))
		if (value < 4.5) found.push(e.tagName + " " + e.textContent.trim().slice(0, 30) + ": " + value.toFixed(1))
	}
	for (const e of document.querySelectorAll("svg text")) {
		// Boxes that the text is drawn on: the last one before it, around where it begins.
		const at = e.getBBox(), x = at.x + 2, y = at.y + at.height / 2
		let color = behind(e.closest("svg").parentElement)
		for (const r of e.closest("svg").querySelectorAll("rect")) {
			if (!(r.compareDocumentPosition(e) & Node.DOCUMENT_POSITION_FOLLOWING)) break
			const box = r.getBBox(), fill = getComputedStyle(r).fill
			if (fill != "none" && box.x <= x && x <= box.x + box.width && box.y <= y && y <= box.y + box.height) color = fill
		}
		const value = contrast(getComputedStyle(e).fill, color)
		if (value < 4.5) found.push(e.textContent.slice(0, 30) + ": " + value.toFixed(1))
	}
	return [...new Set(found)].slice(0, 10)
})()`

// overlapping lists texts of drawings that stand on one another or leave the drawing.
const overlapping = `(() => {
	const found = []
	for (const svg of document.querySelectorAll("svg")) {
		const view = svg.viewBox.baseVal
		const boxes = [...svg.querySelectorAll("text")].map(e => [e.textContent, e.getBBox()])
		for (const [text, box] of boxes) {
			if (box.x < view.x - 1 || box.x + box.width > view.x + view.width + 1 || box.y + box.height > view.y + view.height + 2) found.push(text.slice(0, 40) + " leaves")
		}
		boxes.sort((a, b) => a[1].x - b[1].x)
		for (let i = 0; i < boxes.length; i++) for (let j = i + 1; j < boxes.length && boxes[j][1].x < boxes[i][1].x + boxes[i][1].width - 1; j++) {
			const [a, b] = [boxes[i][1], boxes[j][1]]
			// Lines of text have boxes that are higher than their letters.
			if (Math.min(a.y + 0.78 * a.height, b.y + 0.78 * b.height) - Math.max(a.y + 0.25 * a.height, b.y + 0.25 * b.height) > 1) found.push(boxes[i][0].slice(0, 30) + " on " + boxes[j][0].slice(0, 30))
		}
	}
	return found.slice(0, 10)
})()`
