package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/gate"
	"github.com/sojourn-dev/sojourn/controllers/targets"
)

func gateCommand(streams genericclioptions.IOStreams) *cobra.Command {
	kube := genericclioptions.NewConfigFlags(true)
	var terms gate.Terms
	var patience gate.Patience
	var least, output string
	c := &cobra.Command{
		Use:   "gate journey/NAME|xslo/NAME",
		Short: "Lets a release pass if the budgets allow it",
		Long: `Ends with 0 if every budget allows a release, with 1 if one does not, and says which and
why; with 2 if that could not be found out.

A budget allows a release if it is Met, no alert fires for it, and at least --min-budget of
it is left. Of a journey these are all budgets at its touchpoints, whoever promised them.
Budgets with too little or no data do not allow anything, unless --allow-unknown. The
figures must be current: the status speaks of the spec as it is, Prometheus runs the rules
and answers.

  --for 10m                 must be allowed for ten minutes on end; what does not allow it
                            ends the gate with 1 at once
  --timeout 30m             waits up to half an hour until it is allowed
  --for 10m --timeout 30m   waits until it has been allowed for ten minutes on end, at most
                            half an hour; what does not allow it begins the ten minutes anew

It reads the status of the objects with your rights (get, list and watch; for xslo/NAME of
this one suffice) and asks no Prometheus.`,
		Example: `  # May we release now?
  kubectl journey gate journey/online-purchase -n shop --min-budget 20%

  # After a release: did the checkout stay well for ten minutes?
  kubectl journey gate xslo/checkout -n shop --for 10m

  # Wait until the budget has recovered.
  kubectl journey gate xslo/checkout -n shop --min-budget 20% --timeout 1h`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			value, err := strconv.ParseFloat(strings.TrimSuffix(least, "%"), 64)
			if err != nil || value < 0 || value > 100 {
				return fmt.Errorf("--min-budget %q: write a percentage of the budget from 0%% to 100%%, such as 20%%", least)
			}
			terms.MinBudget = value
			if patience.For < 0 || patience.Timeout < 0 || patience.Timeout > 0 && patience.Timeout < patience.For {
				return errors.New("--timeout must be longer than --for: it is for both, waiting and staying well")
			}
			if output != "text" && output != "json" {
				return fmt.Errorf("there is no output %q: write -o text or json", output)
			}
			g, err := newGate(c.Context(), kube, terms, args[0])
			if err != nil {
				return err
			}
			defer g.stop()
			tell, end := progressOn(streams.ErrOut)
			verdict, held, late, err := patience.Wait(c.Context(), g.changes, g.look, func(p gate.Progress) {
				if !p.Verdict.Allowed() {
					tell(p.Verdict.Blocks[0].String())
					return
				}
				tell(fmt.Sprintf("allowed since %s, to stay so for %v", time.Now().Add(-p.Held).Format(time.TimeOnly), patience.For))
			})
			end()
			if err != nil {
				return err
			}
			return printVerdict(streams.Out, output, args[0], verdict, held, late)
		},
	}
	c.ValidArgsFunction = completeKindNames(kube)
	addKubeFlags(c, kube)
	c.Flags().StringVar(&least, "min-budget", "0%", "how much of every budget must be left")
	c.Flags().DurationVar(&patience.For, "for", 0, "how long it must be allowed on end (default: it is looked at once)")
	c.Flags().DurationVar(&patience.Timeout, "timeout", 0, "how long to wait until it is allowed, --for included (default: not at all)")
	c.Flags().BoolVar(&terms.AllowUnknown, "allow-unknown", false, "budgets with too little or no data, and journeys without any, do not block")
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"text", "json"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// gateKinds are the resources that can be gated, by what people call them.
var gateKinds = map[string]string{
	"journey": "journeys", "journeys": "journeys", "jrn": "journeys",
	"xslo": "experienceslos", "experienceslo": "experienceslos", "experienceslos": "experienceslos",
}

// printVerdict says it, and returns the error that makes the exit code.
func printVerdict(out io.Writer, format, of string, verdict gate.Verdict, held time.Duration, late bool) error {
	if format == "json" {
		if verdict.Blocks == nil {
			verdict.Blocks = []gate.Block{}
		}
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(struct {
			Allowed bool   `json:"allowed"`
			Of      string `json:"of"`
			gate.Verdict
			HeldSeconds float64 `json:"heldSeconds"`
			TimedOut    bool    `json:"timedOut"`
		}{verdict.Allowed() && !late, of, verdict, held.Seconds(), late}); err != nil {
			return err
		}
	} else {
		for _, block := range verdict.Blocks {
			fmt.Fprintln(out, block)
		}
		if verdict.Allowed() && !late {
			left := ""
			if verdict.Least != nil {
				left = fmt.Sprintf(", at least %.0f%% of each left", *verdict.Least)
			}
			stood := ""
			if held >= time.Second {
				stood = fmt.Sprintf(", for %v on end", held.Round(time.Second))
			}
			budgets := fmt.Sprintf("all %d budgets allow", verdict.Budgets)
			if verdict.Budgets == 1 {
				budgets = "the one budget allows"
			}
			fmt.Fprintf(out, "%s: %s a release%s%s\n", of, budgets, left, stood)
		}
	}
	switch {
	case late && verdict.Allowed():
		return codeError{fmt.Errorf("%s: allowed for %v when the time was up, which is too short", of, held.Round(time.Second)), exitFindings}
	case !verdict.Allowed():
		return codeError{fmt.Errorf("%s: no release: see above", of), exitFindings}
	default:
		return nil
	}
}

