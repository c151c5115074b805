package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/sojourn-dev/sojourn/cmd/gateway/internal/ledger"
)

// insertNew stores responses that are all new, which nearly all transactions are, and
// counts them. Where one of them is known it stores none, and returns no totals. Looking
// each id up and reporting each back would cost the database twice the time.
func (s *Store) insertNew(ctx context.Context, incoming []*ledger.Response) (map[ledger.Series]ledger.Count, error) {
	statement, arguments := insertAll(incoming)
	results := s.send(ctx, statement, arguments)
	totals, err := readCounted(results)
	err = errors.Join(err, results.Close())
	if failure, ok := errors.AsType[*pgconn.PgError](err); ok && failure.Code == uniqueViolation {
		return nil, nil
	}
	return totals, err
}

// uniqueViolation is PostgreSQL's word for an id that exists.
const uniqueViolation = "23505"

// insertAll writes the statement that stores all responses and counts them, or, where
// one of them was erased, does nothing. Columns in which all are the same, as most are,
// go as one value instead of an array.
func insertAll(incoming []*ledger.Response) (statement string, arguments []any) {
	argument := func(value any, kind string) string {
		arguments = append(arguments, value)
		return fmt.Sprintf("$%d::%s", len(arguments), kind)
	}
	var names, selected, arrays, aliases []string
	for _, column := range columnsOf(incoming) {
		names = append(names, column.name)
		if column.same && column.name != "id" {
			selected = append(selected, argument(column.first, column.kind))
			continue
		}
		selected, aliases = append(selected, column.name), append(aliases, column.name)
		arrays = append(arrays, argument(column.values, column.kind+"[]"))
	}
	counters := []string{}
	for _, column := range countersOf(incoming) {
		counters = append(counters, argument(column.values, column.kind+"[]"))
	}
	// Counters come last, as everywhere: asking how many were stored has all stored before.
	return fmt.Sprintf(`WITH known AS MATERIALIZED (
		SELECT EXISTS (SELECT FROM erased) AND EXISTS (SELECT FROM erased WHERE key = ANY (%s)) AS erased
	), stored AS (
		INSERT INTO responses (%s) SELECT %s FROM unnest(%s) AS i(%s)
		WHERE NOT (SELECT erased FROM known)
		RETURNING true
	)
	INSERT INTO counters AS c (namespace, touchpoint, instrument, segment, score, total, comments)
	SELECT * FROM unnest(%s)
	WHERE (SELECT count(*) FROM stored) > 0
	ON CONFLICT (namespace, touchpoint, instrument, segment, score) DO UPDATE SET total = c.total + excluded.total, comments = c.comments + excluded.comments
	RETURNING namespace, touchpoint, instrument, segment, score, total, comments`,
		argument(eraseKeys(incoming), "bytea[]"), strings.Join(names, ", "), strings.Join(selected, ", "),
		strings.Join(arrays, ", "), strings.Join(aliases, ", "), strings.Join(counters, ", ")), arguments
}

func readCounted(results pgx.BatchResults) (map[ledger.Series]ledger.Count, error) {
	if _, err := results.Exec(); err != nil { // the lock
		return nil, err
	}
	rows, err := results.Query()
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var totals map[ledger.Series]ledger.Count
	for rows.Next() {
		var series ledger.Series
		var total ledger.Count
		if err := rows.Scan(&series.Namespace, &series.Touchpoint, &series.Instrument, &series.Segment, &series.Score, &total.Responses, &total.Comments); err != nil {
			return nil, err
		}
		if totals == nil {
			totals = map[ledger.Series]ledger.Count{}
		}
		totals[series] = total
	}
	return totals, rows.Err()
}

