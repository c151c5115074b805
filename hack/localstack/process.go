package localstack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// Process is a program of the stack while it runs.
type Process struct {
	name    string
	logPath string
	cmd     *exec.Cmd
	exited  chan struct{}
	err     error // how it ended; read it after exited is closed
}

// StartProcess starts a program, with its output in <dir>/<name>.log. A restart
// appends to the log of the last run.
func StartProcess(dir, name, path string, args ...string) (*Process, error) {
	logPath := filepath.Join(dir, name+".log")
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own descriptor
	cmd := exec.Command(path, args...)
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = log, log
	if err := StartGuarded(cmd); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	p := &Process{name: name, logPath: logPath, cmd: cmd, exited: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// Stop ends the program: politely first, for as long as grace, then by force.
// It may be called more than once.
func (p *Process) Stop(grace time.Duration) {
	if p == nil {
		return
	}
	terminate(p.cmd)
	select {
	case <-p.exited:
	case <-time.After(grace):
		killGroup(p.cmd)
		<-p.exited
	}
}

// WaitReady asks ready until it returns nil. If the program ends first, or the
// context does, the error carries the end of the log, because the log's folder is
// usually gone by the time somebody reads the error.
func (p *Process) WaitReady(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return p.failure(fmt.Errorf("ended while starting: %w", orNil(p.err)))
		case <-ctx.Done():
			return p.failure(fmt.Errorf("not ready: %w (%w)", err, ctx.Err()))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func orNil(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// failure adds the end of the program's log to an error.
func (p *Process) failure(err error) error {
	data, _ := os.ReadFile(p.logPath)
	return fmt.Errorf("%s: %w\n--- end of %s ---\n%s", p.name, err, filepath.Base(p.logPath), lastLines(data, 30))
}

func lastLines(data []byte, n int) []byte {
	data = bytes.TrimRight(data, "\n")
	lines := bytes.Split(data, []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-n):], []byte("\n"))
}

// startRequest travels to the one goroutine that starts programs.
type startRequest struct {
	cmd    *exec.Cmd
	result chan error
}

// starter returns the channel to that goroutine. It keeps its thread for ever:
// the kernel sends the parent-death signal when the *thread* that forked ends,
// not the process, and Go ends threads as it pleases.
var starter = sync.OnceValue(func() chan<- startRequest {
	requests := make(chan startRequest)
	go func() {
		lockThread()
		for r := range requests {
			r.result <- r.cmd.Start()
		}
	}()
	return requests
})

// StartGuarded starts a command that dies with this process, in a process group
// of its own: a terminal's Ctrl-C then reaches only us, and we stop the parts
// in order.
func StartGuarded(cmd *exec.Cmd) error {
	guard(cmd)
	r := startRequest{cmd: cmd, result: make(chan error, 1)}
	starter() <- r
	return <-r.result
}

// freePort returns a loopback port nobody listens on. It looks below the range
// from which the kernel serves outgoing connections, so that none of those takes
// the port before its program listens, nor while the program restarts; and at
// random, so that test packages that run side by side do not meet.
func freePort() (int, error) {
	var last error
	for range 100 {
		port := 10000 + rand.IntN(20000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			last = err
			continue
		}
		return port, l.Close()
	}
	return 0, fmt.Errorf("no free port: %w", last)
}

// stackDir returns the folder a part works in, absolute because its programs
// run with another working directory, and what removes it afterwards: a folder
// the caller named stays.
func stackDir(dir, name string) (string, func(), error) {
	if dir == "" {
		dir, err := os.MkdirTemp("", "sojourn-"+name+"-")
		return dir, func() { os.RemoveAll(dir) }, err
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", nil, err
	}
	return dir, func() {}, os.MkdirAll(dir, 0o755)
}
