package probe

import (
	"bufio"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// The benchmark's server is a process of its own, or its CPU would be counted as
// ours.
const serverVariable = "SOJOURN_BENCHMARK_SERVER"

func TestMain(m *testing.M) {
	if kind := os.Getenv(serverVariable); kind != "" {
		server := httptest.NewUnstartedServer(shop())
		if kind == "https" {
			server.StartTLS()
			pem.Encode(os.Stdout, &pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
		} else {
			server.Start()
		}
		fmt.Println(server.URL)
		os.Stdin.Read(make([]byte, 1)) // until the benchmark ends
		return
	}
	// Whatever a test does to a visit, it leaves no goroutine.
	goleak.VerifyTestMain(m)
}

func BenchmarkRun(b *testing.B) {
	for _, kind := range []string{"http", "https"} {
		b.Run(kind, func(b *testing.B) {
			command := exec.Command(os.Args[0])
			command.Env = append(os.Environ(), serverVariable+"="+kind)
			hold, err := command.StdinPipe()
			if err != nil {
				b.Fatal(err)
			}
			said, err := command.StdoutPipe()
			if err != nil {
				b.Fatal(err)
			}
			if err := command.Start(); err != nil {
				b.Fatal(err)
			}
			defer command.Wait()
			defer hold.Close()
			var certificate, address string
			for lines := bufio.NewScanner(said); address == "" && lines.Scan(); {
				if strings.HasPrefix(lines.Text(), "http") {
					address = lines.Text()
				} else {
					certificate += lines.Text() + "\n"
				}
			}
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM([]byte(certificate))
			p, err := newProbe(Options{RootCAs: roots}, Spec{URL: address + "/ok", Timeout: 5 * time.Second})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			before := cpu()
			for b.Loop() {
				if result := p.Run(b.Context()); result.Outcome != OutcomeSuccess {
					b.Fatalf("%+v", result)
				}
			}
			b.ReportMetric(float64((cpu()-before).Nanoseconds())/1e3/float64(b.N), "cpu-µs/op")
		})
	}
}

// cpu is the processor time that this process has used.
func cpu() time.Duration {
	var used syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
