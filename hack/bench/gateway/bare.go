package main

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // registers the driver pgx
	_ "modernc.org/sqlite"             // registers the driver sqlite

	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// bareBatch is how many rows a bare transaction inserts: as many as the gateway's
// largest.
const bareBatch = 2000

// bare inserts rows as the gateway's are, with the same unique id and the same
// durability, and does nothing else: no counters, no duplicates looked for, no HTTP.
type bare struct {
	db *sql.DB
	// url of the database that a gateway may use beside; empty for SQLite.
	url    string
	insert string
	number int
	close  func()
}

func openBare(ctx context.Context, folder, store string) (*bare, error) {
	b := &bare{close: func() {}}
	driver, name, schema := "sqlite", "file:"+filepath.Join(folder, "bare.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)", "INTEGER PRIMARY KEY"
	b.insert = `INSERT INTO bare (namespace, id, touchpoint, instrument, score, comment, answered_at, received_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`
	if store == "postgres" {
		server, err := localstack.StartPostgres(ctx, localstack.PostgresOptions{})
		if err != nil {
			return nil, err
		}
		b.close, b.url = server.Stop, server.URL
		driver, name, schema = "pgx", server.URL, "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
		b.insert = `INSERT INTO bare (namespace, id, touchpoint, instrument, score, comment, answered_at, received_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`
	}
	var err error
	if b.db, err = sql.Open(driver, name); err != nil {
		return nil, err
	}
	b.db.SetMaxOpenConns(1)
	stop := b.close
	b.close = func() { _ = b.db.Close(); stop() }
	_, err = b.db.ExecContext(ctx, `CREATE TABLE bare (seq `+schema+`, namespace TEXT NOT NULL, id TEXT NOT NULL, touchpoint TEXT NOT NULL,
		instrument TEXT NOT NULL, score INTEGER NOT NULL, comment TEXT NOT NULL, answered_at BIGINT, received_at BIGINT NOT NULL, UNIQUE (namespace, id))`)
	return b, err
}

// measure returns how many rows a second go in, some in each transaction.
func (b *bare) measure(ctx context.Context, batch int, duration time.Duration) (float64, error) {
	began := time.Now()
	rows := 0
	for time.Since(began) < duration {
		if b.url != "" && batch > 1 {
			// Row by row a network would be measured. One statement for all is the quickest
			// that a client of PostgreSQL can do short of COPY, which knows no conflicts.
			if err := b.insertAtOnce(ctx, batch, began); err != nil {
				return 0, err
			}
			rows += batch
			continue
		}
		transaction, err := b.db.BeginTx(ctx, nil)
		if err != nil {
			return 0, err
		}
		statement, err := transaction.PrepareContext(ctx, b.insert)
		if err != nil {
			return 0, err
		}
		for range batch {
			b.number++
			if _, err := statement.ExecContext(ctx, "bench", fmt.Sprint("response-", b.number), "checkout", "ces", b.number%7+1, "", nil, began.UnixMilli()); err != nil {
				return 0, err
			}
		}
		if err := transaction.Commit(); err != nil {
			return 0, err
		}
		rows += batch
	}
	return float64(rows) / time.Since(began).Seconds(), nil
}

func (b *bare) insertAtOnce(ctx context.Context, batch int, received time.Time) error {
	ids, scores := make([]string, batch), make([]int32, batch)
	for i := range batch {
		b.number++
		ids[i], scores[i] = fmt.Sprint("response-", b.number), int32(b.number%7+1)
	}
	_, err := b.db.ExecContext(ctx, `INSERT INTO bare (namespace, id, touchpoint, instrument, score, comment, answered_at, received_at)
		SELECT 'bench', id, 'checkout', 'ces', score, '', NULL, $3 FROM unnest($1::text[], $2::integer[]) AS i(id, score)`, ids, scores, received.UnixMilli())
	return err
}
