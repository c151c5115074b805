package manual

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// Shell is a shell that commands are typed into, one after another, in a folder of its own
// that has the checkout's config and charts.
type Shell struct {
	// Folder is where it begins.
	Folder string

	t      *testing.T
	in     io.Writer
	out    *bufio.Reader
	giveUp func() error // ends the wait for out
	said   string       // the file that complaints go to
}

// Options says what there is for a shell.
type Options struct {
	// Checkout is the top of the checkout.
	Checkout string
	// Kubeconfig is for kubectl.
	Kubeconfig string
	// Programs can be typed by these names, beside kubectl and openssl. The values are files.
	Programs map[string]string
	// Environment is added, as NAME=value.
	Environment []string
}

// Open starts a shell that ends with the test.
func Open(t *testing.T, options Options) *Shell {
	t.Helper()
	checkout, err := filepath.Abs(options.Checkout)
	if err != nil {
		t.Fatal(err)
	}
	kubectl, err := localstack.Binary(t.Context(), localstack.KubectlBinary)
	if err != nil {
		t.Fatal(err)
	}
	// The cache calls it by its version; users call it kubectl.
	links := map[string]string{"bin/kubectl": kubectl}
	for name, file := range options.Programs {
		links["bin/"+name] = file
	}
	for _, folder := range []string{"config", "charts"} {
		links["work/"+folder] = filepath.Join(checkout, folder)
	}
	top := t.TempDir()
	for _, folder := range []string{"bin", "work"} {
		if err := os.Mkdir(filepath.Join(top, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range links {
		if err := os.Symlink(to, filepath.Join(top, link)); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(top, "bin") + ":" + os.Getenv("PATH")
	if _, err := exec.LookPath("openssl"); err != nil { // users have it, machines that test may not
		debian, err := localstack.Debian(t.Context(), "openssl")
		if err != nil {
			t.Fatal(err)
		}
		path += ":" + filepath.Join(debian, "usr", "bin")
	}
	s := &Shell{Folder: filepath.Join(top, "work"), t: t, said: filepath.Join(top, "said")}
	command := exec.Command("bash")
	command.Dir = s.Folder
	command.Env = append(append(os.Environ(), "PATH="+path, "KUBECONFIG="+options.Kubeconfig), options.Environment...)
	command.WaitDelay = time.Second // for what the shell started
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
		_ = in.Close()
		_ = command.Process.Kill()
		_ = command.Wait()
	})
	s.in, s.out, s.giveUp = in, bufio.NewReader(out), out.Close
	return s
}

// Answer is what came of commands.
type Answer struct {
	// Status is that of the last command that failed, or 0.
	Status int
	// Printed is what came to the standard output, and Said what came to the standard
	// error, both without white space around them.
	Printed, Said string
}

// Type types commands and waits until they have ended.
func (s *Shell) Type(commands string) Answer {
	s.t.Helper()
	// As set -e -o pipefail judges, but the shell goes on.
	_, err := fmt.Fprintf(s.in, "exec 2>%q; failed=0; set -o pipefail; trap 'failed=$?' ERR\n%s\ntrap - ERR; printf '\\001%%d\\n' $failed\n", s.said, commands)
	if err != nil {
		s.t.Fatal(err)
	}
	defer time.AfterFunc(5*time.Minute, func() { _ = s.giveUp() }).Stop()
	printed, err := s.out.ReadString(1)
	status := ""
	if err == nil {
		status, err = s.out.ReadString('\n')
	}
	said, _ := os.ReadFile(s.said)
	if err != nil {
		s.t.Fatalf("the shell ended, or took minutes: %v\n%s\n%s%s", err, commands, printed, said)
	}
	a := Answer{Printed: clean(strings.TrimSuffix(printed, "\x01")), Said: clean(string(said))}
	if a.Status, err = strconv.Atoi(strings.TrimSpace(status)); err != nil {
		s.t.Fatal(err)
	}
	return a
}

func clean(text string) string { return strings.TrimSpace(strings.ReplaceAll(text, "\r", "")) }
