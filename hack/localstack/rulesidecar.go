package localstack

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/yaml"
)

// RuleSyncOptions says which objects hold rules.
type RuleSyncOptions struct {
	// ConfigMapNamespace is where ConfigMaps with rules live. Empty means that none
	// are read.
	ConfigMapNamespace string
	// ConfigMapSelector selects among them by label; every key of a selected
	// ConfigMap is a rule file. Empty selects all.
	ConfigMapSelector string
	// PrometheusRules takes PrometheusRule objects too, from all namespaces, as
	// soon as the kind is installed.
	PrometheusRules bool
	// PrometheusRuleSelector selects among them by label. Empty selects all.
	PrometheusRuleSelector string
	// Debounce is the time from the first change to the reload that carries it and
	// those that followed. Default 300 ms.
	Debounce time.Duration
	// Logger is told of every reload and of every file left out. Default: none.
	Logger *slog.Logger
}

// RuleSync plays the rules sidecar of a cluster, and as much of the Prometheus
// Operator as rules need, for one Prometheus.
type RuleSync struct {
	options    RuleSyncOptions
	prometheus *Prometheus
	promtool   string
	log        *slog.Logger
	changed    chan struct{}
	cancel     context.CancelFunc
	background sync.WaitGroup

	mu       sync.Mutex
	sources  []ruleSource
	rejected map[string]error
}

// ruleSource is a kind of object that holds rules.
type ruleSource struct {
	prefix string // of its files' names
	store  cache.Store
	files  func(*unstructured.Unstructured) (map[string][]byte, error)
}

var (
	configMapResource      = schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	prometheusRuleResource = schema.GroupVersionResource{Group: "monitoring.coreos.com", Version: "v1", Resource: "prometheusrules"}
)

// SyncRules copies rules from the cluster into Prometheus's rule folder, now and
// after every change, and reloads Prometheus when a file differs. It returns when
// the rules present at the start are loaded, and goes on until Stop.
//
// Prometheus refuses all files when one is wrong, so each is checked first: a bad
// one is left out and listed by [RuleSync.Rejected].
func SyncRules(ctx context.Context, config *rest.Config, prometheus *Prometheus, options RuleSyncOptions) (*RuleSync, error) {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	discoverer, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	promtool, err := Binary(ctx, PromtoolBinary)
	if err != nil {
		return nil, err
	}
	if options.Debounce == 0 {
		options.Debounce = 300 * time.Millisecond
	}
	s := &RuleSync{
		options:    options,
		prometheus: prometheus,
		promtool:   promtool,
		log:        options.Logger,
		changed:    make(chan struct{}, 1),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	var life context.Context
	life, s.cancel = context.WithCancel(context.Background())

	watchRules := func(ctx context.Context) error {
		return s.watch(ctx, life, client, prometheusRuleResource, metav1.NamespaceAll,
			options.PrometheusRuleSelector, ruleSource{prefix: "prometheusrule_", files: prometheusRuleFiles})
	}
	err = func() error {
		if options.ConfigMapNamespace != "" {
			if err := s.watch(ctx, life, client, configMapResource, options.ConfigMapNamespace,
				options.ConfigMapSelector, ruleSource{prefix: "configmap_", files: configMapFiles}); err != nil {
				return err
			}
		}
		if options.PrometheusRules {
			installed, err := resourceServed(ctx, discoverer, prometheusRuleResource)
			if err != nil {
				return err
			}
			if installed {
				if err := watchRules(ctx); err != nil {
					return err
				}
			} else {
				s.background.Go(func() { s.awaitKind(life, discoverer, watchRules) })
			}
		}
		return s.sync(ctx)
	}()
	if err != nil {
		s.Stop()
		return nil, fmt.Errorf("rules sidecar: %w", err)
	}
	s.background.Go(func() { s.run(life) })
	return s, nil
}

// Stop ends the watch. The rule files stay.
func (s *RuleSync) Stop() {
	if s == nil {
		return
	}
	s.cancel()
	s.background.Wait()
}

// Rejected returns the files left out, by name, and under "reload" what
// Prometheus said if it refused the rest.
func (s *RuleSync) Rejected() map[string]error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.rejected)
}

