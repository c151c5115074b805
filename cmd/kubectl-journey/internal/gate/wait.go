package gate

import (
	"context"
	"time"
)

// Patience says how long to look.
type Patience struct {
	// For is how long a release must be allowed without a break; 0: at one moment.
	For time.Duration
	// Timeout is how long to wait for that, all in all; 0: what does not allow a release ends
	// the wait at once.
	Timeout time.Duration
}

// Progress is how a wait stands.
type Progress struct {
	Verdict Verdict
	// Held is for how long the release has been allowed without a break.
	Held time.Duration
}

// Wait looks whenever something has changed until the verdict is final. Held is for how long
// it has been what it is; late tells that the time was up before. look(true) must ask anew,
// not remember. An error is one of looking.
func (p Patience) Wait(ctx context.Context, changes <-chan struct{}, look func(ctx context.Context, anew bool) (Verdict, error), told func(Progress)) (verdict Verdict, held time.Duration, late bool, err error) {
	begin := time.Now()
	var since time.Time // it has been allowed; zero: it is not
	for anew := true; ; anew = false {
		verdict, err := look(ctx, anew)
		now := time.Now()
		if whole := p.For == 0 || !since.IsZero() && now.Sub(since) >= p.For; err == nil && whole && !anew && verdict.Allowed() {
			// What a watch has not told yet must not let anything pass.
			verdict, err = look(ctx, true)
		}
		if err != nil {
			return verdict, 0, false, err
		}
		held := time.Duration(0)
		switch {
		case !verdict.Allowed():
			since = time.Time{}
			if p.Timeout == 0 {
				return verdict, 0, false, nil
			}
		case since.IsZero():
			since = now
		default:
			held = now.Sub(since)
		}
		if !since.IsZero() && held >= p.For {
			return verdict, held, false, nil
		}
		if p.Timeout > 0 && now.Sub(begin) >= p.Timeout {
			return verdict, held, true, nil
		}
		told(Progress{verdict, held})
		next := time.Duration(1<<63 - 1)
		if !since.IsZero() {
			next = p.For - held
		}
		if p.Timeout > 0 {
			next = min(next, p.Timeout-now.Sub(begin))
		}
		timer := time.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return verdict, held, false, context.Cause(ctx)
		case <-changes:
		case <-timer.C:
		}
		timer.Stop()
	}
}
