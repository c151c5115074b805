package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"sigs.k8s.io/yaml"

	"github.com/sojourn-dev/sojourn/api/v1alpha1"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/atlas"
	"github.com/sojourn-dev/sojourn/cmd/kubectl-journey/internal/openslo"
	"github.com/sojourn-dev/sojourn/controllers/targets"
)

func importOpenSLOCommand(streams genericclioptions.IOStreams) *cobra.Command {
	var options openslo.Options
	var output, channel string
	var partial bool
	c := &cobra.Command{
		Use:   "openslo FILE|-",
		Short: "Makes promises of OpenSLO v1 where the meaning is the same",
		Long: `Makes a Touchpoint of each OpenSLO Service, with metrics of the indicators, and an
ExperienceSLO of each SLO that means the same here: ratios of Prometheus counters, good to
total (an events objective) or bad to total (an availability objective), counted by
occurrences, over a rolling window of 7d, 28d, 30d or 90d.

What is not the same is listed on standard error, with its place and the reason, and the
exit code is 1, unless --partial.`,
		Example: `  # What can be had, and a list of what cannot.
  kubectl journey import openslo slos.yaml -n shop > shop.yaml

  # The list alone, for a program.
  kubectl journey import openslo slos.yaml -o report

  # Several files; what is left out is all right.
  cat slos/*.yaml | kubectl journey import openslo - -n shop --partial > shop.yaml`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			text, err := readInput(streams.In, args[0])
			if err != nil {
				return err
			}
			options.Channel = v1alpha1.Channel(channel)
			shown := args[0]
			if shown == "-" {
				shown = "standard input"
			}
			found, err := openslo.Import(text, options)
			if err != nil {
				return fmt.Errorf("%s: %w", shown, err)
			}
			if output == "report" {
				if err := printFindings(streams.Out, found.Findings); err != nil {
					return err
				}
				return leftOut(found.Findings, partial)
			}
			var objects []manifest
			for _, touchpoint := range found.Touchpoints {
				objects = append(objects, manifest{Object: touchpoint, next: `  # Next: is the channel right? And what do customers say?
  # survey:
  #   instruments: [{type: CES}]
`})
			}
			for _, slo := range found.ExperienceSLOs {
				objects = append(objects, manifest{Object: slo})
			}
			for _, finding := range found.Findings {
				fmt.Fprintf(streams.ErrOut, "%s:%s\n", shown, finding)
			}
			if err := printManifests(streams.Out, output, objects, ""); err != nil {
				return err
			}
			return leftOut(found.Findings, partial)
		},
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
		},
	}
	c.Flags().StringVarP(&options.Namespace, "namespace", "n", "", "namespace of the objects (default: none is written, so that kubectl apply -n chooses)")
	c.Flags().StringVar(&channel, "channel", "Web", "channel of all touchpoints, since OpenSLO tells none: such as Web, MobileApp, Phone, Store")
	c.Flags().BoolVar(&partial, "partial", false, "end with 0 although something is left out")
	c.Flags().StringVarP(&output, "output", "o", "yaml", "yaml, json, name, or report: what is not the same, as JSON")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"yaml", "json", "name", "report"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func printFindings(out io.Writer, findings []openslo.Finding) error {
	if findings == nil {
		findings = []openslo.Finding{}
	}
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(map[string][]openslo.Finding{"findings": findings})
}

// leftOut is the error of a conversion that is not whole.
func leftOut(findings []openslo.Finding, partial bool) error {
	count := 0
	for _, finding := range findings {
		if finding.LeftOut {
			count++
		}
	}
	if count == 0 || partial {
		return nil
	}
	return codeError{fmt.Errorf("%d findings are left out, listed above; --partial takes the rest", count), exitFindings}
}

