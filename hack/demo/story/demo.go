package story

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"golang.org/x/sync/errgroup"

	"github.com/sojourn-dev/sojourn/hack/demo/storefront"
	"github.com/sojourn-dev/sojourn/hack/history"
	"github.com/sojourn-dev/sojourn/hack/localstack"
)

// Options shape a demo.
type Options struct {
	// Once ends the demo when the alerts have arrived.
	Once bool
	// Dir keeps data and logs; empty: a temporary folder, removed at the end.
	Dir string
	// Seed decides all chance.
	Seed uint64
	// Days of history.
	Days int
	// Healthy is how long everything must be seen well before the checkout breaks.
	Healthy time.Duration
	// Patience is how long the alerts may take after the checkout broke.
	Patience time.Duration
	// Rush is how long it takes the customers who complain, one after the other.
	Rush time.Duration
	// AtEnd, if not nil, looks at what runs when the story is told.
	AtEnd func(context.Context, *Demo) error
}

// DefaultOptions are those of make demo.
func DefaultOptions() Options {
	return Options{Seed: 1, Days: 3, Healthy: 5 * time.Second, Patience: 10 * time.Minute, Rush: time.Minute}
}

// The touchpoint that breaks, and its page.
const (
	brokenTouchpoint = "checkout"
	brokenPage       = "checkout"
)

// Demo is a demo under way.
type Demo struct {
	*Narrator
	Options   Options
	Stack     *Stack
	Shop      *storefront.Shop
	Samples   *Samples
	Customers *Customers
	Alerts    *Alerts
	Score     *Score

	customers  sync.Mutex // Customers draw one after the other
	background sync.WaitGroup
	failed     chan error
}

// Run tells the whole story. It returns nil when it was told as it should be, and
// when ctx ended after that; nothing is left running.
func Run(ctx context.Context, narrator *Narrator, options Options) (err error) {
	begin := time.Now()
	dir := options.Dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "sojourn-demo-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	d := &Demo{Narrator: narrator, Options: options, failed: make(chan error, 1)}
	if d.Stack, err = NewStack(dir); err != nil {
		return err
	}
	life, end := context.WithCancel(ctx)
	defer d.stop(end)

	for _, part := range []struct {
		heading string
		steps   func(context.Context) error
	}{
		{"A cluster, an operator and a shop", d.begin},
		{"Three kinds of objects", d.describe},
		{"A past", d.rememberPast},
		{"Customers come and go", d.open},
		{"The checkout breaks", func(ctx context.Context) error { return d.breakCheckout(ctx, begin) }},
	} {
		d.Heading(part.heading)
		if err := part.steps(life); err != nil {
			if life.Err() != nil && ctx.Err() != nil {
				return errors.New("interrupted before the end")
			}
			d.Bad("This is not how the story should go.")
			if d.Alerts != nil {
				d.Print(d.Alerts.Table())
				if !options.Once {
					d.Print(err.Error() + "\n")
					d.stay(life)
				}
			}
			return err
		}
	}
	d.conclude(life)
	if options.AtEnd != nil {
		if err := options.AtEnd(life, d); err != nil {
			return err
		}
	}
	if !options.Once {
		d.stay(life)
	}
	return nil
}

func (d *Demo) stop(end func()) {
	d.Say("Stopping everything")
	end()
	d.background.Wait()
	d.Stack.Stop()
	_ = d.Shop.Close()
}

// begin starts what needs nothing else.
func (d *Demo) begin(ctx context.Context) error {
	d.Say("Real parts from source; what is missing is built once, which takes about ten minutes the first time.")
	if err := localstack.BuildAll(ctx); err != nil {
		return err
	}
	var err error
	if d.Shop, err = storefront.Start(storefront.Options{Seed: d.Options.Seed}); err != nil {
		return err
	}
	d.Stack.Targets[ShopJob] = d.Shop.URL[len("http://"):]
	d.Good("The shop is open: %s", d.Shop.URL)

	parts, ctx := errgroup.WithContext(ctx)
	parts.Go(func() error {
		if err := d.Stack.Build(ctx); err != nil {
			return err
		}
		d.Good("Built manager, prober and gateway.")
		return nil
	})
	parts.Go(func() error {
		if err := d.Stack.StartCluster(ctx); err != nil {
			return err
		}
		d.Good("etcd, kube-apiserver and kube-controller-manager run, and know Journey, Touchpoint and ExperienceSLO.")
		return nil
	})
	parts.Go(func() error { return d.Stack.StartAlertmanager(ctx) })
	return parts.Wait()
}

