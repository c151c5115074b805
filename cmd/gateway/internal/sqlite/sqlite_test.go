package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/ledger"
	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/ledger/ledgertest"
)

func open(t testing.TB, path string) *Store {
	t.Helper()
	store, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return store
}

var response = ledgertest.Response

func add(t *testing.T, store *Store, responses ...ledger.Response) ([]ledger.Outcome, map[ledger.Series]ledger.Count) {
	t.Helper()
	outcomes, totals, err := store.Add(t.Context(), responses)
	if err != nil {
		t.Fatal(err)
	}
	return outcomes, totals
}

func TestStore(t *testing.T) {
	ledgertest.TestStore(t, func(t *testing.T) func() ledger.Store {
		path := filepath.Join(t.TempDir(), "gateway.db")
		return func() ledger.Store { return open(t, path) }
	})
}

// What Close leaves is one file: a copy of it is a complete backup.
func TestCloseLeavesOneFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gateway.db")
	store := open(t, path)
	add(t, store, response("a", 6))
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("files after Close: %v", entries)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("others may read the database: %v", info.Mode())
	}
}

// TestErasedIsOverwritten: what a customer wrote must not be found in the file either.
func TestErasedIsOverwritten(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gateway.db")
	store := open(t, path)
	secret := response("a", 6)
	secret.Comment = "my name is Ada Lovelace"
	add(t, store, secret, response("b", 6))
	if _, err := store.Erase(t.Context(), ledger.Choice{Namespace: "shop", ID: "a"}, 1); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(content, []byte("Lovelace")) {
		t.Error("the erased comment is still in the file")
	}
}

// TestMigratesTheFirstVersion: a database of the first schema keeps everything.
func TestMigratesTheFirstVersion(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gateway.db")
	first, err := schema.ReadFile("schema/0001_responses.sql")
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(string(first) + `;
		INSERT INTO responses (namespace, id, touchpoint, instrument, score, comment, received_at) VALUES ('shop', 'a', 'checkout', 'ces', 6, '好', 1);
		INSERT INTO counters VALUES ('shop', 'checkout', 'ces', 6, 1);
		PRAGMA user_version = 1`); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	store := open(t, path)
	defer store.Close()
	known := response("a", 6)
	known.Comment = "好"
	outcomes, totals := add(t, store, known, response("b", 6))
	if !reflect.DeepEqual(outcomes, []ledger.Outcome{ledger.Duplicate, ledger.Accepted}) || totals[response("", 6).Series] != (ledger.Count{Responses: 2, Comments: 1}) {
		t.Errorf("outcomes %v, totals %v", outcomes, totals)
	}
}

