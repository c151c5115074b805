package storefront

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Options says where a shop listens. The zero value is two free ports on loopback.
type Options struct {
	// Address serves customers and /metrics.
	Address string
	// AdminAddress serves /break and /heal; keep it from customers.
	AdminAddress string
	// Seed decides all chance.
	Seed uint64
}

// Shop is a running shop.
type Shop struct {
	// URL is where customers go.
	URL string
	// AdminURL is where pages are broken and healed.
	AdminURL string

	visits    map[string]*Visits
	requests  *prometheus.CounterVec
	durations *prometheus.HistogramVec
	searches  *prometheus.CounterVec
	servers   []*http.Server
}

// DurationEdges are the bucket edges of shop_request_duration_seconds.
var DurationEdges = []float64{0.025, 0.05, 0.1, 0.25, 0.5, 0.8, 1, 2.5, 5}

// Start opens a shop. It is open until Close.
func Start(options Options) (*Shop, error) {
	s := &Shop{
		visits: map[string]*Visits{},
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "shop_requests_total", Help: "Requests by page and status code.",
		}, []string{"page", "code"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "shop_request_duration_seconds", Help: "Time that requests took, by page.", Buckets: DurationEdges,
		}, []string{"page"}),
		searches: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "shop_searches_total", Help: "Searches by whether they found anything.",
		}, []string{"result"}),
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(s.requests, s.durations, s.searches)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	s.handleSessions(mux)
	mux.Handle("GET /{$}", http.RedirectHandler("/product", http.StatusFound))
	for _, page := range Pages {
		s.visits[page.Name] = NewVisits(page, options.Seed)
		s.durations.WithLabelValues(page.Name)
		for _, code := range []int{http.StatusOK, http.StatusServiceUnavailable} {
			s.requests.WithLabelValues(page.Name, strconv.Itoa(code))
		}
		mux.HandleFunc("GET "+page.Path, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, page) })
	}
	for _, result := range []string{"found", "empty"} {
		s.searches.WithLabelValues(result)
	}
	var err error
	if s.URL, err = s.listen(options.Address, mux); err != nil {
		return nil, errors.Join(fmt.Errorf("shop: %w", err), s.Close())
	}
	if s.AdminURL, err = s.listen(options.AdminAddress, s.admin()); err != nil {
		return nil, errors.Join(fmt.Errorf("shop: admin: %w", err), s.Close())
	}
	return s, nil
}

func (s *Shop) listen(address string, handler http.Handler) (string, error) {
	if address == "" {
		address = "127.0.0.1:0"
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	s.servers = append(s.servers, server)
	go func() { _ = server.Serve(listener) }() // ends by Close
	return "http://" + listener.Addr().String(), nil
}

// Close closes the shop at once.
func (s *Shop) Close() error {
	if s == nil {
		return nil
	}
	var errs []error
	for _, server := range s.servers {
		errs = append(errs, server.Close())
	}
	return errors.Join(errs...)
}

// SetMode breaks a page, or heals it.
func (s *Shop) SetMode(page string, mode Mode) error {
	visits, known := s.visits[page]
	if !known {
		return fmt.Errorf("no page %q: there are %s", page, strings.Join(pageNames(), ", "))
	}
	switch mode {
	case Healthy, Slow, Down:
		visits.SetMode(mode)
		return nil
	}
	return fmt.Errorf("no mode %q: there are %s, %s and %s", mode, Healthy, Slow, Down)
}

func pageNames() []string {
	names := make([]string, len(Pages))
	for i, page := range Pages {
		names[i] = page.Name
	}
	return names
}

// admin serves POST /break?page=checkout&mode=slow, POST /heal?page=checkout (all
// pages if none is named) and GET /, which tells how every page is.
func (s *Shop) admin() http.Handler {
	mux := http.NewServeMux()
	set := func(w http.ResponseWriter, page string, mode Mode) {
		if err := s.SetMode(page, mode); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "%s is %s\n", page, mode)
	}
	mux.HandleFunc("POST /break", func(w http.ResponseWriter, r *http.Request) {
		mode := Mode(r.FormValue("mode"))
		if mode == "" {
			mode = Slow
		}
		set(w, r.FormValue("page"), mode)
	})
	mux.HandleFunc("POST /heal", func(w http.ResponseWriter, r *http.Request) {
		pages := pageNames()
		if page := r.FormValue("page"); page != "" {
			pages = []string{page}
		}
		for _, page := range pages {
			set(w, page, Healthy)
		}
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		for _, page := range Pages {
			fmt.Fprintf(w, "%s is %s\n", page.Name, s.visits[page.Name].Mode())
		}
	})
	return mux
}

// serve answers a customer: it works as long as the page takes, and then shows the
// page or an apology.
func (s *Shop) serve(w http.ResponseWriter, r *http.Request, page Page) {
	begin := time.Now()
	duration, failed := s.visits[page.Name].Next()
	if !work(r.Context(), duration) {
		return // the customer left; nobody sees an answer
	}
	code := http.StatusOK
	language := languageOf(r.Header.Get("Accept-Language"))
	var body bytes.Buffer
	if failed {
		code = http.StatusServiceUnavailable
		renderApology(&body, language)
	} else {
		found := renderPage(&body, page.Name, language, r.URL.Query().Get("q"))
		if page.Name == "search" {
			result := "empty"
			if found {
				result = "found"
			}
			s.searches.WithLabelValues(result).Inc()
		}
	}
	// Counted before the answer, so that whoever has it finds it counted.
	s.requests.WithLabelValues(page.Name, strconv.Itoa(code)).Inc()
	s.durations.WithLabelValues(page.Name).Observe(time.Since(begin).Seconds())
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Language", language)
	w.WriteHeader(code)
	_, _ = w.Write(body.Bytes())
}

// work takes time, and tells whether the customer waited for it.
func work(ctx context.Context, duration time.Duration) bool {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