// describe applies the samples and has the operator see them.
func (d *Demo) describe(ctx context.Context) error {
	var err error
	if d.Samples, err = ReadSamples(filepath.Join(d.Stack.Checkout, "config", "samples"), d.Shop.URL); err != nil {
		return err
	}
	parts, starting := errgroup.WithContext(ctx)
	parts.Go(func() error { return d.Stack.StartManager(starting) })
	parts.Go(func() error { return d.Stack.StartGateway(starting) })
	parts.Go(func() error { return d.Samples.Apply(starting, d.Stack.Cluster.RESTConfig()) })
	if err := parts.Wait(); err != nil {
		return err
	}
	d.Say("Applied config/samples: 1 journey, %d touchpoints, %d promises. Their probes go to %s, the shop, instead of %s.",
		len(d.Samples.Decoded.Touchpoints), len(d.Samples.SLOs), d.Shop.URL, ClusterShopURL)
	begin := time.Now()
	if err := d.Samples.AwaitReady(ctx, d.Stack.Cluster.RESTConfig()); err != nil {
		return errors.Join(err, d.Stack.Trouble(ctx))
	}
	d.Good("Ready everywhere, %.1f s later.", time.Since(begin).Seconds())
	return nil
}

// rememberPast gives gateway and Prometheus some days of history.
func (d *Demo) rememberPast(ctx context.Context) error {
	groups, err := GeneratedRules(ctx, d.Stack.Cluster.RESTConfig(), SystemNamespace)
	if err != nil {
		return err
	}
	recording, alerting := countRules(groups)
	d.Say("The operator wrote %d rules and %d alerts as ConfigMaps into %s.", recording, alerting, SystemNamespace)
	if err := d.Stack.ReserveProber(); err != nil {
		return err
	}
	now := time.Now()
	past := &Past{
		Start: now.Add(-time.Duration(d.Options.Days) * 24 * time.Hour).Truncate(time.Minute), End: now,
		Samples: d.Samples, Seed: d.Options.Seed,
	}
	d.Customers = NewCustomers(d.Samples, d.Options.Seed, fmt.Sprintf("demo-%d", now.Unix()))
	past.Responses = d.Customers.Past(past.Start, past.End)
	if err := d.Stack.Gateway.Send(ctx, past.Responses...); err != nil {
		return err
	}
	d.Say("Sent the gateway %d survey responses of the last %d days, all as usual.", len(past.Responses), d.Options.Days)
	d.Say("Backfilling %d days into Prometheus: first counters, then the recorded series level by level.", d.Options.Days)
	d.Say("This past is made up. What follows after it is measured.")
	begin := time.Now()
	if err := WriteHistory(ctx, past, d.Stack.Targets, groups, d.Stack.StorageDir(), func(level int) {
		d.Say("  level %d", level)
	}); err != nil {
		return err
	}
	d.Good("Backfilled in %.1f s.", time.Since(begin).Seconds())
	return nil
}

func countRules(groups []monitoringv1.RuleGroup) (recording, alerting int) {
	for _, group := range groups {
		for _, rule := range group.Rules {
			if rule.Alert != "" {
				alerting++
			} else {
				recording++
			}
		}
	}
	return recording, alerting
}

// WriteHistory computes a past and writes it into the storage folder of a Prometheus
// that has not started yet. level, if not nil, is told when a level of rules begins
// to be done.
func WriteHistory(ctx context.Context, past *Past, instances map[string]string, groups []monitoringv1.RuleGroup, dir string, level func(int)) error {
	h, err := history.Open(past.Start, past.End)
	if err != nil {
		return err
	}
	defer h.Close()
	if err := past.AddCounters(h, instances); err != nil {
		return err
	}
	at := 0
	if err := h.Evaluate(ctx, groups, func(p history.Progress) {
		if p.Level > at && level != nil {
			level(p.Level)
		}
		at = p.Level
	}); err != nil {
		return err
	}
	return h.Write(ctx, dir)
}

