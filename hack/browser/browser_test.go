// Package browser_test answers the gateway's survey page in Debian's Chromium, as
// customers do: with a mouse, with a keyboard, and by what a screen reader is told.
package browser_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/accessibility"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/cdproto/storage"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kruntime "k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// gateway runs a gateway with touchpoints that ask by link.
func gateway(t *testing.T) (responses, metrics string) {
	t.Helper()
	plane, err := localstack.StartControlPlane(t.Context(), localstack.ControlPlaneOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(plane.Stop)
	if err := plane.InstallCRDs(t.Context(), filepath.Join("..", "..", "config", "crd")); err != nil {
		t.Fatal(err)
	}
	scheme := kruntime.NewScheme()
	if err := errors.Join(corev1.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	api, err := client.New(plane.RESTConfig(), client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	touchpoint := func(name string, instrument v1alpha1.InstrumentType, link v1alpha1.SurveyLink) *v1alpha1.Touchpoint {
		return &v1alpha1.Touchpoint{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
			Spec: v1alpha1.TouchpointSpec{Channel: "Web", Survey: &v1alpha1.Survey{
				Instruments: []v1alpha1.Instrument{{Type: instrument}}, Link: &link,
			}},
		}
	}
	for _, object := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}},
		touchpoint("checkout", v1alpha1.InstrumentCES, v1alpha1.SurveyLink{Language: v1alpha1.LanguageChinese}),
		touchpoint("support", v1alpha1.InstrumentNPS, v1alpha1.SurveyLink{Texts: &v1alpha1.SurveyTexts{Question: "Would <b>you</b> recommend us?"}}),
	} {
		if err := api.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(t.TempDir(), "gateway")
	build := exec.Command("go", "build", "-o", program, "./cmd/gateway")
	build.Dir = filepath.Join("..", "..")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	responses, metrics = freeAddress(t), freeAddress(t)
	command := exec.Command(program, "--kubeconfig", plane.Kubeconfig(), "--database", filepath.Join(t.TempDir(), "gateway.db"),
		"--listen-address", responses, "--metrics-bind-address", metrics)
	command.Stderr = os.Stderr
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	eventually(t, "never ready", func() bool {
		response, err := http.Get("http://" + metrics + "/readyz")
		if err == nil {
			_ = response.Body.Close()
		}
		return err == nil && response.StatusCode == http.StatusOK
	})
	return responses, metrics
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

// browser is a tab, and what it asked for and complained of.
type browser struct {
	context.Context
	lock       sync.Mutex
	requests   []string
	complaints []string
}

func open(t *testing.T) *browser {
	t.Helper()
	path, environment, err := localstack.Chromium(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]),
		chromedp.ExecPath(path), chromedp.Env(environment...), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true))
	allocator, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	ctx, closeTab := chromedp.NewContext(allocator)
	t.Cleanup(closeTab)
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancel)
	b := &browser{Context: ctx}
	chromedp.ListenTarget(ctx, func(event any) {
		b.lock.Lock()
		defer b.lock.Unlock()
		switch e := event.(type) {
		case *network.EventRequestWillBeSent:
			b.requests = append(b.requests, e.Request.URL)
		case *runtime.EventConsoleAPICalled:
			b.complaints = append(b.complaints, fmt.Sprint(e.Type))
		case *runtime.EventExceptionThrown:
			b.complaints = append(b.complaints, e.ExceptionDetails.Text)
		}
	})
	return b
}

func (b *browser) run(t *testing.T, actions ...chromedp.Action) {
	t.Helper()
	if err := chromedp.Run(b, actions...); err != nil {
		t.Fatal(err)
	}
}

