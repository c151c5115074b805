// Package postgres is the gateway's store for several gateways at once: one
// PostgreSQL database that all of them write to.
package postgres

import (
	"cmp"
	"context"
	"embed"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/ledger"
)

//go:embed schema/*.sql
var schema embed.FS

// transactionTime is how long one transaction may take. A database that needs longer
// is not there for those who wait.
const transactionTime = 15 * time.Second

// lock is what two transactions hold: Add shares it, Erase has it alone. Without it an
// id could be looked for among the erased, erased, and then stored anew. Migrations
// have it alone as well. The number only has to differ from other programs'.
const lock = 0x736f6a6f75726e

// Store keeps responses and counters in a PostgreSQL database.
type Store struct {
	pool *pgxpool.Pool // of the goroutines that write
	// readers is apart: long exports must not keep responses waiting.
	readers *pgxpool.Pool
	name    string // of this gateway, among those that check
	// careful is how many of the next transactions do not try their luck.
	careful atomic.Int32
}

var _ ledger.Store = (*Store)(nil)

// ErrAway says that the database cannot be used now, and may be later.
var ErrAway = errors.New("the database cannot be reached or takes no writes")

// away tells whether an error may pass without anybody changing the gateway: the server
// is gone, starting, full of connections or a standby, or does not let the user in yet.
func away(err error) bool {
	if _, unconnected := errors.AsType[*pgconn.ConnectError](err); unconnected || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	failure, answered := errors.AsType[*pgconn.PgError](err)
	if !answered {
		return false
	}
	const readOnly = "25006"
	class := failure.Code[:min(2, len(failure.Code))]
	return failure.Code == readOnly || class == "08" || class == "53" || class == "57"
}

// Open connects to the database at url and brings its schema up to date. The error is
// ErrAway where it is worth another try. No error shows the password.
func Open(ctx context.Context, url string) (*Store, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		// pgx's own text shows the URL; what stands there may hold a password.
		return nil, errors.New("the database's URL cannot be read: write postgres://user:password@host:5432/database?sslmode=verify-full")
	}
	// Without it the server's default could let commits be lost in a power cut.
	if _, set := config.ConnConfig.RuntimeParams["synchronous_commit"]; !set {
		config.ConnConfig.RuntimeParams["synchronous_commit"] = "on"
	}
	config.ConnConfig.RuntimeParams["application_name"] = cmp.Or(config.ConnConfig.RuntimeParams["application_name"], "sojourn-gateway")
	config.ConnConfig.ConnectTimeout = cmp.Or(config.ConnConfig.ConnectTimeout, 5*time.Second)
	config.MaxConns = 2
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("preparing the database: %w", err)
	}
	reading := config.Copy()
	reading.MaxConns = 4
	readers, err := pgxpool.NewWithConfig(ctx, reading)
	if err != nil {
		pool.Close()
		return nil, fmt.Errorf("preparing the database: %w", err)
	}
	name, err := os.Hostname()
	if err != nil {
		name = "unknown"
	}
	s := &Store{pool: pool, readers: readers, name: fmt.Sprintf("%s/%d", name, os.Getpid())}
	where := fmt.Sprintf("database %s on %s", config.ConnConfig.Database, config.ConnConfig.Host)
	if err := s.migrate(ctx); err != nil {
		_ = s.Close()
		if away(err) {
			err = fmt.Errorf("%w: %w", ErrAway, err)
		}
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	return s, nil
}

// IsURL tells whether a --database is one for Open.
func IsURL(database string) bool {
	parsed, err := url.Parse(database)
	return strings.HasPrefix(database, "postgres") && strings.Contains(database, "://") &&
		(err != nil || parsed.Scheme == "postgres" || parsed.Scheme == "postgresql")
}

// migrate brings the database to the present schema. Gateways that start together wait
// for one another.
func (s *Store) migrate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", lock); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "CREATE TABLE IF NOT EXISTS schema_version (one boolean PRIMARY KEY DEFAULT true CHECK (one), version integer NOT NULL)"); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "INSERT INTO schema_version (version) VALUES (0) ON CONFLICT DO NOTHING"); err != nil {
			return err
		}
		var version int
		if err := tx.QueryRow(ctx, "SELECT version FROM schema_version").Scan(&version); err != nil {
			return err
		}
		return ledger.Migrate(schema, version, func(statements string, version int) error {
			if _, err := tx.Exec(ctx, statements); err != nil {
				return err
			}
			_, err := tx.Exec(ctx, "UPDATE schema_version SET version = $1", version)
			return err
		})
	})
}