// watched is what a gate looks at: objects that a watch keeps up to date.
type watched struct {
	terms   gate.Terms
	key     types.NamespacedName
	journey bool
	live    client.Client
	cached  client.Reader
	changes chan struct{}
	trouble chan error
	stop    func()
	// namespaces are those of the journey's touchpoints.
	namespaces map[string]bool
}

func newGate(ctx context.Context, kube *genericclioptions.ConfigFlags, terms gate.Terms, of string) (*watched, error) {
	kind, name, ok := strings.Cut(of, "/")
	resource := gateKinds[strings.ToLower(kind)]
	if !ok || resource == "" || name == "" {
		return nil, fmt.Errorf("%q: write journey/NAME or xslo/NAME", of)
	}
	namespace, _, err := kube.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, err
	}
	config, err := kube.ToRESTConfig()
	if err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	w := &watched{
		terms: terms, key: types.NamespacedName{Namespace: namespace, Name: name}, journey: resource == "journeys",
		changes: make(chan struct{}, 1), trouble: make(chan error, 1), namespaces: map[string]bool{},
	}
	if w.live, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return nil, fmt.Errorf("the kubeconfig leads to no API server: %w", err)
	}
	// Asked before it is watched, so that what is missing or forbidden is said at once.
	kinds := []client.Object{&v1alpha1.ExperienceSLO{}}
	options := cache.Options{Scheme: scheme, DefaultNamespaces: map[string]cache.Config{}}
	if w.journey {
		var journey v1alpha1.Journey
		if err := w.live.Get(ctx, w.key, &journey); err != nil {
			return nil, err
		}
		kinds = append(kinds, &v1alpha1.Journey{}, &v1alpha1.Touchpoint{})
		w.namespaces[namespace] = true
		for _, reference := range targets.References(&journey) {
			w.namespaces[reference.Namespace] = true
		}
		for each := range w.namespaces {
			options.DefaultNamespaces[each] = cache.Config{}
		}
	} else {
		options.DefaultNamespaces[namespace] = cache.Config{}
		options.ByObject = map[client.Object]cache.ByObject{&v1alpha1.ExperienceSLO{}: {Field: fields.OneTermEqualSelector("metadata.name", name)}}
	}
	if _, err := w.judge(ctx, w.live); err != nil {
		return nil, err
	}
	options.DefaultWatchErrorHandler = func(_ context.Context, _ *toolscache.Reflector, err error) {
		// A watch that ends is begun again. What a fresh look says decides.
		select {
		case w.trouble <- err:
		default:
		}
		w.changed()
	}
	watching, stop := context.WithCancel(ctx)
	w.stop = stop
	kept, err := cache.New(config, options)
	if err != nil {
		return nil, err
	}
	w.cached = kept
	for _, each := range kinds {
		informer, err := kept.GetInformer(watching, each, cache.BlockUntilSynced(false))
		if err != nil {
			stop()
			return nil, err
		}
		if _, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { w.changed() }, UpdateFunc: func(any, any) { w.changed() }, DeleteFunc: func(any) { w.changed() },
		}); err != nil {
			stop()
			return nil, err
		}
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = kept.Start(watching)
	}()
	w.stop = func() { stop(); <-ended }
	if !kept.WaitForCacheSync(ctx) {
		w.stop()
		return nil, errors.New("the objects could not be watched")
	}
	return w, nil
}

func (w *watched) changed() {
	select {
	case w.changes <- struct{}{}:
	default: // it is known that something has
	}
}

// look judges by what the watch has told, or by what the API server says now: if asked to,
// and after trouble with the watch.
func (w *watched) look(ctx context.Context, anew bool) (gate.Verdict, error) {
	select {
	case <-w.trouble:
		anew = true
	default:
	}
	if anew {
		return w.judge(ctx, w.live)
	}
	return w.judge(ctx, w.cached)
}

func (w *watched) judge(ctx context.Context, from client.Reader) (gate.Verdict, error) {
	if !w.journey {
		var slo v1alpha1.ExperienceSLO
		if err := from.Get(ctx, w.key, &slo); err != nil {
			return gate.Verdict{}, err
		}
		return w.terms.OfSLO(&slo), nil
	}
	var journey v1alpha1.Journey
	if err := from.Get(ctx, w.key, &journey); err != nil {
		return gate.Verdict{}, err
	}
	for _, reference := range targets.References(&journey) {
		if !w.namespaces[reference.Namespace] {
			return gate.Verdict{}, fmt.Errorf("the journey has come to pass through namespace %s since the gate began: run it again", reference.Namespace)
		}
	}
	in := gate.Objects{
		Journeys: map[types.NamespacedName]*v1alpha1.Journey{}, Touchpoints: map[types.NamespacedName]*v1alpha1.Touchpoint{},
		ExperienceSLOs: map[types.NamespacedName]*v1alpha1.ExperienceSLO{},
	}
	for namespace := range w.namespaces {
		var journeys v1alpha1.JourneyList
		var touchpoints v1alpha1.TouchpointList
		var slos v1alpha1.ExperienceSLOList
		for _, list := range []client.ObjectList{&journeys, &touchpoints, &slos} {
			if err := from.List(ctx, list, client.InNamespace(namespace)); err != nil {
				return gate.Verdict{}, err
			}
		}
		for i := range journeys.Items {
			in.Journeys[client.ObjectKeyFromObject(&journeys.Items[i])] = &journeys.Items[i]
		}
		for i := range touchpoints.Items {
			in.Touchpoints[client.ObjectKeyFromObject(&touchpoints.Items[i])] = &touchpoints.Items[i]
		}
		for i := range slos.Items {
			in.ExperienceSLOs[client.ObjectKeyFromObject(&slos.Items[i])] = &slos.Items[i]
		}
	}
	return w.terms.OfJourney(&journey, in), nil
}
