package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// pages asks the pages' server again and again, and notes when nobody answers.
type pages struct {
	mu       sync.Mutex
	answered time.Time
	longest  time.Duration // without an answer
	failure  error         // the last one
}

func startPages(ctx context.Context, t *test) *pages {
	p := &pages{answered: time.Now()}
	go func() {
		for ; ctx.Err() == nil; time.Sleep(500 * time.Millisecond) {
			// It does not know us, and says so.
			status, err := t.ask(ctx, http.MethodGet, uiURL+"/", "")
			if err == nil && status != http.StatusUnauthorized {
				err = fmt.Errorf("the pages' server answered %d", status)
			}
			p.note(err, time.Now())
		}
	}()
	return p
}

func (p *pages) note(err error, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.longest = max(p.longest, now.Sub(p.answered))
	if err != nil {
		p.failure = err
		return
	}
	p.answered = now
}

func (p *pages) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.longest, p.failure = 0, nil
}

// mostSilence is how long the pages may be away: whoever loads one again sees it.
const mostSilence = 5 * time.Second

// steady is an error if, since the last reset, nobody answered for too long.
func (p *pages) steady() (string, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	silent := max(p.longest, time.Since(p.answered)).Round(time.Second / 10)
	if silent > mostSilence {
		return "", errors.Join(fmt.Errorf("nobody showed pages for %s", silent), p.failure)
	}
	return fmt.Sprintf("or %s between two pages", silent), nil
}