func exportOpenSLOCommand(streams genericclioptions.IOStreams) *cobra.Command {
	from := objectFlags{kube: genericclioptions.NewConfigFlags(true)}
	var output string
	var partial bool
	c := &cobra.Command{
		Use:   "openslo xslo/NAME|journey/NAME",
		Short: "Says in OpenSLO v1 what is promised",
		Long: `Writes an OpenSLO v1 SLO for each objective at each touchpoint, over the prober's series or
the touchpoint's own: of an ExperienceSLO, or of all that a journey's touchpoints are
promised. Availability, latency and events can be said in OpenSLO.

What cannot is listed on standard error, and the exit code is 1, unless --partial: promises
on what customers answer (CES, CSAT, NPS), alert tiers, sample floors, native histograms.`,
		Example: `  # One ExperienceSLO.
  kubectl journey export openslo xslo/checkout -n shop > slos.yaml

  # All promises along a journey, from files.
  kubectl journey export openslo journey/online-purchase -f shop/ --partial`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			kind, name, ok := strings.Cut(args[0], "/")
			if !ok || gateKinds[kind] == "" {
				return fmt.Errorf("%q: write xslo/NAME or journey/NAME", args[0])
			}
			objects, namespace, err := from.load(c.Context(), streams)
			if err != nil {
				return err
			}
			made, err := inOpenSLO(objects, gateKinds[kind] == "journeys", namespace, name)
			if err != nil {
				return err
			}
			if err := printDocuments(streams.Out, output, made); err != nil {
				return err
			}
			if output != "report" {
				for _, finding := range made.Findings {
					fmt.Fprintln(streams.ErrOut, finding)
				}
			}
			return leftOut(made.Findings, partial)
		},
	}
	c.ValidArgsFunction = completeKindNames(from.kube)
	from.add(c)
	c.Flags().BoolVar(&partial, "partial", false, "end with 0 although something is left out")
	c.Flags().StringVarP(&output, "output", "o", "yaml", "yaml, json, or report: what cannot be said, as JSON")
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"yaml", "json", "report"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// inOpenSLO exports an ExperienceSLO, or what is promised along a journey.
func inOpenSLO(objects *atlas.Objects, journey bool, namespace, name string) (*openslo.Exported, error) {
	if !journey {
		key, err := named(objects.ExperienceSLOs, "ExperienceSLO", namespace, name)
		if err != nil {
			return nil, err
		}
		return openslo.Export([]*v1alpha1.ExperienceSLO{objects.ExperienceSLOs[key]}, within(objects, key.Namespace), nil), nil
	}
	key, err := named(objects.Journeys, "Journey", namespace, name)
	if err != nil {
		return nil, err
	}
	visited := map[string]map[string]bool{}
	for _, reference := range targets.References(objects.Journeys[key]) {
		if visited[reference.Namespace] == nil {
			visited[reference.Namespace] = map[string]bool{}
		}
		visited[reference.Namespace][reference.Name] = true
	}
	all := &openslo.Exported{}
	for _, place := range slices.Sorted(maps.Keys(visited)) {
		in := within(objects, place)
		var slos []*v1alpha1.ExperienceSLO
		for _, slo := range objects.ExperienceSLOs {
			if slo.Namespace == place && slices.ContainsFunc(targets.Resolve(slo, in).Touchpoints, func(each string) bool { return visited[place][each] }) {
				slos = append(slos, slo)
			}
		}
		slices.SortFunc(slos, func(a, b *v1alpha1.ExperienceSLO) int { return strings.Compare(a.Name, b.Name) })
		made := openslo.Export(slos, in, func(touchpoint string) bool { return visited[place][touchpoint] })
		all.Documents, all.Findings = append(all.Documents, made.Documents...), append(all.Findings, made.Findings...)
	}
	return all, nil
}

// within are the objects of a namespace.
func within(objects *atlas.Objects, namespace string) targets.Namespace {
	in := targets.Namespace{Touchpoints: map[string]*v1alpha1.Touchpoint{}, Journeys: map[string]*v1alpha1.Journey{}}
	for key, touchpoint := range objects.Touchpoints {
		if key.Namespace == namespace {
			in.Touchpoints[key.Name] = touchpoint
		}
	}
	for key, journey := range objects.Journeys {
		if key.Namespace == namespace {
			in.Journeys[key.Name] = journey
		}
	}
	return in
}

func printDocuments(out io.Writer, format string, made *openslo.Exported) error {
	switch format {
	case "report":
		return printFindings(out, made.Findings)
	case "json":
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		documents := made.Documents
		if documents == nil {
			documents = []any{}
		}
		return encoder.Encode(documents)
	case "yaml":
		for i, each := range made.Documents {
			text, err := yaml.Marshal(each)
			if err != nil {
				return err
			}
			if i > 0 {
				fmt.Fprintln(out, "---")
			}
			fmt.Fprint(out, string(text))
		}
		return nil
	default:
		return fmt.Errorf("there is no output %q: write -o yaml, json or report", format)
	}
}
