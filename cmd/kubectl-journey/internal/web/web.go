// Package web serves journeys as pages: all of them, one as a live map, and each
// touchpoint. It only reads. The pages work without scripts; a small one of their own
// follows what changes.
package web

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/cache"

	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/picture"
)

// Source gets what the pages show.
type Source interface {
	// Objects loads those of a namespace, or, if it is empty, of all.
	Objects(ctx context.Context, namespace string) (*atlas.Objects, error)
	// Trends fills in what was left of budgets, and says in sentences why it cannot.
	Trends(ctx context.Context, maps ...*atlas.Map) []string
	// Detail gathers all that is known of a touchpoint; nil if there is none.
	Detail(ctx context.Context, objects *atlas.Objects, key atlas.Key) *atlas.Detail
	// Changes signals that some object changed.
	Changes(ctx context.Context, namespace string) (<-chan struct{}, error)
}

// Options shape the server.
type Options struct {
	Source Source
	// Namespaces are those that are shown; none: all.
	Namespaces []string
	// Gate says who asks and what they may see; nil: everybody may see everything, for a
	// server that only its owner reaches.
	Gate Gate
	// Hosts are the names by which the server may be called, without the port; none: any.
	// On loopback this is what keeps other sites' scripts out, whose names can be made to
	// lead here.
	Hosts []string
	Log   *slog.Logger
	// Now is the clock; nil: the system's.
	Now func() time.Time
	// Streams bounds how many pages are followed at once; 0: 256.
	Streams int
	// Beat is how often a stream says that it is alive, and Rest how long two looks at the
	// cluster are apart at least; 0: 15 s and 2 s.
	Beat, Rest time.Duration
}

const (
	// patience bounds how long the cluster may take to answer for a page.
	patience = 20 * time.Second
	// old is after how long what is shown is looked at anew even if nothing said that it
	// changed.
	old = time.Minute
	// trendsKept and detailsKept are how long series and details are good for.
	trendsKept, detailsKept = time.Minute, 15 * time.Second
	// Bounds of what is kept for several viewers.
	mostTrends, mostDetails = 256, 256
	// largestHeader is of a request.
	largestHeader = 32 << 10
)

// Server is the pages, and what they are made of.
type Server struct {
	Options
	shown   shown
	trends  *cache.LRUExpireCache
	details *cache.LRUExpireCache
	flights flights
	streams streams
	handler http.Handler
}

//go:embed static
var static embed.FS

// New makes a server; Run has it follow the cluster.
func New(options Options) *Server {
	s := &Server{Options: options, trends: cache.NewLRUExpireCache(mostTrends), details: cache.NewLRUExpireCache(mostDetails)}
	if s.Now == nil {
		s.Now = time.Now
	}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	if s.Gate == nil {
		s.Gate = everybody{}
	}
	if s.Streams == 0 {
		s.Streams = 256
	}
	if s.Beat == 0 {
		s.Beat = 15 * time.Second
	}
	if s.Rest == 0 {
		s.Rest = 2 * time.Second
	}
	s.shown.changed = make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page(s.journeys))
	mux.HandleFunc("GET /journeys/{namespace}/{name}", s.page(s.journey))
	mux.HandleFunc("GET /touchpoints/{namespace}/{name}", s.page(s.touchpoint))
	mux.HandleFunc("GET /live", s.live)
	mux.HandleFunc("GET /static/{file}", serveStatic)
	mux.HandleFunc("/", s.page(func(context.Context, *http.Request, *view) (string, any, error) { return "", nil, errNotFound }))
	s.handler = s.protect(mux)
	return s
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Serve answers what comes to a listener until the context ends.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{
		Handler: s, MaxHeaderBytes: largestHeader, ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 2 * patience, IdleTimeout: 2 * time.Minute,
		// Streams end with the context, not only when their readers leave.
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := server.Shutdown(stopping)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	return err
}

// policy is what browsers let the pages do: show themselves, and ask this server.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// protect gives every answer the headers that keep it where it belongs.
func (s *Server) protect(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name, value := range map[string]string{
			"Content-Security-Policy": policy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin", "X-Frame-Options": "DENY",
			"Permissions-Policy": "camera=(), geolocation=(), microphone=()",
		} {
			w.Header().Set(name, value)
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "these pages are only read: use GET", http.StatusMethodNotAllowed)
			return
		}
		if !s.calledByName(r.Host) {
			http.Error(w, "this server is called by another name; open the address that it printed", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) calledByName(host string) bool {
	if len(s.Hosts) == 0 {
		return true
	}
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	name = strings.Trim(strings.ToLower(name), "[]")
	for _, allowed := range s.Hosts {
		if name == allowed {
			return true
		}
	}
	return false
}

// file is one that pages refer to.
type file struct {
	content []byte
	kind    string
	// mark is part of its address, so that a browser never shows an old one.
	mark string
}

var files = func() map[string]file {
	loaded := map[string]file{}
	for name, kind := range map[string]string{"style.css": "text/css; charset=utf-8", "live.js": "text/javascript; charset=utf-8", "icon.svg": "image/svg+xml"} {
		content, err := static.ReadFile("static/" + name)
		if err != nil {
			panic(err) // it is compiled in
		}
		if name == "style.css" {
			content = append([]byte(picture.Style()), content...)
		}
		sum := sha256.Sum256(content)
		loaded[name] = file{content, kind, hex.EncodeToString(sum[:6])}
	}
	return loaded
}()

func serveStatic(w http.ResponseWriter, r *http.Request) {
	found, is := files[r.PathValue("file")]
	if !is {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", found.kind)
	w.Header().Set("Content-Length", strconv.Itoa(len(found.content)))
	if r.URL.Query().Get("v") == found.mark {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	if r.Method == http.MethodGet {
		_, _ = w.Write(found.content)
	}
}
