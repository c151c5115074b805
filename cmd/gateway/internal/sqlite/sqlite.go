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
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

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
	// erased tells whether any response was ever erased: until then there are no
	// hashes to look up.
	erased bool
	// arguments is room for those of one statement.
	arguments []any
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
		// What was erased is overwritten, not only unlinked.
		"secure_delete(ON)",
		"cache_size(-16384)", // KiB
		"journal_size_limit(67108864)",
		"temp_store(MEMORY)", // what a statement needs to undo itself, a few pages
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
	if err := db.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM erased)").Scan(&s.erased); err != nil {
		return nil, errors.Join(fmt.Errorf("database %s: %w", path, err), s.Close())
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

// migrate brings the database to the present schema.
func (s *Store) migrate(ctx context.Context) error {
	return s.transaction(ctx, func(conn *sql.Conn) error {
		var version int
		if err := conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
			return err
		}
		return ledger.Migrate(schema, version, func(statements string, version int) error {
			if _, err := conn.ExecContext(ctx, statements); err != nil {
				return err
			}
			_, err := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d", version))
			return err
		})
	})
}

const (
	columns        = `namespace, id, touchpoint, instrument, score, comment, answered_at, received_at, segment, channel, subject, submission`
	placeholders   = `(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	insertOne      = `INSERT INTO responses (` + columns + `) VALUES ` + placeholders + ` ON CONFLICT (namespace, id) DO NOTHING`
	selectResponse = `SELECT touchpoint, instrument, score, comment, answered_at FROM responses WHERE namespace = ? AND id = ?`
	selectErased   = `SELECT count(*) FROM erased WHERE key = ?`
	increase       = `INSERT INTO counters (namespace, touchpoint, instrument, segment, score, total, comments) VALUES (?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (namespace, touchpoint, instrument, segment, score) DO UPDATE SET total = total + excluded.total, comments = comments + excluded.comments
		RETURNING total, comments`
)

// rows is how many responses one statement inserts. Most of what a row costs is
// stepping in and out of SQLite.
const rows = 32

// insertRows stores all its rows or, where one of them has an id that exists, none.
var insertRows = `INSERT INTO responses (` + columns + `) VALUES ` + strings.Repeat(placeholders+", ", rows-1) + placeholders

var selectAnyErased = `SELECT EXISTS (SELECT 1 FROM erased WHERE key IN (` + strings.Repeat("?, ", rows-1) + `?))`

// Add implements ledger.Store.
func (s *Store) Add(ctx context.Context, responses []ledger.Response) ([]ledger.Outcome, map[ledger.Series]ledger.Count, error) {
	outcomes := make([]ledger.Outcome, len(responses))
	totals := map[ledger.Series]ledger.Count{}
	err := s.transaction(ctx, func(*sql.Conn) (err error) {
		for first := 0; first < len(responses); first += rows {
			last := min(first+rows, len(responses))
			if err := s.insert(ctx, responses[first:last], outcomes[first:last]); err != nil {
				return err
			}
		}
		for i := range responses {
			if outcomes[i] == ledger.Accepted {
				responses[i].CountIn(totals)
			}
		}
		for series, more := range totals {
			row, err := s.prepare(ctx, increase)
			if err != nil {
				return err
			}
			var total ledger.Count
			err = row.QueryRowContext(ctx, series.Namespace, series.Touchpoint, series.Instrument, series.Segment, series.Score, more.Responses, more.Comments).
				Scan(&total.Responses, &total.Comments)
			if err != nil {
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

// insert stores a few responses: by one statement if there are enough of them and
// all are new, one by one if not.
func (s *Store) insert(ctx context.Context, responses []ledger.Response, outcomes []ledger.Outcome) error {
	known := len(responses) != rows
	if !known && s.erased {
		var err error
		if known, err = s.anyErased(ctx, responses); err != nil {
			return err
		}
	}
	if !known {
		statement, err := s.prepare(ctx, insertRows)
		if err != nil {
			return err
		}
		s.arguments = s.arguments[:0]
		for i := range responses {
			s.arguments = appendColumns(s.arguments, &responses[i])
		}
		_, err = statement.ExecContext(ctx, s.arguments...)
		clear(s.arguments)
		if err == nil || !isDuplicate(err) {
			return err // the outcomes are Accepted as they are
		}
	}
	for i := range responses {
		outcome, err := s.insertOne(ctx, &responses[i])
		if err != nil {
			return err
		}
		outcomes[i] = outcome
	}
	return nil
}

// anyErased tells whether one of some responses, of which there are rows, was erased.
func (s *Store) anyErased(ctx context.Context, responses []ledger.Response) (erased bool, err error) {
	statement, err := s.prepare(ctx, selectAnyErased)
	if err != nil {
		return false, err
	}
	s.arguments = s.arguments[:0]
	for i := range responses {
		s.arguments = append(s.arguments, ledger.EraseKey(responses[i].Namespace, responses[i].ID))
	}
	err = statement.QueryRowContext(ctx, s.arguments...).Scan(&erased)
	return erased, err
}

func appendColumns(arguments []any, r *ledger.Response) []any {
	var answered any
	if !r.Answered.IsZero() {
		answered = r.Answered.UnixMilli()
	}
	return append(arguments, r.Namespace, r.ID, r.Touchpoint, r.Instrument, r.Score, r.Comment, answered, r.Received.UnixMilli(),
		r.Segment, r.Channel, r.Subject, r.Submission)
}

// isDuplicate tells whether a statement met an id that exists.
func isDuplicate(err error) bool {
	failure, ok := errors.AsType[*sqlite.Error](err)
	return ok && failure.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE
}

func (s *Store) insertOne(ctx context.Context, r *ledger.Response) (ledger.Outcome, error) {
	if s.erased {
		statement, err := s.prepare(ctx, selectErased)
		if err != nil {
			return 0, err
		}
		var erased int
		if err := statement.QueryRowContext(ctx, ledger.EraseKey(r.Namespace, r.ID)).Scan(&erased); err != nil {
			return 0, err
		}
		if erased > 0 {
			return ledger.Duplicate, nil
		}
	}
	statement, err := s.prepare(ctx, insertOne)
	if err != nil {
		return 0, err
	}
	result, err := statement.ExecContext(ctx, appendColumns(nil, r)...)
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
func (s *Store) Totals(ctx context.Context) (map[ledger.Series]ledger.Count, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT namespace, touchpoint, instrument, segment, score, total, comments FROM counters")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	totals := map[ledger.Series]ledger.Count{}
	for rows.Next() {
		var series ledger.Series
		var total ledger.Count
		if err := rows.Scan(&series.Namespace, &series.Touchpoint, &series.Instrument, &series.Segment, &series.Score, &total.Responses, &total.Comments); err != nil {
			return nil, err
		}
		totals[series] = total
	}
	return totals, rows.Err()
}

// Shared implements ledger.Store: a SQLite database belongs to one gateway.
func (s *Store) Shared() bool { return false }

const (
	noteErased = `INSERT INTO erased (key) VALUES (?) ON CONFLICT (key) DO NOTHING`
	deleteOne  = `DELETE FROM responses WHERE seq = ?`
	countErase = `UPDATE counters SET erased = erased + ? WHERE namespace = ? AND touchpoint = ? AND instrument = ? AND segment = ? AND score = ?`
)

// Erase implements ledger.Store. secure_delete has SQLite overwrite what is deleted.
func (s *Store) Erase(ctx context.Context, choice ledger.Choice, limit int) (int, error) {
	var records []ledger.Record
	err := s.transaction(ctx, func(conn *sql.Conn) error {
		query, arguments := selectRecords(choice, 0, limit)
		var err error
		if records, err = scan(conn.QueryContext(ctx, query, arguments...)); err != nil || len(records) == 0 {
			return err
		}
		s.erased = true
		counted := map[ledger.Series]ledger.Count{}
		for i := range records {
			r := &records[i]
			if _, err := conn.ExecContext(ctx, noteErased, ledger.EraseKey(r.Namespace, r.ID)); err != nil {
				return err
			}
			if _, err := conn.ExecContext(ctx, deleteOne, r.Number); err != nil {
				return err
			}
			r.CountIn(counted)
		}
		for series, more := range counted {
			if _, err := conn.ExecContext(ctx, countErase, more.Responses, series.Namespace, series.Touchpoint, series.Instrument, series.Segment, series.Score); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("erasing responses: %w", err)
	}
	return len(records), nil
}

// Records implements ledger.Store.
func (s *Store) Records(ctx context.Context, choice ledger.Choice, after int64, limit int) ([]ledger.Record, error) {
	query, arguments := selectRecords(choice, after, limit)
	return scan(s.db.QueryContext(ctx, query, arguments...))
}

const selectColumns = `SELECT seq, ` + columns + ` FROM responses`

// selectRecords writes the query for a choice. Only conditions that are there go in:
// SQLite chooses an index by the text alone.
func selectRecords(choice ledger.Choice, after int64, limit int) (string, []any) {
	conditions, arguments := []string{"seq > ?"}, []any{after}
	where := func(condition string, values ...any) {
		conditions, arguments = append(conditions, condition), append(arguments, values...)
	}
	if choice.Namespace != "" {
		where("namespace = ?", choice.Namespace)
	}
	if choice.Touchpoint != "" {
		where("touchpoint = ?", choice.Touchpoint)
	}
	if choice.ID != "" {
		where("seq IN (SELECT seq FROM responses WHERE namespace = ? AND id = ? UNION SELECT seq FROM responses WHERE namespace = ? AND submission = ? AND submission <> '')",
			choice.Namespace, choice.ID, choice.Namespace, choice.ID)
	}
	if choice.Subject != "" {
		where("subject = ? AND subject <> ''", choice.Subject)
	}
	if choice.Numbers != nil {
		where("seq IN (" + strings.Trim(strings.Join(strings.Fields(fmt.Sprint(choice.Numbers)), ","), "[]") + ")")
	}
	if !choice.Since.IsZero() {
		where("received_at >= ?", choice.Since.UnixMilli())
	}
	if !choice.Until.IsZero() {
		where("received_at < ?", choice.Until.UnixMilli())
	}
	return selectColumns + " WHERE " + strings.Join(conditions, " AND ") + " ORDER BY seq LIMIT ?", append(arguments, limit)
}

// Comments implements ledger.Store.
func (s *Store) Comments(ctx context.Context, namespace, touchpoint string, since time.Time, worst bool, limit int) ([]ledger.Record, error) {
	order := "seq DESC"
	if worst {
		order = "loss(instrument, score) DESC, seq DESC"
	}
	return scan(s.db.QueryContext(ctx, selectColumns+` WHERE namespace = ? AND touchpoint = ? AND comment <> '' AND received_at >= ?
		ORDER BY `+order+` LIMIT ?`, namespace, touchpoint, since.UnixMilli(), limit))
}

// init gives SQL the one formula of ours that it needs.
func init() {
	sqlite.MustRegisterDeterministicScalarFunction("loss", 2, func(_ *sqlite.FunctionContext, arguments []driver.Value) (driver.Value, error) {
		instrument, _ := arguments[0].(string)
		score, _ := arguments[1].(int64)
		return ledger.Loss(instrument, int(score)), nil
	})
}

func scan(rows *sql.Rows, err error) ([]ledger.Record, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var records []ledger.Record
	for rows.Next() {
		var r ledger.Record
		var answered sql.NullInt64
		var received int64
		err := rows.Scan(&r.Number, &r.Namespace, &r.ID, &r.Touchpoint, &r.Instrument, &r.Score, &r.Comment, &answered, &received,
			&r.Segment, &r.Channel, &r.Subject, &r.Submission)
		if err != nil {
			return nil, err
		}
		if answered.Valid {
			r.Answered = time.UnixMilli(answered.Int64).UTC()
		}
		r.Received = time.UnixMilli(received).UTC()
		records = append(records, r)
	}
	return records, rows.Err()
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
