package postgres

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/ledger"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/ledger/ledgertest"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

var server *localstack.Postgres

func TestMain(m *testing.M) {
	var err error
	if server, err = localstack.StartPostgres(context.Background(), localstack.PostgresOptions{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	server.Stop()
	os.Exit(code)
}

var databases atomic.Int64

// database makes an empty database of the test's own and returns its URL.
func database(t testing.TB) string {
	t.Helper()
	connection, err := pgx.Connect(t.Context(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close(t.Context())
	name := fmt.Sprint("test", databases.Add(1))
	if _, err := connection.Exec(t.Context(), "CREATE DATABASE "+name); err != nil {
		t.Fatal(err)
	}
	return strings.Replace(server.URL, "/postgres?", "/"+name+"?", 1)
}

func open(t testing.TB, url string) *Store {
	t.Helper()
	store, err := Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

func TestStore(t *testing.T) {
	ledgertest.TestStore(t, func(t *testing.T) func() ledger.Store {
		url := database(t)
		return func() ledger.Store { return open(t, url) }
	})
}

// TestSeveralWriters: two gateways get overlapping responses in opposite orders, while
// a third erases some of them. Nothing is counted twice, nobody waits for ever.
func TestSeveralWriters(t *testing.T) {
	url := database(t)
	const responses, size = 4000, 100
	var writers sync.WaitGroup
	var accepted atomic.Int64
	for writer := range 2 {
		store := open(t, url)
		defer store.Close()
		writers.Go(func() {
			for first := 0; first < responses; first += size {
				batch := make([]ledger.Response, size)
				for i := range batch {
					number := first + i
					if writer == 1 {
						number = first + size - 1 - i
					}
					batch[i] = ledgertest.Response(fmt.Sprint("r", number), number%7+1)
				}
				outcomes, _, err := store.Add(t.Context(), batch)
				if err != nil {
					t.Error(err)
					return
				}
				for _, outcome := range outcomes {
					if outcome == ledger.Accepted {
						accepted.Add(1)
					}
				}
			}
		})
	}
	eraser := open(t, url)
	defer eraser.Close()
	writers.Go(func() {
		for i := range 200 {
			if _, err := eraser.Erase(t.Context(), ledger.Choice{Namespace: "shop", ID: fmt.Sprint("r", i*20)}, 10); err != nil {
				t.Error(err)
				return
			}
		}
	})
	writers.Wait()
	totals, err := eraser.Totals(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sum := uint64(0)
	for _, total := range totals {
		sum += total.Responses
	}
	if accepted.Load() != responses || sum != responses {
		t.Errorf("%d accepted and %d counted of %d", accepted.Load(), sum, responses)
	}
	var stored, erased uint64
	if err := eraser.pool.QueryRow(t.Context(), "SELECT (SELECT count(*) FROM responses), (SELECT sum(erased) FROM counters)").Scan(&stored, &erased); err != nil {
		t.Fatal(err)
	}
	if stored+erased != responses {
		t.Errorf("%d stored and %d erased of %d", stored, erased, responses)
	}
}

func TestRefusals(t *testing.T) {
	newer := database(t)
	store := open(t, newer)
	if _, err := store.pool.Exec(t.Context(), "UPDATE schema_version SET version = 99"); err != nil {
		t.Fatal(err)
	}
	store.Close()
	for url, want := range map[string]string{
		newer: "its schema has version 99, and this gateway knows versions up to 2: run the newer gateway",
		"postgres://user:secret@127.0.0.1:notaport/x":            "the database's URL cannot be read: write postgres://user:password@host",
		"postgres://user:secret@127.0.0.1:1/x?connect_timeout=1": "database x on 127.0.0.1",
	} {
		_, err := Open(t.Context(), url)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the error tells the password: %v", err)
		}
	}
}

// TestCountsCommentsThatWereThere: a database of the schema before comments were counted
// knows them from then on; and a gateway of before, which may still run, goes on counting.
func TestCountsCommentsThatWereThere(t *testing.T) {
	url := database(t)
	connection, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close(context.WithoutCancel(t.Context()))
	first, err := schema.ReadFile("schema/0001_responses.sql")
	if err != nil {
		t.Fatal(err)
	}
	before := strings.ReplaceAll(ledgertest.BeforeComments, "INSERT INTO responses (", "INSERT INTO responses (loss, channel, subject, submission, ")
	before = strings.ReplaceAll(before, "VALUES ('shop', 'old", "VALUES (0, '', '', '', 'shop', 'old")
	if _, err := connection.Exec(t.Context(), string(first)+before+`;
		CREATE TABLE schema_version (one boolean PRIMARY KEY DEFAULT true CHECK (one), version integer NOT NULL);
		INSERT INTO schema_version (version) VALUES (1)`); err != nil {
		t.Fatal(err)
	}
	store := open(t, url)
	defer store.Close()
	ledgertest.ExpectCommentsOfBefore(t, store)
	const of = `INSERT INTO counters AS c (namespace, touchpoint, instrument, segment, score, total) VALUES ('shop', 'checkout', 'ces', '', 6, 1)
		ON CONFLICT (namespace, touchpoint, instrument, segment, score) DO UPDATE SET total = c.total + excluded.total`
	if _, err := connection.Exec(t.Context(), of); err != nil {
		t.Errorf("a gateway of the version before: %v", err)
	}
}

// TestCommitsWaitForTheDisk: whatever the server's default is.
func TestCommitsWaitForTheDisk(t *testing.T) {
	url := database(t)
	store := open(t, url)
	defer store.Close()
	var setting string
	if err := store.pool.QueryRow(t.Context(), "SHOW synchronous_commit").Scan(&setting); err != nil || setting != "on" {
		t.Errorf("synchronous_commit is %q (error %v)", setting, err)
	}
}
