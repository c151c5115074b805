// Package scrape remembers who reads our series, so that a counter is moved only
// after it was seen at rest, and hidden only after its last value was seen.
package scrape

import (
	"sync"
	"time"
)

// Log remembers the last two scrapes of each reader. Two Prometheus servers that
// scrape in turn are two readers: what one has seen says nothing about the other.
type Log struct {
	mu      sync.Mutex
	readers map[string]reader
}

type reader struct{ before, last time.Time }

// New returns a log without readers.
func New() *Log { return &Log{readers: map[string]reader{}} }

// Note remembers a scrape that has been answered, and when it began: what came to
// be only after that, it may have missed.
func (l *Log) Note(from string, began time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.readers[from] = reader{before: l.readers[from].last, last: began}
	for name, r := range l.readers {
		if !r.active(began) {
			delete(l.readers, name)
		}
	}
}

// active tells whether a reader will probably come again. One that came once, such
// as a curious person, is given as long as the longest scrape interval.
func (r reader) active(now time.Time) bool {
	interval := 2 * time.Minute
	if !r.before.IsZero() {
		interval = r.last.Sub(r.before)
	}
	return now.Sub(r.last) <= 2*interval+time.Second
}

// Regular tells whether somebody reads our series again and again.
func (l *Log) Regular(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.readers {
		if !r.before.IsZero() && r.active(now) {
			return true
		}
	}
	return false
}

// Twice tells whether every regular reader, and at least one, has read twice what
// has been there since a time.
func (l *Log) Twice(since, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	twice := false
	for _, r := range l.readers {
		if r.before.IsZero() || !r.active(now) {
			continue
		}
		if r.before.Before(since) {
			return false
		}
		twice = true
	}
	return twice
}
