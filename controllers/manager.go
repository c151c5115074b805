package controllers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/controllers/observe"
	"github.com/sojourn-dev/sojourn/controllers/publish"
	"github.com/sojourn-dev/sojourn/controllers/rules"
)

// Options are choices of the installation.
type Options struct {
	// Namespaces are those whose objects are reconciled; none: all.
	Namespaces []string
	// EnforceNamespaceLabel is the label by which every selector of the users' own
	// PromQL is bound to the object's namespace; empty: none.
	EnforceNamespaceLabel string
	// RuleLabels are put on every rule object, for a Prometheus that selects by them.
	RuleLabels map[string]string
	// RulesNamespace takes the rules as ConfigMaps where the kind PrometheusRule is
	// not installed. It must exist.
	RulesNamespace string
	// ConfigMapLabels are put on those ConfigMaps besides.
	ConfigMapLabels map[string]string

	// Prometheus is asked for what only data shows; without a URL nobody is. Its
	// Namespaces are those above.
	Prometheus observe.Options
	// Workloads has those of blueprints watched: Deployments, StatefulSets, DaemonSets,
	// Services and EndpointSlices.
	Workloads bool

	// LeaderElection lets one of several managers work and the others wait.
	LeaderElection bool
	// LeaderElectionNamespace holds the Lease; empty: the manager's own namespace.
	LeaderElectionNamespace string
	// MetricsBindAddress serves /metrics; "0": not at all.
	MetricsBindAddress string
	// MetricsSecure serves metrics over TLS to clients that may read them.
	MetricsSecure bool
	// HealthProbeBindAddress serves /healthz and /readyz; "0": not at all.
	HealthProbeBindAddress string
	Logger                 logr.Logger

	// probes tells whether the kind Probe is installed; Run finds out.
	probes bool
}

// Validate says what is wrong with options.
func (o *Options) Validate() error {
	var wrong []error
	for _, set := range []map[string]string{o.RuleLabels, o.ConfigMapLabels} {
		for key, value := range set {
			problems := append(validation.IsQualifiedName(key), validation.IsValidLabelValue(value)...)
			for _, problem := range problems {
				wrong = append(wrong, fmt.Errorf("label %s=%s: %s", key, value, problem))
			}
			if key == publish.LabelManagedBy || strings.HasPrefix(key, v1alpha1.GroupVersion.Group+"/") {
				wrong = append(wrong, fmt.Errorf("label %s is the manager's own", key))
			}
		}
	}
	for _, namespace := range append(o.Namespaces[:len(o.Namespaces):len(o.Namespaces)], o.RulesNamespace) {
		for _, problem := range validation.IsDNS1123Label(namespace) {
			wrong = append(wrong, fmt.Errorf("namespace %q: %s", namespace, problem))
		}
	}
	wrong = append(wrong, o.Prometheus.Validate())
	return errors.Join(wrong...)
}

// Format is how the rule objects of an installation look.
func (o *Options) Format() publish.Format {
	return publish.Format{RuleLabels: o.RuleLabels, ConfigMapLabels: o.ConfigMapLabels, RulesNamespace: o.RulesNamespace}
}

const (
	// leaderElectionID names the Lease.
	leaderElectionID = "sojourn-manager"
	eventSource      = "sojourn-manager"
	// reconciliationTimeout ends a reconciliation that hangs, so that its worker
	// serves others again.
	reconciliationTimeout = 2 * time.Minute
	// workers per controller. The work waits for the API server, not for the CPU.
	workers = 16
	// Rests between two times that an ExperienceSLO or a Journey is worked on, or the rules
	// that a namespace shares: see pace.
	shortestRest, shortestNamespaceRest = 100 * time.Millisecond, 300 * time.Millisecond
	// retries start after minBackoff and slow down to maxBackoff: what is missing
	// may be a namespace that somebody creates any moment.
	minBackoff, maxBackoff = 100 * time.Millisecond, 30 * time.Second
)

func newScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	utilruntime.Must(monitoringv1.AddToScheme(scheme))
	return scheme
}

