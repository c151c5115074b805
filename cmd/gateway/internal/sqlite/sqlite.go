// Package sqlite is the gateway's default store: one SQLite database on a volume
// of its own, written by one gateway.
package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"

	_ "modernc.org/sqlite" // registers the driver

	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/ledger"
)

//go:embed schema/*.sql
var schema embed.FS

// Store keeps responses and counters in a SQLite database.
type Store struct {
	db *sql.DB
	// conn is the one connection that writes, with its statements prepared; nil
	// after a failure, until the next use opens it anew.
	conn       *sql.Conn
	statements map[string]*sql.Stmt
}

var _ ledger.Store = (*Store)(nil)

// Open opens the database at path, creates it if there is none, and brings its
// schema up to date. The folder must exist: creating it would hide a volume that
// was not mounted, and keep customers' answers on a disk that nobody saves.
func Open(ctx context.Context, path string) (*Store, error) {
	if err := prepareFile(path); err != nil {
		return nil, err
	}
	settings := url.Values{"_pragma": {
		"busy_timeout(5000)",
		"journal_mode(WAL)",
		// FULL waits for the disk at every commit. NORMAL, the usual companion of WAL,
		// may lose the last commits when the power fails.
		"synchronous(FULL)",
		"foreign_keys(ON)",
		"journal_size_limit(67108864)",
	}, "_dqs": {"false"}, "_defensive": {"true"}}
	name := url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: settings.Encode()}
	db, err := sql.Open("sqlite", name.String())
	if err != nil {
		return nil, err
	}
	s := &Store{db: db}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("database %s: %w", path, err), db.Close())
	}
	return s, nil
}

// prepareFile creates the database with a mode that keeps others from reading
// what customers wrote; SQLite gives its journal files the same.
func prepareFile(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the folder %s does not exist: mount a volume there, create it, or name another place with --database", filepath.Dir(path))
	case err != nil:
		return fmt.Errorf("the database cannot be opened for writing: give the gateway's user the right to write to %s and its folder: %w", path, err)
	}
	return file.Close()
}

// migrate applies the files of schema/ that the database has not seen. The nth
// file leads to version n; a file that was released is never edited.
func (s *Store) migrate(ctx context.Context) error {
	files, err := fs.Glob(schema, "schema/*.sql")
	if err != nil {
		return err
	}
	return s.transaction(ctx, func(conn *sql.Conn) error {
		var version int
		if err := conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
			return err
		}
		if version > len(files) {
			return fmt.Errorf("its schema has version %d, and this gateway knows versions up to %d: run the newer gateway that wrote it", version, len(files))
		}
		for ; version < len(files); version++ {
			statements, err := schema.ReadFile(files[version])
			if err != nil {
				return err
			}
			if _, err := conn.ExecContext(ctx, string(statements)); err != nil {
				return fmt.Errorf("%s: %w", files[version], err)
			}
			if _, err := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", version+1)); err != nil {
				return err
			}
		}
		return nil
	})
}

const (
	insertResponse = `INSERT INTO responses (namespace, id, touchpoint, instrument, score, comment, answered_at, received_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (namespace, id) DO NOTHING`
	selectResponse = `SELECT touchpoint, instrument, score, comment, answered_at FROM responses WHERE namespace = ? AND id = ?`
	increase       = `INSERT INTO counters (namespace, touchpoint, instrument, score, total) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (namespace, touchpoint, instrument, score) DO UPDATE SET total = total + excluded.total RETURNING total`
)

