package story

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// Programs are Sojourn's own programs that the demo runs.
var Programs = []string{"manager", "prober", "gateway", "kubectl-journey"}

// Checkout returns the root of the checkout that the running program comes from.
func Checkout() (string, error) {
	if _, file, _, known := runtime.Caller(0); known && filepath.IsAbs(file) {
		root := filepath.Join(filepath.Dir(file), "..", "..", "..")
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			return filepath.Clean(root), nil
		}
	}
	output, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/sojourn-dev/sojourn").Output()
	if err != nil {
		return "", fmt.Errorf("finding the checkout; run this inside of it: %w", err)
	}
	return strings.TrimSpace(string(output)), nil
}

// BuildPrograms builds Sojourn's programs and returns the folder they lie in, one
// for each checkout in the user's cache. What is up to date is not built again.
func BuildPrograms(ctx context.Context, checkout string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	key := fnv.New64a()
	key.Write([]byte(checkout))
	dir := filepath.Join(cache, "sojourn", "programs", fmt.Sprintf("%016x", key.Sum64()))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	arguments := []string{"build", "-buildvcs=false", "-o", dir + string(filepath.Separator)}
	for _, program := range Programs {
		arguments = append(arguments, "./cmd/"+program)
	}
	var output bytes.Buffer
	build := exec.CommandContext(ctx, "go", arguments...)
	build.Dir, build.Stdout, build.Stderr = checkout, &output, &output
	// The compilers that go has started end with it.
	build.Cancel = func() error { return syscall.Kill(-build.Process.Pid, syscall.SIGKILL) }
	err = startBound(build)
	if err == nil {
		err = build.Wait()
	}
	if err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", strings.Join(Programs, ", "), err, bytes.TrimSpace(output.Bytes()))
	}
	return dir, nil
}

// Program is one of Sojourn's programs while it runs.
type Program struct {
	// Name of the program.
	Name string
	// LogPath is the file that has its output.
	LogPath string

	command *exec.Cmd
	ended   chan struct{}
	err     error // read it after ended is closed
}

// StartProgram starts a program with its output in <logs>/<name>.log, and waits
// until readyURL answers 200. It ends by Stop, or with this process.
func StartProgram(ctx context.Context, logs, path, readyURL string, arguments ...string) (*Program, error) {
	p := &Program{Name: filepath.Base(path), ended: make(chan struct{})}
	p.LogPath = filepath.Join(logs, p.Name+".log")
	log, err := os.OpenFile(p.LogPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own descriptor
	p.command = exec.Command(path, arguments...)
	p.command.Dir, p.command.Stdout, p.command.Stderr = logs, log, log
	if err := startBound(p.command); err != nil {
		return nil, fmt.Errorf("starting %s: %w", p.Name, err)
	}
	go func() {
		p.err = p.command.Wait()
		close(p.ended)
	}()
	if err := p.awaitReady(ctx, readyURL); err != nil {
		p.Stop()
		return nil, err
	}
	return p, nil
}

func (p *Program) awaitReady(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		err := localstack.AnswersOK(ctx, url)
		if err == nil {
			return nil
		}
		select {
		case <-p.ended:
			return p.failure(fmt.Errorf("ended while starting: %w", p.err))
		case <-ctx.Done():
			return p.failure(fmt.Errorf("not ready: %w", err))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// failure adds the end of the program's log to an error.
func (p *Program) failure(err error) error {
	data, _ := os.ReadFile(p.LogPath)
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return fmt.Errorf("%s: %w; its last words:\n%s", p.Name, err, strings.Join(lines[max(0, len(lines)-15):], "\n"))
}

// Ended is closed when the program has ended, asked or not.
func (p *Program) Ended() <-chan struct{} { return p.ended }

// Err says how the program ended; ask after Ended.
func (p *Program) Err() error { return p.failure(errors.Join(errors.New("ended"), p.err)) }

// Stop ends the program: politely, and by force after a while. It may be called more
// than once, and on nil.
func (p *Program) Stop() {
	if p == nil {
		return
	}
	_ = p.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
		_ = p.command.Process.Kill()
		<-p.ended
	}
}

// starting goes to the goroutine that starts programs.
type starting struct {
	command *exec.Cmd
	result  chan error
}

// starter keeps its thread for ever: the kernel ends a bound child with the thread
// that started it, and Go ends threads as it pleases.
var starter = sync.OnceValue(func() chan<- starting {
	requests := make(chan starting)
	go func() {
		runtime.LockOSThread()
		for request := range requests {
			request.result <- request.command.Start()
		}
	}()
	return requests
})

// startBound starts a command that ends with this process, and that a terminal's
// Ctrl-C does not reach: we stop the parts in their order.
func startBound(command *exec.Cmd) error {
	bind(command)
	request := starting{command, make(chan error, 1)}
	starter() <- request
	return <-request.result
}

// freeAddress returns a loopback address that nobody listens on, below the ports
// that the kernel gives to outgoing connections, so that none of those takes it.
func freeAddress() (string, error) {
	var last error
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(20000))
		listener, err := net.Listen("tcp", address)
		if err != nil {
			last = err
			continue
		}
		return address, listener.Close()
	}
	return "", fmt.Errorf("no free port: %w", last)
}