// Run reconciles until the context ends.
//
// Rules are written as PrometheusRules where that kind is installed, else as
// ConfigMaps. When the kind comes or goes, everything starts anew in the other form:
// what a reconciler watches is decided at its start, and what it finds there of the
// old form it replaces.
func Run(ctx context.Context, restConfig *rest.Config, options Options) error {
	if err := options.Validate(); err != nil {
		return err
	}
	for {
		form, err := detectForm(ctx, restConfig)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("asking the API server whether it knows the kind PrometheusRule: %w", err)
		}
		if options.probes, err = detectProbes(ctx, restConfig); ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("asking the API server whether it knows the kind Probe: %w", err)
		}
		options.Logger.Info("starting", "form", form, "probes", options.probes)
		switch err := run(ctx, restConfig, options, form); {
		case errors.Is(err, errFormChanged):
			options.Logger.Info("the kind PrometheusRule or Probe came or went: starting anew")
		case ctx.Err() != nil:
			return nil
		default:
			return err
		}
	}
}

func run(parent context.Context, restConfig *rest.Config, options Options, form publish.Form) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	mgr, err := newManager(restConfig, options, form)
	if err != nil {
		return err
	}
	if err := errors.Join(
		indexFields(ctx, mgr.GetFieldIndexer()),
		publish.IndexFields(ctx, mgr.GetFieldIndexer(), form),
	); err != nil {
		return err
	}
	observed, err := setupObserver(mgr, options)
	if err != nil {
		return err
	}
	if err := setupReconcilers(mgr, options, form, observed); err != nil {
		return err
	}
	if err := (&formReconciler{reader: mgr.GetClient(), config: restConfig, form: form, changed: cancel}).setup(mgr); err != nil {
		return err
	}
	if err := mgr.Add(watchProbeKind(restConfig, options.probes, cancel)); err != nil {
		return err
	}
	if err := setupHealth(mgr); err != nil {
		return err
	}
	err = mgr.Start(ctx)
	if errors.Is(context.Cause(ctx), errFormChanged) {
		// Whatever else ended with it ended because of it.
		return errFormChanged
	}
	return err
}

func newManager(restConfig *rest.Config, options Options, form publish.Form) (manager.Manager, error) {
	metrics := metricsserver.Options{BindAddress: options.MetricsBindAddress, SecureServing: options.MetricsSecure}
	if options.MetricsSecure {
		metrics.FilterProvider = filters.WithAuthenticationAndAuthorization
	}
	return ctrl.NewManager(restConfig, ctrl.Options{
		Scheme:                        newScheme(),
		Logger:                        options.Logger,
		Cache:                         cacheOptions(options, form),
		Metrics:                       metrics,
		HealthProbeBindAddress:        options.HealthProbeBindAddress,
		LeaderElection:                options.LeaderElection,
		LeaderElectionID:              leaderElectionID,
		LeaderElectionNamespace:       options.LeaderElectionNamespace,
		LeaderElectionReleaseOnCancel: true,
		Controller: config.Controller{
			// A manager that waits to lead has its caches filled already.
			EnableWarmup:          new(true),
			ReconciliationTimeout: reconciliationTimeout,
			// The names of controllers are unique per process, and a process can start
			// them a second time: see Run.
			SkipNameValidation: new(true),
		},
	})
}

// cacheOptions keep in memory what is ours and no more.
func cacheOptions(options Options, form publish.Form) cache.Options {
	ours := labels.SelectorFromSet(labels.Set{publish.LabelManagedBy: publish.ManagedBy})
	cached := cache.Options{
		DefaultTransform: cache.TransformStripManagedFields(),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.ConfigMap{}: {Namespaces: map[string]cache.Config{options.RulesNamespace: {LabelSelector: ours}}},
			prometheusRuleCRD(): {Field: fields.OneTermEqualSelector("metadata.name", prometheusRuleCRDName)},
		},
	}
	if form == publish.PrometheusRules {
		cached.ByObject[&monitoringv1.PrometheusRule{}] = cache.ByObject{Label: ours}
	}
	if options.probes {
		cached.ByObject[&monitoringv1.Probe{}] = cache.ByObject{Label: ours}
	}
	if options.Workloads {
		workloadCaches(cached.ByObject)
	}
	if len(options.Namespaces) > 0 {
		cached.DefaultNamespaces = map[string]cache.Config{}
		for _, namespace := range options.Namespaces {
			cached.DefaultNamespaces[namespace] = cache.Config{}
		}
	}
	return cached
}

