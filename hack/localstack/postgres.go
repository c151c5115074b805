//go:build unix

package localstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// postgresPackage is Debian 12's.
const postgresPackage = "postgresql-15"

// nobody is who PostgreSQL runs as where we are root, which it refuses to be.
const nobody = 65534

// Postgres is a PostgreSQL server with an empty database.
type Postgres struct {
	// Dir holds the data and postgres.log.
	Dir string
	// URL of the database.
	URL string

	bin, port   string
	environment []string
	process     *Process
}

// PostgresOptions choose what a server is like.
type PostgresOptions struct {
	// Settings are further lines of its configuration, such as "max_wal_size=1GB".
	Settings []string
	// DataDir is where the data go, if not in a folder of its own; it must be empty.
	DataDir string
}

// StartPostgres starts a server, of the machine's own PostgreSQL if there is one, else
// of Debian's package. It is as durable as a server by default: a commit waits for the
// disk.
func StartPostgres(ctx context.Context, options PostgresOptions) (*Postgres, error) {
	p := &Postgres{}
	var err error
	if p.bin, p.environment, err = postgresPrograms(ctx); err != nil {
		return nil, err
	}
	if p.Dir = options.DataDir; p.Dir == "" {
		if p.Dir, err = os.MkdirTemp("", "sojourn-postgres-"); err != nil {
			return nil, err
		}
	}
	if err := ownedByNobody(p.Dir); err != nil {
		return nil, err
	}
	initialise := p.command(filepath.Join(p.bin, "initdb"), "--pgdata", p.data(), "--username=sojourn", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions")
	if output, err := initialise.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w\n%s", err, lastLines(output, 10))
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	p.port = strconv.Itoa(port)
	p.URL = "postgres://sojourn@127.0.0.1:" + p.port + "/postgres?sslmode=disable"
	configuration := append([]string{
		"listen_addresses='127.0.0.1'", "port=" + p.port, "unix_socket_directories=''", "max_connections=50",
	}, options.Settings...)
	file, err := os.OpenFile(filepath.Join(p.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	_, err = file.WriteString("\n" + strings.Join(configuration, "\n") + "\n")
	if err := errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	return p, p.Start(ctx)
}

func (p *Postgres) data() string { return filepath.Join(p.Dir, "data") }

// Start starts the server again after Stop or Kill.
func (p *Postgres) Start(ctx context.Context) error {
	log, err := os.OpenFile(filepath.Join(p.Dir, "postgres.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := p.command(filepath.Join(p.bin, "postgres"), "-D", p.data())
	cmd.Stdout, cmd.Stderr = log, log
	// A server that died leaves its file behind; its number may be another's by now.
	_ = os.Remove(filepath.Join(p.data(), "postmaster.pid"))
	if err := StartGuarded(cmd); err != nil {
		return fmt.Errorf("starting postgres: %w", err)
	}
	p.process = &Process{name: "postgres", logPath: log.Name(), cmd: cmd, exited: make(chan struct{})}
	go func(running *Process) {
		running.err = cmd.Wait()
		close(running.exited)
	}(p.process)
	return p.process.WaitReady(ctx, func(ctx context.Context) error {
		return exec.CommandContext(ctx, filepath.Join(p.bin, "pg_isready"), "--quiet", "--host=127.0.0.1", "--port="+p.port).Run()
	})
}

// Kill ends the server and all it started at once, as a crash of the machine would but
// for what its memory of files still writes.
func (p *Postgres) Kill() {
	if p.process == nil {
		return
	}
	// Each of the server's processes leads a session of its own; they notice the death
	// of their parent, but a crash does not wait for that.
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", p.process.cmd.Process.Pid, p.process.cmd.Process.Pid))
	killGroup(p.process.cmd)
	for child := range strings.FieldsSeq(string(children)) {
		pid, err := strconv.Atoi(child)
		if err != nil {
			continue
		}
		// A new server beside processes of the old one would ruin the data.
		for syscall.Kill(pid, syscall.SIGKILL) == nil && !isZombie(pid) {
			time.Sleep(time.Millisecond)
		}
	}
	<-p.process.exited
}

// isZombie tells whether a process has ended and only waits to be noticed.
func isZombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, after, _ := strings.Cut(string(stat), ") ")
	return err != nil || strings.HasPrefix(after, "Z")
}

// Pause has the server stand still until Resume: it takes connections and answers
// nothing.
func (p *Postgres) Pause() { p.signal(syscall.SIGSTOP) }

// Resume ends a Pause.
func (p *Postgres) Resume() { p.signal(syscall.SIGCONT) }

func (p *Postgres) signal(signal syscall.Signal) {
	pid := p.process.cmd.Process.Pid
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, each := range append(strings.Fields(string(children)), strconv.Itoa(pid)) {
		if pid, err := strconv.Atoi(each); err == nil {
			_ = syscall.Kill(pid, signal)
		}
	}
}

// Stop ends the server and removes its data.
func (p *Postgres) Stop() {
	if p == nil || p.process == nil {
		return
	}
	_ = p.process.cmd.Process.Signal(syscall.SIGINT) // does not wait for clients
	p.process.Stop(10 * time.Second)
	_ = os.RemoveAll(p.Dir)
}

// command makes a command of one of PostgreSQL's programs, run by somebody that it
// does not refuse.
func (p *Postgres) command(path string, arguments ...string) *exec.Cmd {
	cmd := exec.Command(path, arguments...)
	cmd.Dir, cmd.Env = p.Dir, p.environment
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	return cmd
}

func ownedByNobody(dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return os.Chown(dir, nobody, nobody)
}

// postgresPrograms finds the folder of initdb and postgres.
func postgresPrograms(ctx context.Context) (bin string, environment []string, err error) {
	newest := func(root string) string {
		found, _ := filepath.Glob(filepath.Join(root, "usr/lib/postgresql/*/bin/postgres"))
		if len(found) == 0 {
			return ""
		}
		return filepath.Dir(slices.Max(found))
	}
	if bin := newest("/"); bin != "" {
		return bin, os.Environ(), nil
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path), os.Environ(), nil
		}
	}
	root, err := Debian(ctx, postgresPackage)
	if err != nil {
		return "", nil, err
	}
	if bin = newest(root); bin == "" {
		return "", nil, fmt.Errorf("%s has no usr/lib/postgresql/*/bin/postgres", root)
	}
	environment, err = libraries(root)
	return bin, environment, err
}