// open lets customers in and waits until all is seen to be well.
func (d *Demo) open(ctx context.Context) error {
	parts, starting := errgroup.WithContext(ctx)
	parts.Go(func() error { return d.Stack.StartPrometheus(starting) })
	parts.Go(func() error { return d.Stack.StartProber(starting) })
	err := parts.Wait()
	if err != nil {
		return err
	}
	if err := d.Stack.PublishEndpoints(ctx); err != nil {
		return err
	}
	d.Good("Prometheus, its rules sidecar and the prober run. Every target carries a foreign namespace: %s.", SystemNamespace)
	d.Alerts = NewAlerts(d.Stack.Alertmanager, d.Samples)
	if d.Score, err = newScore(d.Stack.Cluster.RESTConfig(), d.Samples.Namespace); err != nil {
		return err
	}
	d.background.Go(func() { storefront.Visit(ctx, d.Shop.URL, storefront.ShoppersPerSecond, d.Options.Seed) })
	d.background.Go(func() { d.answerSurveys(ctx) })

	begin := time.Now()
	var well time.Time
	var why error
	err = d.watch(ctx, 3*time.Minute, func() bool {
		if why = d.unwell(ctx); why != nil {
			well = time.Time{}
			return false
		}
		if well.IsZero() {
			d.Good("Probes and answers are counted, %.0f s after the start.", time.Since(begin).Seconds())
			well = time.Now()
		}
		return time.Since(well) >= d.Options.Healthy
	})
	if err != nil {
		return errors.Join(err, why)
	}
	d.Good("All is well, and no alert.")
	if err := d.watch(ctx, time.Minute, func() bool { return d.Score.look(ctx) == nil }); err != nil {
		return errors.Join(err, d.Score.look(ctx))
	}
	d.Score.before = d.Score.now
	d.journeys(ctx)
	return nil
}

// journeys shows what kubectl get does of journeys.
func (d *Demo) journeys(ctx context.Context) {
	tables, err := Tables(ctx, d.Stack.Cluster.RESTConfig(), d.Samples.Namespace, "journeys")
	if err != nil && ctx.Err() == nil {
		d.Bad("%v", err)
	}
	d.Print(tables)
}

// unwell says what does not yet work, or nothing.
func (d *Demo) unwell(ctx context.Context) error {
	if err := d.Stack.Trouble(ctx); err != nil {
		return err
	}
	for _, wanted := range []struct {
		expr  string
		least float64
	}{
		{`sum(up)`, 3},
		// Measured by the prober and recorded since it started: the past ends before.
		{fmt.Sprintf(`sum(sojourn_probe_runs_total{namespace=%q, touchpoint=%q, outcome="success"})`, d.Samples.Namespace, brokenTouchpoint), 1},
		{fmt.Sprintf(`sum(sojourn:touchpoint_events:count1m{namespace=%q, touchpoint="checkout", def=~"probe/latency/.+"})`, d.Samples.Namespace), 1},
	} {
		if value, known, err := d.Stack.Number(ctx, wanted.expr); err != nil || !known || value < wanted.least {
			return errors.Join(err, fmt.Errorf("%s is %v, waiting for %v", wanted.expr, value, wanted.least))
		}
	}
	return nil
}

// answerSurveys sends an answer every few seconds, from anywhere on the journey.
func (d *Demo) answerSurveys(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(3 * time.Second):
		}
		d.customers.Lock()
		response := d.Customers.Next(time.Now())
		d.customers.Unlock()
		if _, err := d.Stack.Gateway.Deliver(ctx, response); err != nil && ctx.Err() == nil {
			d.fail(err)
			return
		}
	}
}

// fail has the next watch end with an error.
func (d *Demo) fail(err error) {
	select {
	case d.failed <- err:
	default:
	}
}

// watch tells of alerts as they arrive, until done says so. Too long, an alert that
// should not be, or a part that fails is an error.
func (d *Demo) watch(ctx context.Context, within time.Duration, done func() bool) error {
	late := time.After(within)
	for {
		fresh, err := d.Alerts.New(ctx)
		if err != nil {
			return err
		}
		var unexpected []error
		for _, alert := range fresh {
			if why := d.Alerts.Unexpected(alert); why != "" {
				d.Bad("%s", Describe(alert))
				unexpected = append(unexpected, fmt.Errorf("an alert that should not be (%s): %s", why, Describe(alert)))
				continue
			}
			d.Break("%s", Describe(alert))
		}
		if len(unexpected) > 0 {
			return errors.Join(unexpected...)
		}
		if done() {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-d.failed:
			return err
		case <-late:
			return fmt.Errorf("nothing more happened within %v", within)
		case <-time.After(time.Second):
		}
	}
}

// strugglers are how many customers complain of the checkout.
const strugglers = 90

// telling is by how many points of a hundred a journey's score must move to be told of.
const telling = 5

