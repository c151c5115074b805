package storefront

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"
)

// sessionLength is how long a customer stays logged in, and maxSessions how many do.
const (
	sessionLength = 10 * time.Minute
	maxSessions   = 10_000
)

// sessions are the customers who are logged in.
type sessions struct {
	mu     sync.Mutex
	until  map[string]time.Time // by token
	orders int64
}

// handleSessions serves what a customer's program does, each behaving as the page of its
// name: POST /api/login, /api/basket, /api/checkout and /api/logout. All but the
// first need the token that the first gives.
func (s *Shop) handleSessions(mux *http.ServeMux) {
	customers := &sessions{until: map[string]time.Time{}, orders: 4_200_000_000}
	mux.HandleFunc("POST /api/login", func(w http.ResponseWriter, r *http.Request) {
		var who struct{ Customer string }
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10)).Decode(&who); err != nil || who.Customer == "" {
			http.Error(w, "say who you are: {\"customer\": \"eve\"}", http.StatusBadRequest)
			return
		}
		token := rand.Text()
		if !customers.admit(token) {
			http.Error(w, "the shop is full", http.StatusServiceUnavailable)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "session", Value: token, Path: "/api", HttpOnly: true})
		write(w, map[string]any{"token": token})
	})
	known := func(handle http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
			cookie, err := r.Cookie("session")
			if err != nil || cookie.Value != token || !customers.knows(token) {
				http.Error(w, "log in first", http.StatusUnauthorized)
				return
			}
			handle(w, r)
		}
	}
	mux.HandleFunc("POST /api/basket", known(func(w http.ResponseWriter, r *http.Request) {
		if s.behave(r.Context(), w, "basket") {
			write(w, map[string]any{"items": []string{"teapot"}, "total": 24.5})
		}
	}))
	mux.HandleFunc("POST /api/checkout", known(func(w http.ResponseWriter, r *http.Request) {
		if s.behave(r.Context(), w, "checkout") {
			write(w, map[string]any{"order": customers.order(), "total": 24.5})
		}
	}))
	mux.HandleFunc("POST /api/logout", known(func(w http.ResponseWriter, r *http.Request) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		customers.leave(token)
		w.WriteHeader(http.StatusNoContent)
	}))
}

// behave takes the time that a page takes in its mode, and tells whether there is
// anything to answer then. It draws no chance, which is the shoppers'.
func (s *Shop) behave(ctx context.Context, w http.ResponseWriter, page string) bool {
	duration := 20 * time.Millisecond
	switch s.visits[page].Mode() {
	case Slow:
		duration = slowPage.Median
	case Down:
		http.Error(w, "we are sorry", http.StatusServiceUnavailable)
		return false
	}
	return work(ctx, duration)
}

func (c *sessions) admit(token string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	for other, until := range c.until {
		if now.After(until) {
			delete(c.until, other)
		}
	}
	if len(c.until) >= maxSessions {
		return false
	}
	c.until[token] = now.Add(sessionLength)
	return true
}

func (c *sessions) knows(token string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	until, has := c.until[token]
	return has && time.Now().Before(until)
}

func (c *sessions) leave(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.until, token)
}

func (c *sessions) order() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.orders++
	return c.orders
}

func write(w http.ResponseWriter, answer any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer)
}