// arrange puts responses into the order in which every gateway stores them, so that two
// with the same ids never wait for each other.
func arrange(responses []ledger.Response) []*ledger.Response {
	arranged := make([]*ledger.Response, len(responses))
	for i := range responses {
		arranged[i] = &responses[i]
	}
	slices.SortStableFunc(arranged, func(a, b *ledger.Response) int {
		if byNamespace := strings.Compare(a.Namespace, b.Namespace); byNamespace != 0 {
			return byNamespace
		}
		return strings.Compare(a.ID, b.ID)
	})
	return arranged
}

// column is one column of some rows.
type column struct {
	name, kind string
	values     any // a slice
	// same tells that all values are equal to first.
	same  bool
	first any
}

func columnOf[V comparable, R any](name, kind string, rows []R, value func(R) V) column {
	values := make([]V, len(rows))
	same := true
	for i, row := range rows {
		values[i] = value(row)
		same = same && values[i] == values[0]
	}
	return column{name: name, kind: kind, values: values, same: same, first: values[0]}
}

// columnsOf returns the columns of the table responses.
func columnsOf(incoming []*ledger.Response) []column {
	text := func(name string, value func(*ledger.Response) string) column {
		return columnOf(name, "text", incoming, value)
	}
	return []column{
		text("namespace", func(r *ledger.Response) string { return r.Namespace }),
		text("id", func(r *ledger.Response) string { return r.ID }),
		text("touchpoint", func(r *ledger.Response) string { return r.Touchpoint }),
		text("instrument", func(r *ledger.Response) string { return r.Instrument }),
		columnOf("score", "smallint", incoming, func(r *ledger.Response) int16 { return int16(r.Score) }),
		text("comment", func(r *ledger.Response) string { return r.Comment }),
		columnOf("answered_at", "bigint", incoming, func(r *ledger.Response) pgtype.Int8 {
			return pgtype.Int8{Int64: r.Answered.UnixMilli(), Valid: !r.Answered.IsZero()}
		}),
		columnOf("received_at", "bigint", incoming, func(r *ledger.Response) int64 { return r.Received.UnixMilli() }),
		text("segment", func(r *ledger.Response) string { return r.Segment }),
		text("channel", func(r *ledger.Response) string { return r.Channel }),
		text("subject", func(r *ledger.Response) string { return r.Subject }),
		text("submission", func(r *ledger.Response) string { return r.Submission }),
		columnOf("loss", "real", incoming, func(r *ledger.Response) float32 { return float32(ledger.Loss(r.Instrument, r.Score)) }),
	}
}

// countersOf returns the columns of the counters that responses raise, in the order in
// which every gateway takes them.
func countersOf(incoming []*ledger.Response) []column {
	more := map[ledger.Series]ledger.Count{}
	for _, r := range incoming {
		r.CountIn(more)
	}
	counters := slices.SortedFunc(maps.Keys(more), func(a, b ledger.Series) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Touchpoint, b.Touchpoint),
			strings.Compare(a.Instrument, b.Instrument), strings.Compare(a.Segment, b.Segment), a.Score-b.Score)
	})
	return []column{
		columnOf("namespace", "text", counters, func(s ledger.Series) string { return s.Namespace }),
		columnOf("touchpoint", "text", counters, func(s ledger.Series) string { return s.Touchpoint }),
		columnOf("instrument", "text", counters, func(s ledger.Series) string { return s.Instrument }),
		columnOf("segment", "text", counters, func(s ledger.Series) string { return s.Segment }),
		columnOf("score", "smallint", counters, func(s ledger.Series) int16 { return int16(s.Score) }),
		columnOf("total", "bigint", counters, func(s ledger.Series) int64 { return int64(more[s].Responses) }),
		columnOf("comments", "bigint", counters, func(s ledger.Series) int64 { return int64(more[s].Comments) }),
	}
}

func eraseKeys(incoming []*ledger.Response) [][]byte {
	keys := make([][]byte, len(incoming))
	for i, r := range incoming {
		keys[i] = ledger.EraseKey(r.Namespace, r.ID)
	}
	return keys
}
