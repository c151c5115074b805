package signin

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/util/cache"
)

// patience is how long a scraper waits for the API server's word before it is served by the
// last one; Prometheus waits for ten seconds by default.
const patience = 2 * time.Second

// Metrics serves metrics to those who may get /metrics. Whoever could within the last hour
// still can while the API server is away: its absence must not silence the alerts on
// what customers feel.
func (v *Reviewer) Metrics(metrics http.Handler, log *slog.Logger) http.Handler {
	scrapers := cache.NewLRUExpireCache(mostTokens) // by a token's hash
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := TokenOf(r)
		key := sha256.Sum256([]byte(token))
		allowed, err := v.mayScrape(r.Context(), token)
		status := http.StatusForbidden
		if err != nil {
			status = Status(err)
		}
		switch _, lately := scrapers.Get(key); {
		case allowed:
			scrapers.Add(key, true, known)
		case status == http.StatusServiceUnavailable && lately:
			log.Warn("the API server does not say who scrapes; whoever could lately still can", "error", err)
		case status == http.StatusForbidden:
			scrapers.Remove(key)
			http.Error(w, "you may not get /metrics: bind a ClusterRole that may, such as sojourn-metrics-reader, to the service account that scrapes", status)
			return
		default:
			said := err.Error()
			switch status {
			case http.StatusUnauthorized:
				scrapers.Remove(key)
				Challenge(w)
			case http.StatusServiceUnavailable:
				log.Error("cannot ask who scrapes", "error", err)
				said = "the API server cannot be asked who you are and what you may do" // what it said is for the log
			default:
				log.Warn("does not ask who scrapes: too many tokens that are not known", "from", r.RemoteAddr)
			}
			http.Error(w, said, status)
			return
		}
		metrics.ServeHTTP(w, r)
	})
}

func (v *Reviewer) mayScrape(ctx context.Context, token string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	user, err := v.Who(ctx, token)
	if err != nil {
		return false, err
	}
	return v.MayGet(ctx, user, "/metrics")
}