// setupObserver has Prometheus observed, if there is one to ask.
func setupObserver(mgr manager.Manager, options Options) (*observe.Observer, error) {
	asked := options.Prometheus
	asked.Namespaces = options.Namespaces
	asked.Everybody = everybody(mgr.GetClient())
	observed, err := observe.New(asked, options.Logger)
	if err != nil || observed == nil {
		return nil, err
	}
	return observed, mgr.Add(observed)
}

// everybody lists those whose status tells what Prometheus shows.
func everybody(reader client.Reader) func(context.Context, observe.Topic) ([]types.NamespacedName, error) {
	return func(ctx context.Context, topic observe.Topic) ([]types.NamespacedName, error) {
		var list client.ObjectList
		switch topic {
		case observe.BudgetsOfSLO:
			list = &v1alpha1.ExperienceSLOList{}
		case observe.FiguresOfTouchpoint:
			list = &v1alpha1.TouchpointList{}
		case observe.FiguresOfJourney:
			list = &v1alpha1.JourneyList{}
		default:
			return nil, nil
		}
		if err := reader.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return nil, err
		}
		var names []types.NamespacedName
		err := meta.EachListItem(list, func(object runtime.Object) error {
			names = append(names, client.ObjectKeyFromObject(object.(client.Object)))
			return nil
		})
		return names, err
	}
}

func setupReconcilers(mgr manager.Manager, options Options, form publish.Form, observed *observe.Observer) error {
	publisher := &publish.Publisher{
		Format: options.Format(), Client: mgr.GetClient(), Form: form, Probes: options.probes,
	}
	known := catalogue{Reader: mgr.GetClient(), namespaces: slices.Clone(options.Namespaces)}
	ruleOptions := rules.Options{EnforceNamespaceLabel: options.EnforceNamespaceLabel}
	recorder := mgr.GetEventRecorder(eventSource)
	shared := newSharedRules()
	return errors.Join(
		(&experienceSLOReconciler{
			client: mgr.GetClient(), catalogue: known, publisher: publisher, shared: shared, observed: observed, recorder: recorder,
			now: time.Now, pace: newPace(time.Now, shortestRest),
		}).setup(mgr, controllerOptions()),
		(&touchpointReconciler{
			client: mgr.GetClient(), catalogue: known, publisher: publisher, rules: ruleOptions, observed: observed, workloads: options.Workloads,
			recorder: recorder, now: time.Now,
		}).setup(mgr, controllerOptions()),
		(&journeyReconciler{
			client: mgr.GetClient(), catalogue: known, publisher: publisher, rules: ruleOptions, observed: observed, recorder: recorder,
			now: time.Now, pace: newPace(time.Now, shortestRest),
		}).setup(mgr, controllerOptions()),
		(&namespaceReconciler{
			client: mgr.GetClient(), catalogue: known, publisher: publisher, shared: shared,
			pace: newPace(time.Now, shortestNamespaceRest),
		}).setup(mgr, controllerOptions()),
	)
}

func controllerOptions() controller.Options {
	return controller.Options{
		MaxConcurrentReconciles: workers,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](minBackoff, maxBackoff),
	}
}

// setupHealth: alive while it answers, ready once the caches are filled, whether it
// leads or waits.
func setupHealth(mgr manager.Manager) error {
	var filled atomic.Bool
	return errors.Join(
		mgr.AddHealthzCheck("ping", healthz.Ping),
		mgr.AddReadyzCheck("caches", func(*http.Request) error {
			if !filled.Load() {
				return errors.New("the caches are being filled")
			}
			return nil
		}),
		mgr.Add(everyone(func(ctx context.Context) error {
			filled.Store(mgr.GetCache().WaitForCacheSync(ctx))
			return nil
		})),
	)
}

// everyone is a runnable of every manager, not only of the one that leads.
type everyone func(context.Context) error

func (run everyone) Start(ctx context.Context) error { return run(ctx) }

func (everyone) NeedLeaderElection() bool { return false }