// watch adds a source: an informer that lives until life ends, in sync when watch
// returns.
func (s *RuleSync) watch(ctx, life context.Context, client dynamic.Interface, resource schema.GroupVersionResource,
	namespace, selector string, source ruleSource) error {
	informer := dynamicinformer.NewFilteredDynamicInformer(client, resource, namespace, 0, cache.Indexers{},
		func(o *metav1.ListOptions) { o.LabelSelector = selector }).Informer()
	notify := func() {
		select {
		case s.changed <- struct{}{}:
		default: // a notification is pending already, and will see this change too
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { notify() },
		UpdateFunc: func(any, any) { notify() },
		DeleteFunc: func(any) { notify() },
	})
	if err != nil {
		return err
	}
	s.background.Go(func() { informer.Run(life.Done()) })
	if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
		return fmt.Errorf("listing %s: %w", resource.Resource, ctx.Err())
	}
	source.store = informer.GetStore()
	s.mu.Lock()
	s.sources = append(s.sources, source)
	s.mu.Unlock()
	notify()
	return nil
}

// awaitKind looks for the PrometheusRule kind until it is there. An informer for
// a kind that is not installed would do so too, but complain to the log all the
// time.
func (s *RuleSync) awaitKind(life context.Context, discoverer *discovery.DiscoveryClient, watch func(context.Context) error) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-life.Done():
			return
		case <-tick.C:
		}
		if installed, err := resourceServed(life, discoverer, prometheusRuleResource); err != nil || !installed {
			continue
		}
		if err := watch(life); err != nil {
			s.log.Error("watching PrometheusRules", "error", err)
		}
		return
	}
}

func (s *RuleSync) run(life context.Context) {
	for {
		select {
		case <-life.Done():
			return
		case <-s.changed:
		}
		// Counted from the first change, so that a steady stream of changes delays
		// a reload but never prevents it.
		select {
		case <-life.Done():
			return
		case <-time.After(s.options.Debounce):
		}
		select {
		case <-s.changed:
		default:
		}
		if err := s.sync(life); err != nil && life.Err() == nil {
			s.log.Error("syncing rules; trying again", "error", err)
			select {
			case <-life.Done():
			case <-time.After(time.Second):
			}
			select {
			case s.changed <- struct{}{}:
			default:
			}
		}
	}
}

// sync makes the rule folder hold what the cluster holds, and reloads Prometheus
// if anything differed or the last reload failed.
func (s *RuleSync) sync(ctx context.Context) error {
	s.mu.Lock()
	sources, reloadFailed := slices.Clone(s.sources), s.rejected["reload"] != nil
	s.mu.Unlock()

	wanted, rejected := map[string][]byte{}, map[string]error{}
	for _, source := range sources {
		for _, item := range source.store.List() {
			object := item.(*unstructured.Unstructured)
			files, err := source.files(object)
			if err != nil {
				rejected[source.prefix+object.GetNamespace()+"_"+object.GetName()] = err
				continue
			}
			for name, content := range files {
				// Neither namespaces nor names contain an underscore, so no two objects
				// share a file.
				wanted[source.prefix+object.GetNamespace()+"_"+name] = content
			}
		}
	}
	bad, err := s.check(ctx, wanted)
	if err != nil {
		return err
	}
	for name, err := range bad {
		s.log.Warn("rule file left out", "file", name, "error", err)
		rejected[name] = err
		delete(wanted, name)
	}
	changed, err := s.write(sources, wanted)
	// Prometheus shows new rules before it has answered: who sees them there must also
	// see what was left out.
	s.mu.Lock()
	s.rejected = rejected
	s.mu.Unlock()
	if err != nil || !changed && !reloadFailed {
		return err
	}
	if err := s.prometheus.Reload(ctx); err != nil {
		s.mu.Lock()
		s.rejected["reload"] = err
		s.mu.Unlock()
		return err
	}
	s.log.Info("rules reloaded", "files", len(wanted), "left out", len(rejected))
	return nil
}