const (
	columns = `namespace, id, touchpoint, instrument, score, comment, answered_at, received_at, segment, channel, subject, submission`

	// insert stores what is new and counts it, all in one statement. Rows and counters are
	// taken in one order by every gateway, so that two never wait for each other. An id
	// that comes twice is stored once.
	insert = `WITH incoming AS (
		SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::smallint[], $6::text[], $7::bigint[], $8::bigint[],
			$9::text[], $10::text[], $11::text[], $12::text[], $13::real[], $14::bytea[])
		WITH ORDINALITY AS i(namespace, id, touchpoint, instrument, score, comment, answered_at, received_at, segment, channel, subject, submission, loss, key, place)
	), stored AS (
		INSERT INTO responses (` + columns + `, loss)
		SELECT ` + columns + `, loss FROM incoming
		WHERE NOT EXISTS (SELECT 1 FROM erased WHERE erased.key = incoming.key)
		ORDER BY place
		ON CONFLICT (namespace, id) DO NOTHING
		RETURNING namespace, id, touchpoint, instrument, segment, score, comment
	), counted AS (
		INSERT INTO counters AS c (namespace, touchpoint, instrument, segment, score, total, comments)
		SELECT namespace, touchpoint, instrument, part, score, count(*), count(*) FILTER (WHERE comment <> '')
		FROM stored, LATERAL (SELECT '' AS part UNION SELECT segment) AS parts
		GROUP BY 1, 2, 3, 4, 5 ORDER BY namespace COLLATE "C", touchpoint COLLATE "C", instrument COLLATE "C", part COLLATE "C", score
		ON CONFLICT (namespace, touchpoint, instrument, segment, score) DO UPDATE SET total = c.total + excluded.total, comments = c.comments + excluded.comments
		RETURNING namespace, touchpoint, instrument, segment, score, total, comments
	)
	SELECT true, namespace, id, '', '', 0::smallint, 0::bigint, 0::bigint FROM stored
	UNION ALL SELECT false, namespace, touchpoint, instrument, segment, score, total, comments FROM counted`

	selectStored = `SELECT r.namespace, r.id, r.touchpoint, r.instrument, r.score, r.comment, r.answered_at
		FROM responses r JOIN unnest($1::text[], $2::text[]) AS i(namespace, id) USING (namespace, id)`
)

// carefulTransactions is how many transactions look for duplicates after one had some.
const carefulTransactions = 100

// key tells responses apart.
type key struct{ namespace, id string }

// Add implements ledger.Store.
func (s *Store) Add(ctx context.Context, responses []ledger.Response) ([]ledger.Outcome, map[ledger.Series]ledger.Count, error) {
	ctx, cancel := context.WithTimeout(ctx, transactionTime)
	defer cancel()
	outcomes := make([]ledger.Outcome, len(responses))
	incoming := arrange(responses)
	if s.careful.Load() > 0 {
		s.careful.Add(-1)
	} else {
		if totals, err := s.insertNew(ctx, incoming); err != nil || totals != nil {
			return outcomes, totals, err
		}
		// Who sends again seldom does it once.
		s.careful.Store(carefulTransactions)
	}
	stored, totals, err := s.insert(ctx, incoming)
	if err != nil {
		return nil, nil, err
	}
	var known []int // the places of those that were not stored
	for i := range responses {
		if at := (key{responses[i].Namespace, responses[i].ID}); stored[at] {
			delete(stored, at) // the first of an id was taken
		} else {
			outcomes[i] = ledger.Duplicate
			known = append(known, i)
		}
	}
	if known == nil {
		return outcomes, totals, nil
	}
	// The commit has taken effect; what follows only finds the right word for those
	// that were known.
	before, err := s.stored(ctx, responses, known)
	if err != nil {
		return nil, nil, err
	}
	for _, i := range known {
		r := &responses[i]
		if first, exists := before[key{r.Namespace, r.ID}]; exists && !first.Same(r) {
			outcomes[i] = ledger.Conflict
		}
	}
	return outcomes, totals, nil
}