// TestCountsCommentsThatWereThere: a database of the schema before comments were counted
// knows them from then on, those of a segment too.
func TestCountsCommentsThatWereThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gateway.db")
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"schema/0001_responses.sql", "schema/0002_segments_and_erasure.sql"} {
		statements, err := schema.ReadFile(name)
		if err == nil {
			_, err = db.Exec(string(statements))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Exec(ledgertest.BeforeComments + "; PRAGMA user_version = 2"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	store := open(t, path)
	defer store.Close()
	ledgertest.ExpectCommentsOfBefore(t, store)
}

func TestCommitsWaitForTheDisk(t *testing.T) {
	store := open(t, filepath.Join(t.TempDir(), "gateway.db"))
	defer store.Close()
	add(t, store, response("a", 6))
	for pragma, want := range map[string]string{"synchronous": "2", "journal_mode": "wal"} {
		var got string
		if err := store.conn.QueryRowContext(t.Context(), "PRAGMA "+pragma).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %q, want %q (error %v)", pragma, got, want, err)
		}
	}
}

// A transaction that fails leaves nothing behind, and the store goes on.
func TestFailedTransaction(t *testing.T) {
	store := open(t, filepath.Join(t.TempDir(), "gateway.db"))
	defer store.Close()
	if _, err := store.db.Exec("CREATE TRIGGER full BEFORE INSERT ON responses WHEN new.id = 'b' BEGIN SELECT RAISE(ABORT, 'disk full'); END"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := store.Add(t.Context(), []ledger.Response{response("a", 6), response("b", 6)}); err == nil {
		t.Fatal("no error")
	}
	if _, err := store.db.Exec("DROP TRIGGER full"); err != nil {
		t.Fatal(err)
	}
	outcomes, totals := add(t, store, response("a", 6), response("b", 6))
	if outcomes[0] != ledger.Accepted || outcomes[1] != ledger.Accepted || totals[response("", 6).Series].Responses != 2 {
		t.Errorf("outcomes %v, totals %v", outcomes, totals)
	}
}

func TestRefusals(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct {
		name, path, want string
		prepare          func(path string)
	}{
		{"no folder", filepath.Join(dir, "none", "gateway.db"), "does not exist: mount a volume there", func(string) {}},
		{"newer schema", filepath.Join(dir, "newer.db"), "its schema has version 99, and this gateway knows versions up to 3: run the newer gateway", func(path string) {
			db, err := sql.Open("sqlite", path)
			if err == nil {
				_, err = db.Exec("PRAGMA user_version = 99")
			}
			if err != nil {
				t.Fatal(err)
			}
			_ = db.Close()
		}},
		{"no database", filepath.Join(dir, "text.db"), "not a database", func(path string) {
			if err := os.WriteFile(path, []byte(strings.Repeat("journey ", 1000)), 0o600); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		test.prepare(test.path)
		store, err := Open(t.Context(), test.path)
		if err == nil {
			_ = store.Close()
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", test.name, err, test.want)
		}
	}
}

// BenchmarkResponses compares what the ledger stores durably with bare inserts
// under the same durability: one row of the same columns, no duplicates looked
// for, no counters, in transactions as large as the ledger's largest.
func BenchmarkResponses(b *testing.B) {
	perSecond := func(b *testing.B, responses int64) {
		b.ReportMetric(float64(responses)/b.Elapsed().Seconds(), "responses/s")
	}
	b.Run("bare", func(b *testing.B) {
		store := open(b, filepath.Join(b.TempDir(), "bare.db"))
		defer store.Close()
		if _, err := store.db.Exec(`CREATE TABLE bare (seq INTEGER PRIMARY KEY, namespace TEXT, id TEXT UNIQUE, touchpoint TEXT,
			instrument TEXT, score INTEGER, comment TEXT, answered_at INTEGER, received_at INTEGER)`); err != nil {
			b.Fatal(err)
		}
		const batch = 2000
		number := 0
		b.ResetTimer()
		for range b.N {
			transaction, err := store.db.Begin()
			if err != nil {
				b.Fatal(err)
			}
			statement, err := transaction.Prepare("INSERT INTO bare (namespace, id, touchpoint, instrument, score, comment, answered_at, received_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)")
			if err != nil {
				b.Fatal(err)
			}
			for range batch {
				number++
				if _, err := statement.Exec("shop", fmt.Sprint("response-", number), "checkout", "ces", number%7+1, "", nil, 1772357400123); err != nil {
					b.Fatal(err)
				}
			}
			if err := transaction.Commit(); err != nil {
				b.Fatal(err)
			}
		}
		perSecond(b, int64(b.N)*batch)
	})
	for _, load := range []struct{ clients, batch int }{{1, 1}, {16, 1}, {256, 1}, {1, 1000}, {16, 1000}} {
		b.Run(fmt.Sprintf("clients=%d,batch=%d", load.clients, load.batch), func(b *testing.B) {
			l, err := ledger.Open(context.Background(), open(b, filepath.Join(b.TempDir(), "gateway.db")), ledger.Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			var number atomic.Int64
			b.SetParallelism(load.clients) // times GOMAXPROCS, corrected below
			var turn atomic.Int64
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				if turn.Add(1) > int64(load.clients) {
					return
				}
				for pb.Next() {
					responses := make([]ledger.Response, load.batch)
					for i := range responses {
						n := number.Add(1)
						responses[i] = response(fmt.Sprint("response-", n), int(n%7)+1)
					}
					if _, err := l.Submit(responses); err != nil {
						b.Error(err)
						return
					}
				}
			})
			perSecond(b, number.Load())
		})
	}
}
