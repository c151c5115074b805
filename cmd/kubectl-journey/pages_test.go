package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sojourn-dev/sojourn/hack/localstack"
	"github.com/sojourn-dev/sojourn/hack/manual"
)

// typedPages are those whose commands of the plugin are typed on a cluster with the sample
// shop, and with a Prometheus that knows nothing. followTutorial types the tutorial.
var typedPages = []string{
	"README.md", "docs/map.md", "docs/ui.md", "docs/pipelines.md", "docs/gate.md", "docs/gitops.md", "docs/dashboards.md",
	"docs/import-export.md", "docs/backtest.md",
}

// notTyped are commands that do not end by themselves, or compare with a branch of Git.
var notTyped = regexp.MustCompile(`journey ui$|--watch|--from ../main`)

// answeredByOne are commands that end with 1 at this shop: that is their answer.
var answeredByOne = regexp.MustCompile(`journey gate |gate\.sh$|--exit-code|journey diff |import openslo |export openslo `)

var aboutCommand = regexp.MustCompile(` +# .*$`)

// typePages types the commands of pages, in their order, each page in a folder of its own.
func typePages(t *testing.T, kubeconfig string) {
	programs := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	links := map[string]string{"kubectl-journey": self}
	for _, name := range []string{localstack.KubectlBinary, localstack.PromtoolBinary} {
		if links[name], err = localstack.Binary(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range links {
		if err := os.Symlink(to, filepath.Join(programs, name)); err != nil {
			t.Fatal(err)
		}
	}
	prometheus, err := localstack.StartPrometheus(t.Context(), localstack.PrometheusOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(prometheus.Stop)
	itsAddress := strings.NewReplacer("http://localhost:9090", prometheus.URL, "http://127.0.0.1:9090", prometheus.URL)
	for _, page := range typedPages {
		t.Run(page, func(t *testing.T) {
			read, err := manual.Read(filepath.Join("../..", page))
			if err != nil {
				t.Fatal(err)
			}
			work := t.TempDir()
			// Copies: commands write into them.
			for name, from := range map[string]string{"config": "../../config", "shop": samplesFolder(t), "stricter": samplesFolder(t), "teams": "../../config/gitops/teams"} {
				if err := os.CopyFS(filepath.Join(work, name), os.DirFS(from)); err != nil {
					t.Fatal(err)
				}
			}
			slos, err := os.ReadFile("internal/openslo/testdata/import.yaml")
			if err != nil {
				t.Fatal(err)
			}
			for name, content := range map[string]string{
				"purchase.mmd": "journey\n    title Online purchase\n    section Pay\n      Checkout: 2: Anna\n", "token": "secret", "slos.yaml": string(slos),
			} {
				if err := os.WriteFile(filepath.Join(work, name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			typed := 0
			for _, line := range pluginCommands(read) {
				if notTyped.MatchString(line) {
					continue
				}
				typed++
				command := exec.CommandContext(t.Context(), "bash", "-o", "pipefail", "-c", itsAddress.Replace(line))
				command.Dir = work
				command.Env = append(os.Environ(), "PATH="+programs+":"+os.Getenv("PATH"), "KUBECONFIG="+kubeconfig, asPlugin+"=1")
				out, err := command.CombinedOutput()
				want := 0
				if answeredByOne.MatchString(line) {
					want = 1
				}
				if command.ProcessState == nil || command.ProcessState.ExitCode() != want {
					t.Errorf("%s\nends with %v, not with %d, and prints\n%s", line, err, want, out)
				}
			}
			if typed == 0 {
				t.Error("no command was typed")
			}
		})
	}
}

// pluginCommands are those of a page's blocks, one a line, that have to do with the plugin.
func pluginCommands(page *manual.Page) (found []string) {
	for _, block := range page.Blocks {
		if block.Language != "sh" && block.Language != "console" {
			continue
		}
		for line := range strings.Lines(block.Text) {
			line = strings.TrimSpace(line)
			if block.Language == "console" {
				var typed bool
				if line, typed = strings.CutPrefix(line, "$ "); !typed {
					continue // what it prints
				}
			}
			line = aboutCommand.ReplaceAllString(line, "")
			if strings.HasPrefix(line, "#") {
				continue
			}
			if strings.Contains(line, "kubectl journey ") || strings.HasPrefix(line, "promtool ") || strings.HasPrefix(line, "config/gitops/ci/") {
				found = append(found, line)
			}
		}
	}
	return found
}

func TestPluginCommands(t *testing.T) {
	const page = "```sh\nkubectl apply -f x\nkubectl journey map -A     # all\n```\n\n   ```console\n   $ kubectl journey gate x\n   no\n   ```\n"
	file := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(file, []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	read, err := manual.Read(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%q", pluginCommands(read)); got != `["kubectl journey map -A" "kubectl journey gate x"]` {
		t.Error(got)
	}
}
