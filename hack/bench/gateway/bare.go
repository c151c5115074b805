package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // registers the driver pgx
	_ "modernc.org/sqlite"             // registers the driver sqlite

	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// bareBatch is how many rows a bare transaction inserts: as many as the gateway's
// largest.
const bareBatch = 2000

// bareRows is how many of them one statement of SQLite inserts: one by one takes longer.
const bareRows = 40

// bare inserts rows like the gateway's into tables and indexes like the gateway's, with
// the same durability and by the quickest way there is, and does nothing else: no
// counters, no duplicates looked for, no JSON, no HTTP. It has the machine for itself.
type bare struct {
	db *sql.DB
	// url of the database that a gateway may use beside; empty for SQLite.
	url    string
	run    int64
	number int
	close  func()
}

func openBare(ctx context.Context, folder, store string) (*bare, error) {
	b := &bare{run: time.Now().UnixNano(), close: func() {}}
	driver, name := "sqlite", "file:"+filepath.Join(folder, "bare.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"
	if store == "postgres" {
		server, err := localstack.StartPostgres(ctx, localstack.PostgresOptions{})
		if err != nil {
			return nil, err
		}
		b.close, b.url = server.Stop, server.URL
		driver, name = "pgx", server.URL+"&search_path=bare"
	}
	var err error
	if b.db, err = sql.Open(driver, name); err != nil {
		return nil, err
	}
	b.db.SetMaxOpenConns(1)
	stop := b.close
	b.close = func() { _ = b.db.Close(); stop() }
	if err := b.createTables(ctx, store); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

// createTables makes the gateway's own tables.
func (b *bare) createTables(ctx context.Context, store string) error {
	dir, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", "github.com/sojourn-dev/sojourn/cmd/gateway/internal/"+store).Output()
	if err != nil {
		return fmt.Errorf("looking for the gateway's schema: %w", err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "schema", "*.sql"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("the gateway has no schema (error %w)", err)
	}
	statements := ""
	if store == "postgres" {
		statements = "CREATE SCHEMA bare;\n" // beside the gateway's tables
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		statements += string(text)
	}
	_, err = b.db.ExecContext(ctx, statements)
	return err
}

const bareColumns = `namespace, id, touchpoint, instrument, score, comment, answered_at, received_at, segment, channel, subject, submission`

// measure returns how many rows a second go in, some in each transaction.
func (b *bare) measure(ctx context.Context, batch int, duration time.Duration) (float64, error) {
	insert := b.insertSQLite
	if b.url != "" {
		insert = b.insertPostgres
	}
	began := time.Now()
	rows := 0
	for time.Since(began) < duration {
		if err := insert(ctx, batch, began); err != nil {
			return 0, err
		}
		rows += batch
	}
	return float64(rows) / time.Since(began).Seconds(), nil
}

// id is as long as those of the clients.
func (b *bare) id() string {
	b.number++
	return fmt.Sprintf("%x-%d-%d", b.run, b.number/1000%256, b.number)
}

func (b *bare) insertSQLite(ctx context.Context, batch int, received time.Time) error {
	transaction, err := b.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = transaction.Rollback() }() // after a commit it does nothing
	size := min(batch, bareRows)
	const row = `(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	statement, err := transaction.PrepareContext(ctx, `INSERT INTO responses (`+bareColumns+`) VALUES `+strings.Repeat(row+", ", size-1)+row)
	if err != nil {
		return err
	}
	arguments := make([]any, 0, 12*size)
	for range batch / size {
		arguments = arguments[:0]
		for range size {
			arguments = append(arguments, namespace, b.id(), "checkout", "ces", b.number%7+1, "", nil, received.UnixMilli(), "", "", "", "")
		}
		if _, err := statement.ExecContext(ctx, arguments...); err != nil {
			return err
		}
	}
	return transaction.Commit()
}

// insertPostgres sends one statement for all, columns in which all are the same as one
// value. COPY is not quicker, and knows no conflicts.
func (b *bare) insertPostgres(ctx context.Context, batch int, received time.Time) error {
	ids, scores := make([]string, batch), make([]int16, batch)
	for i := range batch {
		ids[i], scores[i] = b.id(), int16(b.number%7+1)
	}
	_, err := b.db.ExecContext(ctx, `INSERT INTO responses (`+bareColumns+`, loss)
		SELECT $3, id, 'checkout', 'ces', score, '', NULL, $4, '', '', '', '', (7 - score) / 6.0 FROM unnest($1::text[], $2::smallint[]) AS i(id, score)`,
		ids, scores, namespace, received.UnixMilli())
	return err
}
