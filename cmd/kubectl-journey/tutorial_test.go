package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/sojourn-dev/sojourn/hack/localstack"
)

var shellBlock = regexp.MustCompile("(?ms)^```(?:sh|console)\n(.*?)^```\n(?:\n```(?:text|mermaid)\n(.*?)^```\n)?")

// shown turns a block of console, which needs customers and time, into what can be typed here:
// the map of a journey of which nothing is known, and the gate that finds it so.
var shown = strings.NewReplacer("$ kubectl journey ui\n", "", "$ ", "", " --timeout 15m\n", " --timeout 1s && exit 3 || [ $? = 1 ]\n")

// followTutorial types what docs/tutorial.md says, in one shell. Every command has to
// succeed, and to print what stands in the block after it.
func followTutorial(t *testing.T, plane *localstack.ControlPlane) {
	page, err := os.ReadFile("../../docs/tutorial.md")
	if err != nil {
		t.Fatal(err)
	}
	kubectl, err := localstack.Binary(t.Context(), localstack.KubectlBinary)
	if err != nil {
		t.Fatal(err)
	}
	programs, work := t.TempDir(), t.TempDir()
	if err := os.Symlink(kubectl, filepath.Join(programs, "kubectl")); err != nil {
		t.Fatal(err)
	}
	// This test is the plugin, so that nothing is built twice: see TestMain.
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(programs, "kubectl-journey")); err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	script.WriteString("set -e\n")
	var wanted []string
	for _, block := range shellBlock.FindAllStringSubmatch(string(page), -1) {
		if strings.Contains(block[1], "make ") {
			continue // the demo: here is only its API server
		}
		if strings.HasPrefix(block[1], "$ ") {
			block[1] = shown.Replace(block[1])
		}
		script.WriteString(block[1] + "echo '--- next'\n")
		wanted = append(wanted, block[2])
	}
	// kubectl completes the plugin's arguments by a program of this name.
	if err := os.WriteFile(filepath.Join(programs, "kubectl_complete-journey"), []byte("#!/bin/sh\nexec kubectl-journey __complete \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	script.WriteString("kubectl __complete journey gate -n tea journey/ 2>/dev/null\necho '--- next'\n")
	wanted = append(wanted, "journey/buying-tea\n:4\n")
	command := exec.CommandContext(t.Context(), "bash")
	command.Dir, command.Stdin = work, strings.NewReader(script.String())
	command.Env = append(os.Environ(), "PATH="+programs+":"+os.Getenv("PATH"), "KUBECONFIG="+plane.Kubeconfig(), "SHOP=http://127.0.0.1:8080", asPlugin+"=1")
	var complaints strings.Builder
	command.Stderr = &complaints
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, complaints.String())
	}
	printed := strings.Split(string(out), "--- next\n")
	if len(wanted) < 5 || len(printed) != len(wanted)+1 {
		t.Fatalf("%d blocks, %d outputs\n%s", len(wanted), len(printed)-1, out)
	}
	for i := range wanted {
		if wanted[i] != "" && printed[i] != wanted[i] {
			t.Errorf("block %d prints\n%s\nand should\n%s", i+1, printed[i], wanted[i])
		}
	}
}

// asPlugin in the environment makes the test the plugin itself.
const asPlugin = "SOJOURN_TEST_AS_PLUGIN"

func TestMain(m *testing.M) {
	if os.Getenv(asPlugin) != "" && strings.HasSuffix(os.Args[0], "kubectl-journey") {
		main()
		return
	}
	os.Exit(m.Run())
}