// Add implements ledger.Store.
func (s *Store) Add(ctx context.Context, responses []ledger.Response) ([]ledger.Outcome, map[ledger.Series]uint64, error) {
	outcomes := make([]ledger.Outcome, len(responses))
	totals := map[ledger.Series]uint64{}
	err := s.transaction(ctx, func(*sql.Conn) (err error) {
		for i := range responses {
			if outcomes[i], err = s.insert(ctx, &responses[i]); err != nil {
				return err
			}
			if outcomes[i] == ledger.Accepted {
				totals[responses[i].Series]++
			}
		}
		for series, more := range totals {
			row, err := s.prepare(ctx, increase)
			if err != nil {
				return err
			}
			var total uint64
			if err := row.QueryRowContext(ctx, series.Namespace, series.Touchpoint, series.Instrument, series.Score, more).Scan(&total); err != nil {
				return err
			}
			totals[series] = total
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return outcomes, totals, nil
}

func (s *Store) insert(ctx context.Context, r *ledger.Response) (ledger.Outcome, error) {
	statement, err := s.prepare(ctx, insertResponse)
	if err != nil {
		return 0, err
	}
	answered := sql.NullInt64{Int64: r.Answered.UnixMilli(), Valid: !r.Answered.IsZero()}
	result, err := statement.ExecContext(ctx, r.Namespace, r.ID, r.Touchpoint, r.Instrument, r.Score, r.Comment, answered, r.Received.UnixMilli())
	if err != nil {
		return 0, err
	}
	if inserted, err := result.RowsAffected(); err != nil || inserted == 1 {
		return ledger.Accepted, err
	}
	return s.compare(ctx, r)
}

// compare tells whether the response stored under the id of r says the same.
func (s *Store) compare(ctx context.Context, r *ledger.Response) (ledger.Outcome, error) {
	statement, err := s.prepare(ctx, selectResponse)
	if err != nil {
		return 0, err
	}
	stored := ledger.Response{ID: r.ID}
	stored.Namespace = r.Namespace
	var answered sql.NullInt64
	err = statement.QueryRowContext(ctx, r.Namespace, r.ID).
		Scan(&stored.Touchpoint, &stored.Instrument, &stored.Score, &stored.Comment, &answered)
	if err != nil {
		return 0, err
	}
	if answered.Valid {
		stored.Answered = time.UnixMilli(answered.Int64)
	}
	if stored.Same(r) {
		return ledger.Duplicate, nil
	}
	return ledger.Conflict, nil
}

// Totals implements ledger.Store.
func (s *Store) Totals(ctx context.Context) (map[ledger.Series]uint64, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT namespace, touchpoint, instrument, score, total FROM counters")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	totals := map[ledger.Series]uint64{}
	for rows.Next() {
		var series ledger.Series
		var total uint64
		if err := rows.Scan(&series.Namespace, &series.Touchpoint, &series.Instrument, &series.Score, &total); err != nil {
			return nil, err
		}
		totals[series] = total
	}
	return totals, rows.Err()
}

// CheckWritable implements ledger.Store.
func (s *Store) CheckWritable(ctx context.Context) error {
	return s.transaction(ctx, func(conn *sql.Conn) error {
		_, err := conn.ExecContext(ctx, `INSERT INTO checks (one, checked_at) VALUES (1, ?)
			ON CONFLICT (one) DO UPDATE SET checked_at = excluded.checked_at`, time.Now().UnixMilli())
		return err
	})
}

// Close moves the write-ahead log into the database, so that a copy of the one
// file is complete, and closes it.
func (s *Store) Close() error {
	s.disconnect()
	_, checkpoint := s.db.Exec("PRAGMA wal_checkpoint(TRUNCATE)")
	return errors.Join(checkpoint, s.db.Close())
}

// transaction runs work in one transaction. After any failure the connection is
// thrown away: what state it is in is no longer worth finding out, and closing it
// rolls back.
func (s *Store) transaction(ctx context.Context, work func(*sql.Conn) error) error {
	if s.conn == nil {
		conn, err := s.db.Conn(ctx)
		if err != nil {
			return err
		}
		s.conn, s.statements = conn, map[string]*sql.Stmt{}
	}
	// IMMEDIATE takes the lock for writing now: a transaction that starts by reading
	// could fail when it comes to write.
	_, err := s.conn.ExecContext(ctx, "BEGIN IMMEDIATE")
	if err == nil {
		err = work(s.conn)
	}
	if err == nil {
		_, err = s.conn.ExecContext(ctx, "COMMIT")
	}
	if err != nil {
		s.disconnect()
	}
	return err
}

// disconnect closes the writing connection for good. Its statements come first: a
// connection outlives its closing, with its lock and its open transaction, as long
// as one of them is left.
func (s *Store) disconnect() {
	if s.conn == nil {
		return
	}
	for _, statement := range s.statements {
		_ = statement.Close()
	}
	_ = s.conn.Raw(func(any) error { return driver.ErrBadConn })
	s.conn, s.statements = nil, nil
}

// prepare returns a statement of the writing connection.
func (s *Store) prepare(ctx context.Context, query string) (*sql.Stmt, error) {
	if statement, prepared := s.statements[query]; prepared {
		return statement, nil
	}
	statement, err := s.conn.PrepareContext(ctx, query)
	if err == nil {
		s.statements[query] = statement
	}
	return statement, err
}