// insert stores those responses that are new.
func (s *Store) insert(ctx context.Context, incoming []*ledger.Response) (map[key]bool, map[ledger.Series]ledger.Count, error) {
	arguments := []any{}
	for _, column := range columnsOf(incoming) {
		arguments = append(arguments, column.values)
	}
	results := s.send(ctx, insert, append(arguments, eraseKeys(incoming)))
	stored, totals, err := readInserted(results, len(incoming))
	// The commit is behind the last result: only now its error would show.
	return stored, totals, errors.Join(err, results.Close())
}

// send has a statement run in a transaction of its own, by one way to the database and
// back. The lock comes first: what the statement sees must be what is there once it has it.
func (s *Store) send(ctx context.Context, statement string, arguments []any) pgx.BatchResults {
	batch := &pgx.Batch{}
	batch.Queue("SELECT pg_advisory_xact_lock_shared($1)", lock)
	batch.Queue(statement, arguments...)
	return s.pool.SendBatch(ctx, batch)
}

func readInserted(results pgx.BatchResults, size int) (map[key]bool, map[ledger.Series]ledger.Count, error) {
	if _, err := results.Exec(); err != nil {
		return nil, nil, err
	}
	rows, err := results.Query()
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	stored, totals := make(map[key]bool, size), map[ledger.Series]ledger.Count{}
	for rows.Next() {
		var isStored bool
		var namespace, second, instrument, segment string
		var score int
		var total ledger.Count
		if err := rows.Scan(&isStored, &namespace, &second, &instrument, &segment, &score, &total.Responses, &total.Comments); err != nil {
			return nil, nil, err
		}
		if isStored {
			stored[key{namespace, second}] = true
			continue
		}
		question := ledger.Question{Namespace: namespace, Touchpoint: second, Instrument: instrument}
		totals[ledger.Series{Question: question, Segment: segment, Score: score}] = total
	}
	return stored, totals, rows.Err()
}

// stored returns what is stored under the ids of some responses.
func (s *Store) stored(ctx context.Context, responses []ledger.Response, places []int) (map[key]ledger.Response, error) {
	namespaces, ids := make([]string, len(places)), make([]string, len(places))
	for n, i := range places {
		namespaces[n], ids[n] = responses[i].Namespace, responses[i].ID
	}
	rows, err := s.pool.Query(ctx, selectStored, namespaces, ids)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := map[key]ledger.Response{}
	for rows.Next() {
		var r ledger.Response
		var answered *int64
		if err := rows.Scan(&r.Namespace, &r.ID, &r.Touchpoint, &r.Instrument, &r.Score, &r.Comment, &answered); err != nil {
			return nil, err
		}
		if answered != nil {
			r.Answered = time.UnixMilli(*answered)
		}
		found[key{r.Namespace, r.ID}] = r
	}
	return found, rows.Err()
}

// Totals implements ledger.Store.
func (s *Store) Totals(ctx context.Context) (map[ledger.Series]ledger.Count, error) {
	rows, err := s.readers.Query(ctx, "SELECT namespace, touchpoint, instrument, segment, score, total, comments FROM counters")
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

// Shared implements ledger.Store.
func (s *Store) Shared() bool { return true }

// CheckWritable implements ledger.Store.
func (s *Store) CheckWritable(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, transactionTime)
	defer cancel()
	_, err := s.pool.Exec(ctx, `INSERT INTO checks (gateway, checked_at) VALUES ($1, $2)
		ON CONFLICT (gateway) DO UPDATE SET checked_at = excluded.checked_at`, s.name, time.Now().UnixMilli())
	return err
}