// breakCheckout slows the checkout down, has customers complain of it, and waits for
// an alert of each. It mends the checkout once that is felt, and waits until that is felt
// too.
func (d *Demo) breakCheckout(ctx context.Context, begin time.Time) error {
	d.Alerts.Expect(brokenTouchpoint)
	broke := time.Now()
	if err := d.Shop.SetMode(brokenPage, storefront.Slow); err != nil {
		return err
	}
	d.Break("The checkout has become slow: it takes two to three seconds. It still works.")
	d.background.Go(func() { d.complain(ctx) })

	wanted := []string{"latency", "ces"}
	told := map[string]bool{}
	var mended time.Time
	var failed error
	recovered := false
	err := d.watch(ctx, d.Options.Patience, func() bool {
		kinds := d.Alerts.Kinds()
		for _, kind := range wanted {
			if kinds[kind] && !told[kind] {
				told[kind] = true
				d.Say("The first alert on %s: %.0f s after the break, %.0f s after the demo began.",
					kind, time.Since(broke).Seconds(), time.Since(begin).Seconds())
			}
		}
		if fell := d.Score.before - d.Score.lowest; kinds["latency"] && fell >= telling && mended.IsZero() {
			d.Break("The score of the journey has fallen by %d points, to %d:", fell, d.Score.lowest)
			d.journeys(ctx)
			mended = time.Now()
			if failed = d.Shop.SetMode(brokenPage, storefront.Healthy); failed != nil {
				return true
			}
			d.Good("The checkout is mended, and as fast as before.")
		}
		if d.Score.look(ctx) == nil && !mended.IsZero() && !recovered && d.Score.now-d.Score.lowest >= telling {
			recovered = true
			d.Good("The score has risen again, to %d, %.0f s after the checkout was mended.", d.Score.now, time.Since(mended).Seconds())
		}
		return recovered && !slices.ContainsFunc(wanted, func(kind string) bool { return !kinds[kind] })
	})
	if err != nil || failed != nil {
		if !recovered {
			err = errors.Join(err, fmt.Errorf("the score of the journey went from %d to %d, and is now %d", d.Score.before, d.Score.lowest, d.Score.now))
		}
		return errors.Join(err, failed, missing(wanted, d.Alerts.Kinds()), d.Stack.Trouble(ctx))
	}
	return nil
}

func missing(wanted []string, kinds map[string]bool) error {
	var errs []error
	for _, kind := range wanted {
		if !kinds[kind] {
			errs = append(errs, fmt.Errorf("no %s alert of %s reached Alertmanager", kind, brokenTouchpoint))
		}
	}
	return errors.Join(errs...)
}

// complain sends the answers of customers who struggle, a little after the checkout
// has become slow.
func (d *Demo) complain(ctx context.Context) {
	pause := func(length time.Duration) bool {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(length):
			return true
		}
	}
	if !pause(15 * time.Second) {
		return
	}
	d.Break("The checkout has become laborious: customers answer 1 to 3 of 7 to \"made it easy for me\".")
	ways := map[string]int{}
	for range strugglers {
		d.customers.Lock()
		response := d.Customers.Laborious(d.Samples.Namespace, brokenTouchpoint, time.Now())
		d.customers.Unlock()
		way, err := d.Stack.Gateway.Deliver(ctx, response)
		if err != nil {
			if ctx.Err() == nil {
				d.fail(err)
			}
			return
		}
		ways[way]++
		if response.Comment != "" && response.Score == 1 {
			d.Say("  a customer, %d of 7: %s", response.Score, response.Comment)
		}
		if !pause(d.Options.Rush / strugglers) {
			return
		}
	}
	d.Say("%d customers have complained: %d by %s, %d on %s, %d by %s.", strugglers,
		ways[byWebhook], byWebhook, ways[byPage], byPage, ways[byCall], byCall)
	if len(ways) < 3 {
		d.fail(fmt.Errorf("not every way in was used: %v", ways))
	}
}

// conclude shows the alerts as Alertmanager received them, and the three kinds.
func (d *Demo) conclude(ctx context.Context) {
	d.Heading("Alerts, as Alertmanager received them")
	d.Print(d.Alerts.Table())
	d.Heading("kubectl get journeys,touchpoints,experienceslos --namespace " + d.Samples.Namespace)
	tables, err := Tables(ctx, d.Stack.Cluster.RESTConfig(), d.Samples.Namespace, "journeys", "touchpoints", "experienceslos")
	if err != nil {
		d.Bad("%v", err)
	}
	d.Print(tables)
}

// stay keeps everything running, and tells of alerts that still come, until ctx
// ends.
func (d *Demo) stay(ctx context.Context) {
	d.Heading("It goes on until Ctrl-C")
	d.Print(d.Stack.Addresses(d.Shop.URL, d.Shop.AdminURL) + "\n")
	for ctx.Err() == nil {
		err := d.watch(ctx, 24*time.Hour, func() bool { return false })
		if err != nil && ctx.Err() == nil {
			d.Bad("%v", err)
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Second):
			}
		}
	}
}
