package web

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// streamsEach bounds how many pages one viewer follows at once.
const streamsEach = 64

// streams counts those who watch.
type streams struct {
	lock  sync.Mutex
	total int
	each  map[string]int
}

func (n *streams) count() int {
	n.lock.Lock()
	defer n.lock.Unlock()
	return n.total
}

// enter counts one more; false: there are enough.
func (n *streams) enter(viewer string, most int) bool {
	n.lock.Lock()
	defer n.lock.Unlock()
	if n.total >= most || n.each[viewer] >= streamsEach {
		return false
	}
	if n.each == nil {
		n.each = map[string]int{}
	}
	n.total++
	n.each[viewer]++
	return true
}

func (n *streams) leave(viewer string) {
	n.lock.Lock()
	defer n.lock.Unlock()
	n.total--
	if n.each[viewer]--; n.each[viewer] == 0 {
		delete(n.each, viewer)
	}
}

// live tells a page when it should be fetched anew: what it would show has another mark.
// Only the mark is sent, so that who may see what is decided in one place.
func (s *Server) live(w http.ResponseWriter, r *http.Request) {
	viewer, err := s.Gate.Admit(r)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	key := viewer.Key()
	if !s.streams.enter(key, s.Streams) {
		w.Header().Set("Retry-After", "60")
		http.Error(w, "too many pages are being followed; this one can be reloaded by hand", http.StatusServiceUnavailable)
		return
	}
	defer s.streams.leave(key)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // of proxies that would keep events back
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return
	}
	controller := http.NewResponseController(w)
	send := func(format string, args ...any) bool {
		// Not every writer knows deadlines; those of the server do.
		_ = controller.SetWriteDeadline(time.Now().Add(10 * time.Second))
		if _, err := fmt.Fprintf(w, format, args...); err != nil {
			return false
		}
		return controller.Flush() == nil
	}
	// Afterwards the connection serves others.
	defer func() { _ = controller.SetWriteDeadline(time.Now().Add(2 * patience)) }()
	beat := time.NewTicker(s.Beat)
	defer beat.Stop()
	mark, told := "", s.Now()
	for {
		s.shown.lock.Lock()
		changed := s.shown.changed
		s.shown.lock.Unlock()
		// Rights end, too.
		if viewer, err = s.Gate.Admit(r); err != nil || viewer.Key() != key {
			send("event: end\ndata: {}\n\n")
			return
		}
		switch v, err := s.viewOf(r.Context(), viewer); {
		case err != nil && r.Context().Err() != nil:
			return
		case err != nil: // the page would say so
		case v.mark != mark || s.Now().Sub(told) >= old:
			// Series go on even where no object changes.
			text, _ := json.Marshal(map[string]any{"mark": v.mark, "anew": v.mark == mark})
			if !send("event: state\ndata: %s\n\n", text) {
				return
			}
			mark, told = v.mark, s.Now()
		}
		select {
		case <-r.Context().Done():
			return
		case <-changed:
		case <-beat.C:
			if !send(": still here\n\n") {
				return
			}
		}
	}
}