// Erase implements ledger.Store.
func (s *Store) Erase(ctx context.Context, choice ledger.Choice, limit int) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, transactionTime)
	defer cancel()
	erased := 0
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock($1)", lock); err != nil {
			return err
		}
		query, arguments := selectRecords(choice, 0, limit)
		records, err := scan(tx.Query(ctx, query, arguments...))
		if err != nil || len(records) == 0 {
			return err
		}
		erased = len(records)
		numbers, keys := make([]int64, len(records)), make([][]byte, len(records))
		counted := map[ledger.Series]ledger.Count{}
		for i := range records {
			numbers[i], keys[i] = records[i].Number, ledger.EraseKey(records[i].Namespace, records[i].ID)
			records[i].CountIn(counted)
		}
		if _, err := tx.Exec(ctx, "INSERT INTO erased (key) SELECT unnest($1::bytea[]) ON CONFLICT DO NOTHING", keys); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "DELETE FROM responses WHERE seq = ANY($1)", numbers); err != nil {
			return err
		}
		for series, more := range counted {
			_, err := tx.Exec(ctx, `UPDATE counters SET erased = erased + $1
				WHERE namespace = $2 AND touchpoint = $3 AND instrument = $4 AND segment = $5 AND score = $6`,
				more.Responses, series.Namespace, series.Touchpoint, series.Instrument, series.Segment, series.Score)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("erasing responses: %w", err)
	}
	return erased, nil
}

// Records implements ledger.Store.
func (s *Store) Records(ctx context.Context, choice ledger.Choice, after int64, limit int) ([]ledger.Record, error) {
	query, arguments := selectRecords(choice, after, limit)
	return scan(s.readers.Query(ctx, query, arguments...))
}

const selectColumns = `SELECT seq, ` + columns + ` FROM responses`

// selectRecords writes the query for a choice.
func selectRecords(choice ledger.Choice, after int64, limit int) (string, []any) {
	var conditions []string
	var arguments []any
	where := func(condition string, value any) {
		arguments = append(arguments, value)
		conditions = append(conditions, strings.ReplaceAll(condition, "?", fmt.Sprintf("$%d", len(arguments))))
	}
	where("seq > ?", after)
	if choice.Namespace != "" {
		where("namespace = ?", choice.Namespace)
	}
	if choice.Touchpoint != "" {
		where("touchpoint = ?", choice.Touchpoint)
	}
	if choice.ID != "" {
		where("(id = ? OR submission = ? AND submission <> '')", choice.ID)
	}
	if choice.Subject != "" {
		where("subject = ? AND subject <> ''", choice.Subject)
	}
	if choice.Numbers != nil {
		where("seq = ANY(?)", choice.Numbers)
	}
	if !choice.Since.IsZero() {
		where("received_at >= ?", choice.Since.UnixMilli())
	}
	if !choice.Until.IsZero() {
		where("received_at < ?", choice.Until.UnixMilli())
	}
	arguments = append(arguments, limit)
	return fmt.Sprintf("%s WHERE %s ORDER BY seq LIMIT $%d", selectColumns, strings.Join(conditions, " AND "), len(arguments)), arguments
}

// Comments implements ledger.Store.
func (s *Store) Comments(ctx context.Context, namespace, touchpoint string, since time.Time, worst bool, limit int) ([]ledger.Record, error) {
	order := "seq DESC"
	if worst {
		order = "loss DESC, seq DESC"
	}
	return scan(s.readers.Query(ctx, selectColumns+` WHERE namespace = $1 AND touchpoint = $2 AND comment <> '' AND received_at >= $3
		ORDER BY `+order+` LIMIT $4`, namespace, touchpoint, since.UnixMilli(), limit))
}

func scan(rows pgx.Rows, err error) ([]ledger.Record, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var records []ledger.Record
	for rows.Next() {
		var r ledger.Record
		var answered *int64
		var received int64
		err := rows.Scan(&r.Number, &r.Namespace, &r.ID, &r.Touchpoint, &r.Instrument, &r.Score, &r.Comment, &answered, &received,
			&r.Segment, &r.Channel, &r.Subject, &r.Submission)
		if err != nil {
			return nil, err
		}
		if answered != nil {
			r.Answered = time.UnixMilli(*answered).UTC()
		}
		r.Received = time.UnixMilli(received).UTC()
		records = append(records, r)
	}
	return records, rows.Err()
}

// Close implements ledger.Store.
func (s *Store) Close() error {
	s.pool.Close()
	s.readers.Close()
	return nil
}