func readAll(t *testing.T, response *http.Response) string {
	t.Helper()
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// total is what the gateway counts of a touchpoint's score.
func total(t *testing.T, metrics, touchpoint, instrument string, score int) string {
	t.Helper()
	response, err := http.Get("http://" + metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf(`sojourn_survey_responses_total{instrument=%q,namespace="shop",score="%d",touchpoint=%q} `, instrument, score, touchpoint)
	_, after, found := strings.Cut(readAll(t, response), want)
	if !found {
		t.Fatalf("no series %s", want)
	}
	value, _, _ := strings.Cut(after, "\n")
	return value
}

func TestSurveyPage(t *testing.T) {
	chineseFont(t)
	responses, metrics := gateway(t)
	page := "http://" + responses + "/s/shop/"

	t.Run("with a mouse, in Chinese", func(t *testing.T) {
		b := open(t)
		var language, heading, thanks string
		b.run(t, chromedp.Navigate(page+"checkout"),
			chromedp.AttributeValue("html", "lang", &language, nil, chromedp.ByQuery),
			chromedp.Text("legend", &heading, chromedp.ByQuery),
			chromedp.Click(`input[value="6"]`, chromedp.ByQuery),
			chromedp.SendKeys("textarea", "付款很快 <script>", chromedp.ByQuery),
			chromedp.Click("button", chromedp.ByQuery),
			chromedp.WaitVisible("h1", chromedp.ByQuery),
			chromedp.Text("h1", &thanks, chromedp.ByQuery))
		if language != "zh-CN" || !strings.Contains(heading, "容易") || thanks != "谢谢！我们已收到您的回答。" {
			t.Errorf("%s, %q, %q", language, heading, thanks)
		}
		if got := total(t, metrics, "checkout", "ces", 6); got != "1" {
			t.Errorf("counted %s", got)
		}
		// To load the page of thanks again sends nothing again.
		b.run(t, chromedp.Reload(), chromedp.WaitVisible("h1", chromedp.ByQuery))
		if got := total(t, metrics, "checkout", "ces", 6); got != "1" {
			t.Errorf("counted %s after a reload", got)
		}
		b.stayedAlone(t, responses)
	})

	t.Run("with a keyboard, in English", func(t *testing.T) {
		b := open(t)
		var focused, heading, thanks string
		const describe = `document.activeElement.tagName + " " + (document.activeElement.value || "")`
		b.run(t, chromedp.Navigate(page+"support"), chromedp.Text("legend", &heading, chromedp.ByQuery),
			chromedp.KeyEvent(kb.Tab), chromedp.Evaluate(describe, &focused))
		if heading != "Would <b>you</b> recommend us?" {
			t.Errorf("question %q", heading)
		}
		if focused != "INPUT 0" {
			t.Errorf("the first stop is %q", focused)
		}
		// Arrows choose, as in every group of choices.
		b.run(t, chromedp.KeyEvent(kb.ArrowRight), chromedp.KeyEvent(kb.ArrowRight), chromedp.Evaluate(describe, &focused))
		if focused != "INPUT 2" {
			t.Errorf("two arrows lead to %q", focused)
		}
		var outline string
		b.run(t, chromedp.Evaluate(`getComputedStyle(document.activeElement.nextElementSibling).outlineStyle`, &outline))
		if outline != "solid" {
			t.Errorf("what has the focus is not seen: outline %q", outline)
		}
		b.run(t, chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent("slow"), chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Enter),
			chromedp.WaitVisible("h1", chromedp.ByQuery), chromedp.Text("h1", &thanks, chromedp.ByQuery))
		if thanks != "Thank you. Your answer has arrived." || total(t, metrics, "support", "nps", 2) != "1" {
			t.Errorf("%q, counted %s", thanks, total(t, metrics, "support", "nps", 2))
		}
		b.stayedAlone(t, responses)
	})

	t.Run("what a screen reader is told", func(t *testing.T) {
		b := open(t)
		var nodes []*accessibility.Node
		b.run(t, chromedp.Navigate(page+"support"), chromedp.ActionFunc(func(ctx context.Context) (err error) {
			nodes, err = accessibility.GetFullAXTree().Do(ctx)
			return err
		}))
		told := map[string][]string{}
		for _, node := range nodes {
			if !node.Ignored && node.Role != nil && node.Name != nil {
				var role, name string
				if err := errors.Join(json.Unmarshal(node.Role.Value, &role), json.Unmarshal(node.Name.Value, &name)); err != nil {
					t.Fatal(err)
				}
				told[role] = append(told[role], name)
			}
		}
		radios := told["radio"]
		if len(radios) != 11 || radios[0] != "0 – not at all likely" || radios[5] != "5" || radios[10] != "10 – extremely likely" {
			t.Errorf("choices %q", radios)
		}
		if groups := told["group"]; len(groups) != 1 || !strings.Contains(groups[0], "recommend us?") {
			t.Errorf("groups %q", groups)
		}
		if fields := told["textbox"]; len(fields) != 1 || fields[0] != "What would you like to add? (optional)" {
			t.Errorf("fields %q", fields)
		}
		if buttons := told["button"]; len(buttons) != 1 || buttons[0] != "Send" {
			t.Errorf("buttons %q", buttons)
		}
	})

	t.Run("on a narrow phone nothing is cut off", func(t *testing.T) {
		b := open(t)
		for _, width := range []int64{320, 400, 1280} {
			var wide bool
			var small []string
			b.run(t, chromedp.EmulateViewport(width, 640), chromedp.Navigate(page+"support"),
				chromedp.Evaluate(fmt.Sprintf(`document.documentElement.scrollWidth > %d`, width), &wide),
				chromedp.Evaluate(tooSmall, &small))
			if wide {
				t.Errorf("at %d pixels one has to scroll sideways", width)
			}
			if len(small) > 0 {
				t.Errorf("at %d pixels a thumb misses %s", width, small)
			}
		}
	})

	t.Run("everything can be read, by day and by night", func(t *testing.T) {
		b := open(t)
		for _, scheme := range []string{"light", "dark"} {
			for path, act := range map[string]chromedp.Action{
				"support":         chromedp.Click(`input[value="9"]`, chromedp.ByQuery),
				"checkout":        chromedp.Tasks{chromedp.Evaluate(`document.forms[0].noValidate = true`, nil), chromedp.Click("button", chromedp.ByQuery), chromedp.WaitVisible("#wrong", chromedp.ByQuery)},
				"checkout/thanks": chromedp.WaitVisible("h1", chromedp.ByQuery),
			} {
				var faint []string
				b.run(t, emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
					chromedp.Navigate(page+path), act, chromedp.Evaluate(tooFaint, &faint))
				if len(faint) > 0 {
					t.Errorf("%s, %s: %s", path, scheme, faint)
				}
				for _, width := range []int64{400, 1280} {
					b.run(t, chromedp.EmulateViewport(width, 900))
					b.shoot(t, "survey-"+strings.ReplaceAll(path, "/", "-"), width, scheme)
				}
			}
		}
	})

	t.Run("without a score", func(t *testing.T) {
		response, err := http.PostForm(page+"support", url.Values{"comment": {"kept <b>"}})
		if err != nil {
			t.Fatal(err)
		}
		text := readAll(t, response)
		if response.StatusCode != 422 || !strings.Contains(text, `role="alert"`) || !strings.Contains(text, "kept &lt;b&gt;") {
			t.Errorf("%d %s", response.StatusCode, text)
		}
	})
}

// tooSmall lists what is less than 44 pixels high or 32 wide. Seven choices side by side
// on the narrowest phone leave no more; the accessibility guidelines ask for 24.
const tooSmall = `[...document.querySelectorAll("label:has(input), textarea, button")]
	.map(e => [e.innerText, e.getBoundingClientRect()])
	.filter(([_, box]) => box.height < 44 || box.width < 32)
	.map(([name, box]) => name + " " + box.width + "x" + box.height)`

// contrasts is what tells how much a text stands out from what is behind it, by the
// guidelines' formula.
const contrasts = `
	const channels = color => color.match(/[\d.]+/g).map(Number)
	const light = color => {
		const [r, g, b] = channels(color).map(c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
		return 0.2126 * r + 0.7152 * g + 0.0722 * b
	}
	const contrast = (a, b) => {
		const [low, high] = [light(a), light(b)].sort((x, y) => x - y)
		return (high + 0.05) / (low + 0.05)
	}
	const behind = e => {
		for (; e; e = e.parentElement) {
			const color = getComputedStyle(e).backgroundColor
			if ((channels(color)[3] ?? 1) > 0) return color
		}
		return "rgb(255, 255, 255)"
	}`

// tooFaint lists texts that stand out less from what is behind them than 4.5 to 1, and
// edges of fields less than 3 to 1: level AA of the same guidelines.
const tooFaint = `(() => {` + contrasts + `
	const found = []
	for (const e of document.querySelectorAll("h1, legend, label, span, p, button, textarea")) {
		const style = getComputedStyle(e), text = contrast(style.color, behind(e))
		if (text < 4.5) found.push(e.tagName + " " + e.innerText + ": " + text.toFixed(1))
		if (e.matches(".scores span, textarea")) {
			const edge = contrast(style.borderTopColor, behind(e.parentElement))
			if (edge < 3) found.push(e.tagName + " edge: " + edge.toFixed(1))
		}
	}
	return found
})()`

// stayedAlone makes sure that the page asked nobody but the gateway, kept nothing in
// the browser and complained of nothing, its own policy included.
func (b *browser) stayedAlone(t *testing.T, address string) {
	t.Helper()
	b.run(t, chromedp.ActionFunc(func(ctx context.Context) error {
		cookies, err := storage.GetCookies().Do(ctx)
		if len(cookies) > 0 {
			t.Errorf("%d cookies", len(cookies))
		}
		return err
	}))
	b.lock.Lock()
	defer b.lock.Unlock()
	for _, request := range b.requests {
		if !strings.HasPrefix(request, "http://"+address+"/s/") && !strings.HasPrefix(request, "data:") {
			t.Errorf("the page asks %s", request)
		}
	}
	for _, complaint := range b.complaints {
		t.Errorf("the browser says: %s", complaint)
	}
}