// write brings the folder's files in line and says whether it had to. It touches
// only files with our prefixes, so that a test may keep its own rules beside
// them.
func (s *RuleSync) write(sources []ruleSource, wanted map[string][]byte) (changed bool, err error) {
	dir := s.prometheus.RuleDir
	for _, source := range sources {
		present, err := filepath.Glob(filepath.Join(dir, source.prefix+"*.yaml"))
		if err != nil {
			return changed, err
		}
		for _, file := range present {
			if _, ok := wanted[filepath.Base(file)]; ok {
				continue
			}
			changed = true
			if err := os.Remove(file); err != nil {
				return changed, err
			}
		}
	}
	for name, content := range wanted {
		if s.present(name, content) {
			continue
		}
		changed = true
		file := filepath.Join(dir, name)
		// By rename, so that Prometheus never reads half a file. The temporary name
		// does not end in .yaml and is no rule file.
		if err := os.WriteFile(file+".new", content, 0o644); err != nil {
			return changed, err
		}
		if err := os.Rename(file+".new", file); err != nil {
			return changed, err
		}
	}
	return changed, nil
}

// configMapFiles returns a ConfigMap's keys as files.
func configMapFiles(object *unstructured.Unstructured) (map[string][]byte, error) {
	data, _, err := unstructured.NestedStringMap(object.Object, "data")
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{}
	for key, content := range data {
		// Always a suffix of ours: "a" and "a.yaml" may both be keys.
		files[object.GetName()+"_"+key+".yaml"] = []byte(content)
	}
	return files, nil
}

// prometheusRuleFiles returns a PrometheusRule's groups as one file.
func prometheusRuleFiles(object *unstructured.Unstructured) (map[string][]byte, error) {
	groups, _, err := unstructured.NestedSlice(object.Object, "spec", "groups")
	if err != nil {
		return nil, err
	}
	for _, g := range groups {
		if group, ok := g.(map[string]any); ok {
			// Thanos's own; Prometheus rejects it, so the operator drops it as well.
			delete(group, "partial_response_strategy")
		}
	}
	content, err := yaml.Marshal(map[string]any{"groups": groups})
	return map[string][]byte{object.GetName() + ".yaml": content}, err
}

// check returns the wanted files that Prometheus would reject. Checking costs a
// process, so it asks about all files at once that are not in the folder yet, and
// looks for the culprits by halves.
func (s *RuleSync) check(ctx context.Context, wanted map[string][]byte) (map[string]error, error) {
	dir, err := os.MkdirTemp("", "sojourn-rules-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	rejected := map[string]error{}
	var names []string
	for name, content := range wanted {
		if s.present(name, content) {
			continue // it passed when it was written
		}
		// A name may be too long for a file, and is then no other file's problem.
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			rejected[name] = err
			continue
		}
		names = append(names, name)
	}
	var split func(names []string)
	split = func(names []string) {
		if len(names) == 0 || ctx.Err() != nil {
			return
		}
		cmd := exec.CommandContext(ctx, s.promtool, append([]string{"check", "rules", "--lint=none"}, names...)...)
		cmd.Dir = dir
		output, err := cmd.CombinedOutput()
		switch {
		case err == nil:
		case len(names) == 1:
			rejected[names[0]] = fmt.Errorf("%w: %s", err, bytes.TrimSpace(output))
		default:
			split(names[:len(names)/2])
			split(names[len(names)/2:])
		}
	}
	slices.Sort(names)
	split(names)
	return rejected, ctx.Err()
}

// present says whether the rule folder holds a file with just this content.
func (s *RuleSync) present(name string, content []byte) bool {
	old, err := os.ReadFile(filepath.Join(s.prometheus.RuleDir, name))
	return err == nil && bytes.Equal(old, content)
}
