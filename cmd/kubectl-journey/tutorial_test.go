package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sojourn-dev/sojourn/hack/localstack"
	"github.com/sojourn-dev/sojourn/hack/manual"
)

// shown turns a block of console, which needs customers and time, into what can be typed here:
// the map of a journey of which nothing is known, and the gate that finds it so.
var shown = strings.NewReplacer("$ kubectl journey ui\n", "", "$ ", "", " --timeout 15m\n", " --timeout 1s || refused=$?; [ \"$refused\" = 1 ]\n")

// followTutorial types what docs/tutorial.md says, in one shell. Every command has to
// succeed, and to print what stands in the block after it.
func followTutorial(t *testing.T, plane *localstack.ControlPlane) {
	page, err := manual.Read("../../docs/tutorial.md")
	if err != nil {
		t.Fatal(err)
	}
	// This test is the plugin, so that nothing is built twice: see TestMain.
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// kubectl completes the plugin's arguments by a program of this name.
	complete := filepath.Join(t.TempDir(), "kubectl_complete-journey")
	if err := os.WriteFile(complete, []byte("#!/bin/sh\nexec kubectl-journey __complete \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	shell := manual.Open(t, manual.Options{
		Checkout: "../..", Kubeconfig: plane.Kubeconfig(), Environment: []string{"SHOP=http://127.0.0.1:8080", asPlugin + "=1"},
		Programs: map[string]string{"kubectl-journey": self, "kubectl_complete-journey": complete},
	})
	typed := 0
	for i, b := range page.Blocks {
		if b.Language != "sh" && b.Language != "console" || strings.Contains(b.Text, "make ") {
			continue // the demo: here is only its API server
		}
		if strings.HasPrefix(b.Text, "$ ") {
			b.Text = shown.Replace(b.Text)
		}
		typed++
		got, want := shell.Type(b.Text), page.Prints(i)
		if got.Status != 0 || want != "" && got.Printed != want {
			t.Fatalf("line %d ends with %d and prints\n%s\n%s\nand should\n%s", b.Line, got.Status, got.Printed, got.Said, want)
		}
	}
	if typed < 4 {
		t.Errorf("only %d blocks of sh: has the page changed its form?", typed)
	}
	if got := shell.Type("kubectl __complete journey gate -n tea journey/"); got.Printed != "journey/buying-tea\n:4" {
		t.Errorf("completed by %+v", got)
	}
}

// asPlugin in the environment makes the test the plugin itself.
const asPlugin = "SOJOURN_TEST_AS_PLUGIN"

func TestMain(m *testing.M) {
	if os.Getenv(asPlugin) != "" && strings.HasSuffix(os.Args[0], "kubectl-journey") {
		main()
		return
	}
	code := m.Run()
	shared.plane.Stop()
	os.Exit(code)
}
