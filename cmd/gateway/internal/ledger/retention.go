package ledger

import (
	"context"
	"errors"
	"time"
)

// retentionInterval is how often old responses are looked for. Promises are in days.
const retentionInterval = time.Hour

// Keep tells for how long a touchpoint's responses are kept; false: for ever.
type Keep func(namespace, touchpoint string) (time.Duration, bool)

// Retain erases, at once and then every hour until ctx ends, the responses that are
// older than their touchpoint keeps them. Those of touchpoints that do not exist stay:
// nobody says for how long, and a touchpoint may come back.
func (l *Ledger) Retain(ctx context.Context, keep Keep, now func() time.Time) {
	ticker := time.NewTicker(retentionInterval)
	defer ticker.Stop()
	for {
		if erased, err := l.retain(ctx, keep, now()); err != nil && ctx.Err() == nil && !errors.Is(err, ErrClosed) {
			l.options.Log.Error("old responses could not be erased; trying again in an hour", "error", err)
		} else if erased > 0 {
			l.options.Log.Info("old responses were erased", "responses", erased)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// retain walks over all records once, in the order of their arrival, reading beside
// those who write: an index by time would cost every response something.
func (l *Ledger) retain(ctx context.Context, keep Keep, now time.Time) (erased int, err error) {
	const page = 2000
	after := int64(0)
	for {
		records, err := l.store.Records(ctx, Choice{Until: now.Add(-24 * time.Hour)}, after, page)
		if err != nil || len(records) == 0 {
			return erased, err
		}
		var old []int64
		for i := range records {
			r := &records[i]
			if time, bounded := keep(r.Namespace, r.Touchpoint); bounded && now.Sub(r.Received) > time {
				old = append(old, r.Number)
			}
		}
		if len(old) > 0 {
			more, err := l.Erase(ctx, Choice{Numbers: old})
			erased += more
			if err != nil {
				return erased, err
			}
		}
		after = records[len(records)-1].Number
	}
}
